"""Put the models' image into ECR, before the first `sam deploy` to AWS.

    python -m models.push [--region R] [--profile P] [--repository NAME] [--tag TAG]
                          [--builder docker|codebuild] [--dry-run]

Docker builds the image here; where it does not answer, AWS CodeBuild does. The repository, and for CodeBuild a project
with its role and source bucket, are a stack of their own (build.yaml), named like the repository. May be repeated: an
image of the same sources is not built twice. Prints the image's URI, then the command that deploys with it.

This is a tool at the models' side; nothing that is served imports it.
"""

from __future__ import annotations

import argparse
import base64
import fnmatch
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import sleep, time
from typing import Any

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    WaiterError,
)

ROOT = Path(__file__).resolve().parents[1]
# What models/Dockerfile may copy, and what of it does not belong in an image.
CONTEXT = ("models",)
NOT_IN_IMAGE = (
    *("__pycache__", "*.pyc", ".*", "*.md", "template.yaml", "build.yaml"),
    *("push.py", "evaluate.py", "train.py", "train-requirements.txt"),
)

_REPOSITORY = re.compile(r"(?=.{2,128}$)[a-z][a-z0-9]*(?:[._/-][a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# SageMaker refuses OCI manifests: https://github.com/aws/amazon-sagemaker-feedback/issues/180
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnrecognizedClientException"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId"}
_SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
_POLL_SECONDS = 5.0
_LOG_LINES = 30


class PushError(Exception):
    """The image is not in ECR; the message says why and what mends it."""


@dataclass(frozen=True)
class Target:
    """Where the image goes; `uri` is the repository's, without a tag."""

    repository: str
    uri: str
    tag: str

    @property
    def image(self) -> str:
        return f"{self.uri}:{self.tag}"

    @property
    def stack_name(self) -> str:
        return re.sub(r"[^A-Za-z0-9-]", "-", self.repository)


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if not _REPOSITORY.fullmatch(options.repository):
        parser.error(f"--repository {options.repository}: lower case letters and digits, with . _ - / between them")
    if options.tag and not _TAG.fullmatch(options.tag):
        parser.error(f"--tag {options.tag}: letters, digits, _ . - only, at most 128")
    try:
        session = boto3.Session(profile_name=options.profile, region_name=options.region)
    except ProfileNotFound as error:
        parser.error(f"{error}; `aws configure list-profiles` shows those that exist")
    if not session.region_name:
        parser.error("no region: add --region, or set AWS_REGION, or give the profile one with `aws configure`")
    try:
        image = push(session, options.repository, options.tag, options.builder, options.dry_run)
    except KeyboardInterrupt:
        _say("interrupted; a build that CodeBuild has begun goes on, and the next call finds its image")
        return 1
    except PushError as error:
        _say(f"error: {error}")
        return 1
    except (ClientError, BotoCoreError, WaiterError) as error:
        _say(f"error: {_explained(error)}")
        return 1
    if image:
        print(image)
        _say("\nDeploy with it:\n\n" + next_command(image, session.region_name, options.profile))
    return 0


def push(session: boto3.Session, repository: str, tag: str | None, builder: str | None, dry_run: bool) -> str | None:
    """Build and push unless it is there; return the image's URI with its digest, None for a dry run.

    Parameters
    ----------
    session
        Credentials and region.
    repository, tag
        Without a tag, the sources' digest is the tag, and an image that has it is not built again.
    builder
        docker, codebuild, or None for docker where it answers.
    dry_run
        Only look and say what would be done.

    Raises
    ------
    PushError
        With what to do about it.
    """
    account = session.client("sts").get_caller_identity()["Account"]
    suffix = "amazonaws.com.cn" if session.region_name.startswith("cn-") else "amazonaws.com"
    uri = f"{account}.dkr.ecr.{session.region_name}.{suffix}/{repository}"
    ecr = session.client("ecr")
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "context"
        digest = gather(ROOT, context)
        target = Target(repository, uri, tag or f"src-{digest[:12]}")
        builder = _builder(builder)
        there = None if tag else _digest_of(ecr, target)
        if there:
            _say(f"{target.image} is there already, of these very sources")
            return f"{uri}@{there}"
        _say(f"account {account}, region {session.region_name}: {target.image}, built by {builder}")
        if dry_run:
            _say(f"dry run: would bring stack {target.stack_name} up to date (models/build.yaml), build and push")
            return None
        bucket = _bring_up_stack(session, ecr, target, with_builder=builder == "codebuild")
        if builder == "docker":
            _build_by_docker(ecr, target, context)
        else:
            _build_by_codebuild(session, target, context, bucket)
    pushed = _digest_of(ecr, target)
    if not pushed:
        raise PushError(f"the build ended well, but {target.image} is not in ECR; please try again")
    return f"{uri}@{pushed}"


def gather(root: Path, folder: Path) -> str:
    """Copy what the image is made of, and return the digest of it."""
    digest = hashlib.sha256()
    for path in _sources(root):
        name = path.relative_to(root)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
        digest.update(f"{name.as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def next_command(image: str, region: str, profile: str | None) -> str:
    """The deployment with this image; names what samconfig.toml sets too, since the command line replaces that."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    configured = config["dev"]["deploy"]["parameters"].get("parameter_overrides", "")
    configured = configured.split() if isinstance(configured, str) else configured
    kept = [pair for pair in configured if not pair.startswith("ModelImage=")]
    command = ["sam", "deploy", "--config-env", "dev", "--region", region]
    command += ["--profile", profile] if profile else []
    return f"  sam build\n  {shlex.join([*command, '--parameter-overrides', f'ModelImage={image}', *kept])}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.push",
        description="Put the models' image into ECR, by Docker or else by CodeBuild. Repeat it as often as you like.",
        epilog="Exit 0: the image is in ECR, its URI on stdout. 1: it failed, stderr says why. 2: wrong usage. "
        "docs/deploying.md lists the permissions it needs.",
    )
    parser.add_argument("--region", help="AWS region; default: the profile's, or AWS_REGION")
    parser.add_argument("--profile", help="AWS profile; default: AWS_PROFILE, or the environment's credentials")
    parser.add_argument("--repository", default="watchfloor-models", help="ECR repository (%(default)s)")
    parser.add_argument("--tag", help="the image's tag; default: a digest of the sources, never built twice")
    parser.add_argument("--builder", choices=["docker", "codebuild"], help="default: docker where it answers")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, say what would be done")
    return parser


def _sources(root: Path) -> Iterator[Path]:
    for top in CONTEXT:
        for path in sorted((root / top).rglob("*")):
            parts = path.relative_to(root).parts
            if path.is_file() and not any(fnmatch.fnmatch(part, no) for part in parts for no in NOT_IN_IMAGE):
                yield path


def _digest_of(ecr: Any, target: Target) -> str | None:
    """The pushed image's digest, if SageMaker can read it."""
    try:
        answer = ecr.describe_images(repositoryName=target.repository, imageIds=[{"imageTag": target.tag}])
    except (ecr.exceptions.ImageNotFoundException, ecr.exceptions.RepositoryNotFoundException):
        return None
    if not answer["imageDetails"]:
        return None
    (found,) = answer["imageDetails"]
    manifest = found.get("imageManifestMediaType", _MANIFEST)
    if manifest != _MANIFEST:
        raise PushError(
            f"{target.image} is there as {manifest}, which SageMaker does not read. Delete it, and build with "
            "--builder codebuild, or turn Docker's containerd image store off first"
        )
    return found["imageDigest"]


# --- The repository and the builder, a stack of their own -------------------------------------------------------------


def _bring_up_stack(session: boto3.Session, ecr: Any, target: Target, with_builder: bool) -> str:
    """Create or update the stack; return the name of its source bucket, empty where it has none."""
    stacks = session.client("cloudformation")
    known = _stack(stacks, target.stack_name)
    if known and known["StackStatus"] in ("ROLLBACK_COMPLETE", "CREATE_FAILED", "ROLLBACK_FAILED"):
        _say(f"removing stack {target.stack_name}, which an earlier try left as {known['StackStatus']}")
        stacks.delete_stack(StackName=target.stack_name)
        stacks.get_waiter("stack_delete_complete").wait(StackName=target.stack_name)
        known = None
    if known and known["StackStatus"] not in _SETTLED:
        raise PushError(f"stack {target.stack_name} is {known['StackStatus']}; try again when that is over")
    before = {item["ParameterKey"]: item["ParameterValue"] for item in (known or {}).get("Parameters", [])}
    if known and before.get("RepositoryName") != target.repository:
        raise PushError(f"a stack {target.stack_name} exists and is not ours; choose another --repository")
    # What the stack once made it must keep, and what somebody else made it must not make.
    own = before.get("CreateRepository") == "true" if known else not _repository_exists(ecr, target.repository)
    parameters = {
        "RepositoryName": target.repository,
        "CreateRepository": str(own).lower(),
        "CreateBuilder": str(with_builder or before.get("CreateBuilder") == "true").lower(),
    }
    if own or parameters["CreateBuilder"] == "true":
        _deploy_stack(stacks, target.stack_name, parameters, exists=known is not None)
    if not with_builder:
        return ""
    outputs = (_stack(stacks, target.stack_name) or {}).get("Outputs", [])
    return {item["OutputKey"]: item["OutputValue"] for item in outputs}["SourceBucketName"]


def _deploy_stack(stacks: Any, name: str, parameters: dict[str, str], exists: bool) -> None:
    arguments = {
        "StackName": name,
        "TemplateBody": (ROOT / "models" / "build.yaml").read_text(),
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_IAM"],
        "Tags": [{"Key": "app", "Value": "watchfloor"}],
    }
    _say(f"bringing stack {name} up to date")
    try:
        (stacks.update_stack if exists else stacks.create_stack)(**arguments)
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return
        raise
    waiter = stacks.get_waiter("stack_update_complete" if exists else "stack_create_complete")
    try:
        waiter.wait(StackName=name, WaiterConfig={"Delay": _POLL_SECONDS, "MaxAttempts": 240})
    except WaiterError as error:
        events = stacks.describe_stack_events(StackName=name)["StackEvents"]
        failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
        first = failed[-1] if failed else {}
        reason = f"{first.get('LogicalResourceId', name)}: {first.get('ResourceStatusReason', error)}"
        raise PushError(f"stack {name} failed at {reason}") from error


def _stack(stacks: Any, name: str) -> dict[str, Any] | None:
    try:
        return stacks.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def _repository_exists(ecr: Any, name: str) -> bool:
    try:
        ecr.describe_repositories(repositoryNames=[name])
    except ecr.exceptions.RepositoryNotFoundException:
        return False
    return True


# --- Docker -----------------------------------------------------------------------------------------------------------


def _builder(wanted: str | None) -> str:
    if wanted == "codebuild":
        return "codebuild"
    problem = _docker_problem()
    if problem is None:
        return "docker"
    if wanted == "docker":
        raise PushError(f"{problem}; start it, or use --builder codebuild")
    _say(f"{problem}: CodeBuild builds the image")
    return "codebuild"


def _docker_problem() -> str | None:
    if not shutil.which("docker"):
        return "there is no docker command"
    if not _succeeds(["docker", "version", "--format", "{{.Server.Version}}"]):
        return "Docker's daemon does not answer (`docker version` says why)"
    return None


def _build_by_docker(ecr: Any, target: Target, context: Path) -> None:
    command = ["docker", "build", "--platform", "linux/amd64"]
    if _succeeds(["docker", "buildx", "version"]):
        command = ["docker", "buildx", "build", "--platform", "linux/amd64"]
        command += ["--provenance=false", "--output", "type=docker"]
    _docker([*command, "--file", str(context / "models" / "Dockerfile"), "--tag", target.image, str(context)])
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    registry = target.uri.partition("/")[0]
    _docker(["docker", "login", "--username", user, "--password-stdin", registry], given=password)
    _docker(["docker", "push", target.image])


def _docker(command: list[str], given: str = "") -> None:
    # Docker's own progress goes to stderr (2): stdout is for the image's URI.
    outcome = subprocess.run(command, check=False, input=given.encode(), stdout=2)
    if outcome.returncode:
        raise PushError(
            f"`{' '.join(command[:3])} ...` failed, as it says above. --builder codebuild does without Docker"
        )


def _succeeds(command: list[str]) -> bool:
    try:
        outcome = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return outcome.returncode == 0


# --- CodeBuild --------------------------------------------------------------------------------------------------------


def _build_by_codebuild(session: boto3.Session, target: Target, context: Path, bucket: str) -> None:
    s3, builds = session.client("s3"), session.client("codebuild")
    key = f"{target.tag}-{int(time())}.zip"
    archive = shutil.make_archive(str(context.parent / "sources"), "zip", context)
    s3.upload_file(archive, bucket, key)
    try:
        build = builds.start_build(
            projectName=target.stack_name,
            sourceTypeOverride="S3",
            sourceLocationOverride=f"{bucket}/{key}",
            environmentVariablesOverride=[{"name": "IMAGE", "value": target.image, "type": "PLAINTEXT"}],
        )["build"]
        _say(f"build {build['id']} (some minutes)")
        phase = ""
        while build["buildStatus"] == "IN_PROGRESS":
            if build.get("currentPhase", "") != phase:
                phase = build["currentPhase"]
                _say(f"  {phase.lower().replace('_', ' ')}")
            sleep(_POLL_SECONDS)
            build = builds.batch_get_builds(ids=[build["id"]])["builds"][0]
        if build["buildStatus"] != "SUCCEEDED":
            _say(_end_of_log(session, build))
            raise PushError(f"build {build['id']} {build['buildStatus'].lower().replace('_', ' ')}; its log ends above")
    finally:
        s3.delete_object(Bucket=bucket, Key=key)


def _end_of_log(session: boto3.Session, build: dict[str, Any]) -> str:
    logs = build.get("logs", {})
    if not logs.get("streamName"):
        contexts = [context for phase in build.get("phases", []) for context in phase.get("contexts", [])]
        said = "\n".join(context.get("message", "") for context in contexts)
        return said or "the build left no log"
    try:
        events = session.client("logs").get_log_events(
            logGroupName=logs["groupName"], logStreamName=logs["streamName"], limit=_LOG_LINES, startFromHead=False
        )["events"]
    except ClientError as error:
        return f"its log cannot be read ({error}); it is at {logs.get('deepLink', 'CodeBuild')}"
    return "".join(f"  | {event['message'].rstrip()}\n" for event in events)


# --- What is said -----------------------------------------------------------------------------------------------------


def _explained(error: Exception) -> str:
    """What an AWS error means to whoever called."""
    if isinstance(error, NoCredentialsError):
        return "no AWS credentials: run `aws configure` or `aws sso login`, or name a --profile"
    if isinstance(error, NoRegionError):
        return "no region: add --region"
    code = error.response["Error"].get("Code", "") if isinstance(error, ClientError) else ""
    if code in _EXPIRED:
        return "the AWS credentials are expired or wrong: run `aws sso login` or `aws configure`, or name a --profile"
    if isinstance(error, ClientError) and code in _DENIED:
        return (
            f"not allowed: {error.response['Error'].get('Message', code)}\n"
            f"Let somebody grant {error.operation_name}, or use another --profile; docs/deploying.md lists the permissions"
        )
    return str(error)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
