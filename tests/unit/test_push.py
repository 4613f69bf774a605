"""models.push against moto's AWS, with a docker command of our own making on PATH."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint import api as cfnlint
from moto import mock_aws
from moto.codebuild.models import CodeBuildBackend

from models import push

REGION, ACCOUNT = "eu-central-1", "123456789012"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"

# Writes down how it was called, and fails where it is told to.
FAKE_DOCKER = """#!{python}
import json, pathlib, sys
arguments = sys.argv[1:]
given = sys.stdin.read() if "--password-stdin" in arguments else ""
context = []
if "--file" in arguments:
    folder = pathlib.Path(arguments[-1])
    context = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
with open({log!r}, "a") as log:
    log.write(json.dumps({{"arguments": arguments, "given": given, "context": context}}) + "\\n")
print("docker's own output")
sys.exit(arguments[0] == {failing!r})
"""


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """moto's AWS, empty; a PATH without docker."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(push, "_POLL_SECONDS", 0.01)
    (tmp_path / "bin").mkdir()
    with mock_aws():
        yield boto3.Session(region_name=REGION)


@pytest.fixture
def docker(aws, monkeypatch, tmp_path):
    """Install a docker command; returns a function that reads back how it was called."""

    def install(media_type=DOCKER_MANIFEST, failing=""):
        log = tmp_path / "docker.log"
        command = tmp_path / "bin" / "docker"
        command.write_text(FAKE_DOCKER.format(python=sys.executable, log=str(log), failing=failing))
        command.chmod(0o755)
        run = push._docker

        def run_and_arrive(command, given=""):
            run(command, given)
            if command[1] == "push":
                put_image(aws, command[2].rpartition(":")[2], media_type)

        monkeypatch.setattr(push, "_docker", run_and_arrive)
        return lambda: [json.loads(line) for line in log.read_text().splitlines()]

    return install


@pytest.fixture
def builder(aws, monkeypatch):
    """Make moto's CodeBuild build: moto knows the project only from us, and the image appears while push waits."""
    role = "arn:aws:iam::123456789012:role/builder"
    aws.client("codebuild").create_project(
        name="watchfloor-models",
        source={"type": "S3", "location": "bucket/key"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "image", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole=role,
    )
    seen = {}

    def build(_seconds):
        s3 = aws.client("s3")
        bucket = s3.list_buckets()["Buckets"][0]["Name"]
        (item,) = s3.list_objects_v2(Bucket=bucket)["Contents"]
        body = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
        seen["sources"] = zipfile.ZipFile(io.BytesIO(body)).namelist()
        put_image(aws, item["Key"].rpartition("-")[0])

    monkeypatch.setattr(push, "sleep", build)
    return seen


def put_image(aws, tag, media_type=DOCKER_MANIFEST):
    ecr = aws.client("ecr")
    manifest = json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": {"digest": tag}})
    with contextlib.suppress(ecr.exceptions.ImageAlreadyExistsException):
        ecr.put_image(
            repositoryName="watchfloor-models",
            imageTag=tag,
            imageManifest=manifest,
            imageManifestMediaType=media_type,
        )


def test_push_docker_builds_logs_in_and_pushes(aws, docker, capsys):
    calls = docker()
    assert push.main([]) == 0
    image = capsys.readouterr().out.strip()
    registry = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
    assert image.startswith(f"{registry}/watchfloor-models@sha256:")
    build, login, pushed = [call for call in calls() if call["arguments"][0] != "version"][1:]
    assert build["arguments"][:4] == ["buildx", "build", "--platform", "linux/amd64"]
    assert "--provenance=false" in build["arguments"]
    assert "models/Dockerfile" in build["context"] and "models/serve.py" in build["context"]
    assert login["arguments"][-1] == registry and login["given"]
    assert pushed["arguments"] == ["push", build["arguments"][build["arguments"].index("--tag") + 1]]


def test_push_keeps_stdout_for_the_image(aws, docker, capfd):
    docker()
    assert push.main([]) == 0
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 1
    assert "docker's own output" in err
    assert "sam deploy --config-env dev --region eu-central-1 --parameter-overrides ModelImage=" in err


def test_push_again_builds_nothing(aws, docker, capsys):
    calls = docker()
    assert push.main([]) == 0
    first, count = capsys.readouterr().out, len(calls())
    assert push.main([]) == 0
    assert capsys.readouterr().out == first
    assert not [call for call in calls()[count:] if call["arguments"][0] != "version"]


def test_push_with_a_tag_builds_every_time(aws, docker, capsys):
    calls = docker()
    assert push.main(["--tag", "v1"]) == 0
    assert push.main(["--tag", "v1"]) == 0
    assert sum(call["arguments"][0] == "push" for call in calls()) == 2


def test_push_takes_a_repository_of_somebody_else(aws, docker):
    docker()
    aws.client("ecr").create_repository(repositoryName="watchfloor-models")
    assert push.main([]) == 0
    assert aws.client("cloudformation").list_stacks()["StackSummaries"] == []


def test_push_oci_image_is_refused_with_the_way_out(aws, docker, capsys):
    docker(media_type=OCI_MANIFEST)
    assert push.main([]) == 1
    err = capsys.readouterr().err
    assert "SageMaker does not read" in err and "--builder codebuild" in err


def test_push_docker_build_failed(aws, docker, capsys):
    docker(failing="login")
    assert push.main([]) == 1
    assert "`docker login --username ...` failed" in capsys.readouterr().err


def test_push_daemon_down_and_docker_wanted(aws, docker, capsys):
    docker(failing="version")
    assert push.main(["--builder", "docker"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_push_without_docker_builds_by_codebuild(aws, builder, capsys):
    assert push.main([]) == 0
    out, err = capsys.readouterr()
    assert "@sha256:" in out
    assert "there is no docker command: CodeBuild builds the image" in err
    assert "models/Dockerfile" in builder["sources"] and "models/push.py" not in builder["sources"]


def test_push_codebuild_leaves_no_sources_behind(aws, builder):
    assert push.main(["--builder", "codebuild"]) == 0
    s3 = aws.client("s3")
    (bucket,) = s3.list_buckets()["Buckets"]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket["Name"])


def test_push_codebuild_failed_shows_the_log(aws, builder, monkeypatch, capsys):
    logs = aws.client("logs")
    logs.create_log_group(logGroupName="/aws/codebuild/broken")
    logs.create_log_stream(logGroupName="/aws/codebuild/broken", logStreamName="one")
    event = {"timestamp": int(push.time() * 1000), "message": "pip: no such package\n"}
    logs.put_log_events(logGroupName="/aws/codebuild/broken", logStreamName="one", logEvents=[event])
    failed = {
        "buildStatus": "FAILED",
        "currentPhase": "COMPLETED",
        "logs": {"groupName": "/aws/codebuild/broken", "streamName": "one"},
    }
    monkeypatch.setattr(CodeBuildBackend, "batch_get_builds", lambda _self, ids: [{"id": ids[0], **failed}])
    assert push.main([]) == 1
    err = capsys.readouterr().err
    assert "pip: no such package" in err and "failed; its log ends above" in err
    assert "Contents" not in aws.client("s3").list_objects_v2(
        Bucket=aws.client("s3").list_buckets()["Buckets"][0]["Name"]
    )


def test_push_docker_after_codebuild_keeps_the_builder(aws, builder, docker):
    assert push.main([]) == 0
    docker()
    assert push.main(["--tag", "v2"]) == 0
    (stack,) = aws.client("cloudformation").describe_stacks()["Stacks"]
    parameters = {item["ParameterKey"]: item["ParameterValue"] for item in stack["Parameters"]}
    assert parameters["CreateBuilder"] == "true" and parameters["CreateRepository"] == "true"


def test_push_dry_run_changes_nothing(aws, docker, capsys):
    calls = docker()
    assert push.main(["--dry-run"]) == 0
    assert capsys.readouterr().out == ""
    assert aws.client("ecr").describe_repositories()["repositories"] == []
    assert {call["arguments"][0] for call in calls()} == {"version"}


def test_push_without_credentials(aws, monkeypatch, capsys):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert push.main([]) == 1
    assert "no AWS credentials: run `aws configure`" in capsys.readouterr().err


def test_push_not_allowed_names_what_is_missing(aws, monkeypatch, capsys):
    def denied(*_, **__):
        body: Any = {"Error": {"Code": "AccessDeniedException", "Message": "User x is not authorized to do that"}}
        raise push.ClientError(body, "DescribeImages")

    monkeypatch.setattr(push, "_digest_of", denied)
    assert push.main([]) == 1
    err = capsys.readouterr().err
    assert "grant DescribeImages" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repository", "Watchfloor"], "lower case"),
        (["--tag", "a b"], "letters, digits"),
        (["--profile", "nobody"], "could not be found"),
        (["--builder", "kaniko"], "invalid choice"),
    ],
)
def test_push_wrong_usage_exits_2(aws, capsys, arguments, said):
    with pytest.raises(SystemExit) as stop:
        push.main(arguments)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_push_without_region_exits_2(aws, monkeypatch, capsys):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(SystemExit) as stop:
        push.main([])
    assert stop.value.code == 2
    assert "add --region" in capsys.readouterr().err


def test_next_command_keeps_what_samconfig_sets():
    """The command line replaces samconfig's parameter_overrides, so the command has to repeat them."""
    config = tomllib.loads(Path("samconfig.toml").read_text())
    command = push.next_command("image@sha256:0", REGION, "work")
    for pair in config["dev"]["deploy"]["parameters"]["parameter_overrides"].split():
        assert pair in command
    assert "--profile work" in command


def test_next_command_is_understood_by_sam():
    from samcli.cli.types import CfnParameterOverridesType

    image = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/watchfloor-models@sha256:{'0' * 64}"
    given = push.next_command(image, REGION, None).partition("--parameter-overrides ")[2].split()
    assert CfnParameterOverridesType().convert(given, None, None)["ModelImage"] == image


def test_context_holds_what_the_dockerfile_copies(tmp_path):
    push.gather(push.ROOT, tmp_path)
    lines = (push.ROOT / "models" / "Dockerfile").read_text().splitlines()
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert copied
    for source in copied:
        assert source.startswith("--") or (tmp_path / source).exists(), source


@pytest.mark.parametrize("model", ["technique", "cluster", "flow"])
def test_context_is_enough_to_load_the_models(tmp_path, model):
    push.gather(push.ROOT, tmp_path)
    code = f"import models.serve; models.serve.LOADERS[{model!r}](); print(models.serve.__file__)"
    environment = {"PYTHONPATH": str(tmp_path), "WATCHFLOOR_MODEL": model, "OMP_NUM_THREADS": "1"}
    outcome = subprocess.run(
        [sys.executable, "-c", code], check=False, cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert outcome.stdout.strip() == str(tmp_path / "models" / "serve.py"), outcome.stderr


def test_digest_changes_with_the_sources_only(tmp_path):
    shutil.copytree("models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    before = push.gather(tmp_path, tmp_path / "one")
    (tmp_path / "models" / "__pycache__").mkdir()
    (tmp_path / "models" / "__pycache__" / "serve.pyc").write_text("x")
    (tmp_path / "models" / "push.py").write_text("")
    assert push.gather(tmp_path, tmp_path / "two") == before
    (tmp_path / "models" / "serve.py").write_text("")
    assert push.gather(tmp_path, tmp_path / "three") != before


def test_build_template_passes_cfn_lint():
    template = (push.ROOT / "models" / "build.yaml").read_text()
    assert cfnlint.lint(template) == []
