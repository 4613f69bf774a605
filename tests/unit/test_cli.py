import argparse
import errno
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from rich.console import Console

from local import cli, deploy, measure, memory, pipeline, report, sandbox
from local.cloud import LocalCloudError, without_proxy
from local.pipeline import Run, UserError, check_file, check_stream
from local.progress import Follower, PlainLines, table, watch
from tests.unit.enriched import intrusion
from watchfloor.campaigns import campaign_of, read_run, row_of, shown

PARENT = "arn:aws:states:us-east-1:000000000000:execution:pipeline:run"
CHILDREN = "arn:aws:states:us-east-1:000000000000:stateMachine:batches"
KEY_TYPES: Any = ("HASH", "RANGE")
SUMMARY: dict[str, Any] = {
    "run_id": "0123456789abcdef",
    "stream": "default",
    "source": "s3://data/input/alerts.json",
    "alerts": 9,
    "rejected": 1,
    "batches": 1,
    "clusters": 3,
    "flows": 1,
    "campaigns": {"status": "done", "created": 1, "updated": 0, "merged": 0},
    "jira": {"status": "done", "created": 2, "updated": 0},
    "case": {"status": "skipped", "reason": "no cases are configured"},
    "seconds": 4,
}


class Healthy(BaseHTTPRequestHandler):
    """A cloud that says that it is there."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def a_campaign(**row: Any) -> dict[str, Any]:
    run = read_run(intrusion())
    document = campaign_of(run, run.flows[0])
    return shown(document, {**row_of(document), "status": "open", **row})


def a_run(**changes: Any) -> Run:
    ticket = {
        "integration": "jira",
        "cluster_id": "c-entry",
        "id": "SOC-2",
        "outcome": "created",
        "title": "Cluster c-entry: Persistence, 2 alerts on 10.0.1.10",
        "status": "To Do",
        "url": "http://127.0.0.1:1/browse/SOC-2",
    }
    run = Run(
        file=Path("alerts.json"),
        run_id=SUMMARY["run_id"],
        summary=SUMMARY,
        state_seconds={"ClaimRun": 0.5, "EnrichWithTechnique": 2.0},
        seconds=4.2,
        transitions=30,
        tickets=[ticket, {**ticket, "id": "SOC-10"}],
        campaigns=[a_campaign()],
    )
    for name, value in changes.items():
        setattr(run, name, value)
    return run


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Nothing of these tests touches the project's own work folder, nor the tests' own signal handlers."""
    monkeypatch.setattr(sandbox, "WORK", tmp_path / "work")
    monkeypatch.setattr(sandbox, "KEPT", tmp_path / "work" / "cloud.json")
    monkeypatch.setattr(cli, "LAST_RUN", tmp_path / "work" / "last-run")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def alerts(tmp_path):
    path = tmp_path / "alerts.json"
    path.write_text('{"input": []}')
    return path


@pytest.fixture
def pretend(monkeypatch):
    """No cloud is started: the pipeline answers with `a_run()`; what it was asked for is kept."""
    asked: dict[str, Any] = {"files": [], "streams": [], "parameters": None, "says": []}

    @contextmanager
    def fresh(parameters, say, **options) -> Iterator[sandbox.Deployment]:
        asked["parameters"] = parameters
        say("building the application")
        yield sandbox.Deployment(None, {})  # type: ignore[arg-type]

    def run_file(deployment, path, console, *, stream=None, on_poll=None) -> Run:
        asked["files"].append(path.name)
        asked["streams"].append(stream)
        outcome = asked.get("outcome", a_run())
        if isinstance(outcome, Exception) and path.name == asked.get("failing", path.name):
            raise outcome
        return a_run(file=path)

    def collect(deployment, run, folder) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cluster.json").write_text("[]")
        pipeline.keep_campaigns(run.campaigns, folder)

    monkeypatch.setattr(sandbox, "fresh", fresh)
    monkeypatch.setattr(cli, "run_file", run_file)
    monkeypatch.setattr(cli, "collect", collect)
    return asked


# --- usage and errors


@pytest.mark.parametrize(
    "arguments",
    [[], ["run"], ["campaign"], ["campaign", "list"], ["campaign", "show"], ["model"], ["up"], ["bench"], ["demo"]],
)
def test_help_everywhere(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--help"])
    assert stop.value.code == 0
    assert "usage: watchfloor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "COMMAND"),
        (["run"], "ALERTS.json"),
        (["run", "no-such-file"], "no-such-file does not exist"),
        (["run", "/"], "/ is a folder"),
        (["triage", "lst"], "there is no file lst, and no command"),
        (["triage", "/"], "/ is a folder"),
        (["up", "--port", "70000"], "70000 is not a whole number from 1 to 65,535"),
        (["bench", "--alerts", "many"], "many is not a whole number"),
        (["model", "other", "--in", "x", "--out", "y"], "invalid choice"),
        (["campaign", "show"], "ID"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what(arguments, told, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n\t", "is empty"),
        (b"hello", "is not JSON: it begins with 'hello'"),
        (b"id,time,src\n1,2,3\n", "begins with 'id,time,src'"),
        (gzip.compress(b"<xml/>", mtime=0), "begins with '<xml/>'"),
        (gzip.compress(b'{"input": []}', mtime=0)[:9], "broken gzip"),
        (b"\x1f\x8bnonsense", "cannot be read"),
        (gzip.compress(b'{"input": []}', mtime=0)[:10] + b"\xff" * 20, "broken gzip"),
    ],
)
def test_files_that_cannot_be_alerts_are_refused_before_a_cloud_is_started(content, told, tmp_path, pretend, capsys):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    assert cli.main(["run", str(path)]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert told in error and "What now:" in error
    assert pretend["parameters"] is None


@pytest.mark.parametrize("content", [b'{"input": []}', b" [", b"\xef\xbb\xbf{", gzip.compress(b"\n{}", mtime=0)])
def test_files_that_may_be_alerts_pass(content, tmp_path):
    path = tmp_path / "alerts.json"
    path.write_bytes(content)
    check_file(path)


@pytest.mark.parametrize("stream", ["", "a/b", "..\n", "ü", "x" * 101])
def test_odd_stream_names_are_refused(stream):
    with pytest.raises(UserError):
        check_stream(stream)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("the run failed", "Mend the file."), "Mend the file."),
        (deploy.BuildError("sam build failed"), "see to the network"),
        (deploy.DeployError("RunTable: no"), "could not be deployed"),
        (LocalCloudError("anchor is gone"), "anchor is gone"),
        (KeyboardInterrupt(), "interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "/tmp/x: No space left on device"),
        (ZeroDivisionError("oops"), "This is a bug"),
    ],
)
def test_failures_are_exit_1_with_a_sentence_and_no_stack_trace(error, told, alerts, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(sandbox, "fresh", fail)
    assert cli.main(["run", str(alerts)]) == 1
    captured = capsys.readouterr()
    assert told in captured.err and "Traceback" not in captured.err
    assert captured.out == ""


def test_bug_is_told_where_not_even_its_trace_can_be_kept(alerts, workplace, pretend, capsys):
    pretend["outcome"] = ZeroDivisionError("oops")
    (workplace / "work").write_text("a file where the folder should be")
    assert cli.main(["run", str(alerts), "--out", str(workplace / "out")]) == 1
    assert "This is a bug; please report it." in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "triage"])
def test_results_that_could_not_be_kept_are_refused_before_a_cloud_is_started(command, alerts, pretend, capsys):
    assert cli.main([command, str(alerts), "--out", str(alerts / "out")]) == 1
    assert "Name another folder with --out." in capsys.readouterr().err
    assert pretend["parameters"] is None


def test_a_proxy_of_the_user_s_is_passed_by(monkeypatch, workplace, capsys):
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.handle_request).start()
        (workplace / "work").mkdir()
        url = f"http://127.0.0.1:{server.server_port}"
        kept = {"endpoint_url": url, "twins": {}, "pid": os.getpid(), "outputs": {}}
        sandbox.KEPT.write_text(json.dumps(kept))
        monkeypatch.setattr(sandbox, "fresh", None)
        assert cli.main(["up"]) == 1
    assert f"already kept at {url}" in " ".join(capsys.readouterr().err.split())


# --- run


def test_run_takes_files_in_order_and_shows_a_row_each(alerts, tmp_path, pretend, capsys):
    second = tmp_path / "more.json"
    second.write_text("[]")
    assert cli.main(["run", str(alerts), str(second), "--chunk-size", "100", "--stream", "lab"]) == 0
    assert pretend["files"] == ["alerts.json", "more.json"]
    assert pretend["streams"] == ["lab", "lab"]
    assert pretend["parameters"] == {"ChunkSize": "100"}
    shown = capsys.readouterr()
    assert "more.json" in shown.out and "skipped" in shown.out
    assert "building the application" in shown.err and "building" not in shown.out


def test_run_json_is_for_machines(alerts, pretend, capsys):
    assert cli.main(["run", str(alerts), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["alerts"], row["file"], row["state_seconds"]["ClaimRun"]) == (9, str(alerts), 0.5)


def test_run_out_gets_the_output_and_campaigns_are_remembered(alerts, tmp_path, pretend, capsys):
    assert cli.main(["run", str(alerts), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "cluster.json").exists()
    assert cli.main(["campaign", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.partition("\n[")[2].join(["[", ""]))
    assert [campaign["campaign_id"] for campaign in listed] == ["f-1"]
    assert "events" not in listed[0]


def test_run_that_fails_later_keeps_what_succeeded_before(alerts, tmp_path, pretend, capsys):
    second = tmp_path / "more.json"
    second.write_text("[]")
    pretend |= {"outcome": UserError("more.json: the run failed"), "failing": "more.json"}
    assert cli.main(["run", str(alerts), str(second), "--out", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / "cluster.json").exists()
    assert "alerts.json" in capsys.readouterr().out


# --- campaigns


def remember(*campaigns: dict[str, Any]) -> None:
    cli.LAST_RUN.mkdir(parents=True)
    pipeline.keep_campaigns(list(campaigns), cli.LAST_RUN)


def test_campaign_list_without_any_run_says_how_to_get_one(capsys):
    assert cli.main(["campaign", "list"]) == 1
    assert "watchfloor run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "hosts"),
    [
        ("", "127.0.0.1,localhost"),
        ("corp.example,localhost", "corp.example,localhost,127.0.0.1"),
        # Elsewhere than alone a star stands for no host at all.
        ("*", "*"),
    ],
)
def test_hosts_that_the_user_s_proxy_is_not_for_stay_so(said, hosts, monkeypatch):
    monkeypatch.setenv("NO_PROXY", said)
    monkeypatch.setenv("no_proxy", said)
    assert without_proxy() == {"NO_PROXY": hosts, "no_proxy": hosts}


def test_campaigns_have_names_on_a_narrow_terminal_too():
    console = Console(file=io.StringIO(), width=80)
    report.campaign_list(console, [{**a_campaign(), "campaign_id": "flow-0123456789abcdef"}])
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "flow-0123456789abcdef" in shown
    assert a_campaign()["name"][:8] in shown


def test_campaign_list_is_worst_first_and_by_status(capsys):
    remember(a_campaign(), {**a_campaign(status="closed"), "campaign_id": "f-2", "score": 99.0, "name": "Worse"})
    assert cli.main(["campaign", "list"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("f-2") < shown.index("f-1")
    assert cli.main(["campaign", "list", "--status", "open"]) == 0
    assert "f-2" not in capsys.readouterr().out


def test_campaign_show_prints_all_of_it_defanged(capsys):
    remember(a_campaign(verdict="malicious"))
    assert cli.main(["campaign", "show", "f"]) == 0
    shown = capsys.readouterr().out
    for expected in (
        "Exfiltration on 10.0.1.20",
        "T1048",
        "pivot",
        "198[.]51[.]100[.]23",
        "malicious",
        "Web shell written",
    ):
        assert expected in shown
    assert "http://203.0.113.9" not in shown and "hxxp://203[.]0[.]113[.]9" in shown


def test_campaign_show_json_is_the_document(capsys):
    remember(a_campaign())
    assert cli.main(["campaign", "show", "f-1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == a_campaign()


@pytest.mark.parametrize(("campaign_id", "told"), [("x", "there is none"), ("f", "2 campaigns begin so")])
def test_campaign_show_needs_one_campaign(campaign_id, told, capsys):
    remember(a_campaign(), {**a_campaign(), "campaign_id": "f-2"})
    assert cli.main(["campaign", "show", campaign_id]) == 1
    assert told in capsys.readouterr().err


def test_text_from_alerts_moves_no_cursor_and_is_no_markup():
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    campaign = a_campaign()
    campaign["events"][0]["name"] = "\x1b[2J\x1b]0;owned\x07 [bold]name[/nope]"
    report.campaign(console, campaign)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[2J" not in written and "\x1b]0" not in written
    assert "[bold]name[/nope]" in written


@pytest.fixture
def account(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        yield boto3.Session()


def test_campaigns_of_a_stack_on_aws(account, capsys):
    outputs = {"DataBucketName": "data", "CampaignTableName": "campaigns"}
    template = {
        "Resources": {
            "DataBucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "data"}},
            "CampaignTable": {
                "Type": "AWS::DynamoDB::Table",
                "Properties": {
                    "TableName": "campaigns",
                    "BillingMode": "PAY_PER_REQUEST",
                    "AttributeDefinitions": [{"AttributeName": "campaign_id", "AttributeType": "S"}],
                    "KeySchema": [{"AttributeName": "campaign_id", "KeyType": "HASH"}],
                },
            },
        },
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    account.client("cloudformation").create_stack(StackName="lab", TemplateBody=json.dumps(template))
    row = {"campaign_id": "f-1", "status": "open", "score": 7}
    account.resource("dynamodb").Table("campaigns").put_item(Item=row)
    account.client("s3").put_object(Bucket="data", Key="campaigns/f-1.json", Body=json.dumps(a_campaign()))
    assert cli.main(["campaign", "list", "--stack", "lab"]) == 0
    assert "f-1" in capsys.readouterr().out


def test_stack_that_is_not_there_is_told(account, capsys):
    assert cli.main(["campaign", "list", "--stack", "nowhere"]) == 1
    assert "stack nowhere cannot be read" in " ".join(capsys.readouterr().err.split())


# --- demo, up, model, bench


def test_demo_runs_simulated_alerts_and_shows_what_came_out(pretend, capsys):
    assert cli.main(["demo"]) == 0
    assert pretend["files"] == ["alerts.json"]
    captured = capsys.readouterr()
    for expected in (
        "9  alerts",
        "3  clusters",
        "1 rejected",
        "T1190",
        "SOC-2",
        "cluster.json",
        "watchfloor up",
    ):
        assert expected in captured.out
    assert captured.out.index("SOC-2") < captured.out.index("SOC-10")
    assert "simulated alerts" in captured.err


def test_what_is_proposed_can_be_typed(monkeypatch, tmp_path, pretend, capsys):
    script = tmp_path / "bin" / "watchfloor"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(script)])
    assert cli.main(["demo"]) == 0
    assert "bin/watchfloor campaign list" in capsys.readouterr().out
    monkeypatch.setenv("PATH", str(script.parent))
    assert report.program() == "watchfloor"


def test_demo_runs_the_users_own_file(tmp_path, pretend):
    path = tmp_path / "mine.jsonl"
    path.write_text("{}")
    assert cli.main(["demo", str(path)]) == 0
    assert pretend["files"] == ["mine.jsonl"]


def test_up_keeps_the_cloud_until_it_is_interrupted(monkeypatch, pretend, capsys):
    def interrupted(console, deployment):
        assert sandbox.KEPT.exists()
        raise KeyboardInterrupt

    cloud = argparse.Namespace(endpoint_url="http://127.0.0.1:1", twins={}, running=True)

    @contextmanager
    def fresh(parameters, say, *, port):
        assert port == 4600
        yield sandbox.Deployment(cloud, {"DataBucketName": "data"})  # type: ignore[arg-type]

    monkeypatch.setattr(sandbox, "fresh", fresh)
    monkeypatch.setattr(report, "cloud", interrupted)
    assert cli.main(["up", "--port", "4600"]) == 0
    assert not sandbox.KEPT.exists()


def test_up_again_points_to_the_one_that_runs(monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "kept", lambda: sandbox.KeptCloud("http://127.0.0.1:1", {}, 77, {}))
    assert cli.main(["up"]) == 1
    assert "already kept at http://127.0.0.1:1 (process 77)" in capsys.readouterr().err


def test_kept_cloud_is_used_only_while_it_answers():
    assert sandbox.kept() is None
    cloud = argparse.Namespace(endpoint_url="http://127.0.0.1:9", twins={"jira": "http://127.0.0.1:9"})
    sandbox.keep(sandbox.Deployment(cloud, {"DataBucketName": "data"}), {"ChunkSize": "5"})  # type: ignore[arg-type]
    assert json.loads(sandbox.KEPT.read_text())["outputs"] == {"DataBucketName": "data"}
    assert sandbox.kept() is None


def test_kept_cloud_is_deployed_again_only_for_other_parameters(monkeypatch):
    told: list[str] = []
    cloud = sandbox.KeptCloud("http://127.0.0.1:9", {}, 1, {"A": "old"}, {"ChunkSize": "5"})
    assert sandbox.deployment_of(cloud, {"ChunkSize": "5"}, told.append).outputs == {"A": "old"}
    assert not told
    sandbox.keep(sandbox.Deployment(cloud, {}), {})
    monkeypatch.setattr(deploy, "build", lambda root, say: Path("built"))
    monkeypatch.setattr(deploy, "deploy", lambda cloud, built, stack, parameters: parameters)
    monkeypatch.setattr(sandbox, "connect_twins", lambda cloud: {"JiraSecretArn": "arn"})
    outputs = sandbox.deployment_of(cloud, {"ChunkSize": "6"}, told.append).outputs
    assert outputs == {"JiraSecretArn": "arn", "ChunkSize": "6"}
    assert "ChunkSize=6" in told[0]
    assert json.loads(sandbox.KEPT.read_text())["parameters"] == {"ChunkSize": "6"}


def test_secrets_of_the_twins_are_kept_and_renewed():
    with mock_aws():
        session = boto3.Session(aws_access_key_id="t", aws_secret_access_key="t", region_name="us-east-1")
        names = ("jira", "kibana", "opensearch", "slack", "openai", "stack_exchange")
        urls = {name: f"http://127.0.0.1:{n}" for n, name in enumerate(names)}
        cloud: Any = argparse.Namespace(twins=urls, session=lambda: session)
        first = sandbox.connect_twins(cloud)
        assert sandbox.connect_twins(cloud) == first
        assert first["OpenSearchUrl"] == urls["opensearch"]
        secret = session.client("secretsmanager").get_secret_value(SecretId=first["JiraSecretArn"])["SecretString"]
        assert json.loads(secret)["url"] == urls["jira"]


def test_model_answers_without_the_pipeline(tmp_path):
    request, answer = tmp_path / "request.json", tmp_path / "answer.json"
    request.write_text(json.dumps({"clusters": [], "state": None}))
    assert cli.main(["model", "flow", "--in", str(request), "--out", str(answer)]) == 0
    assert json.loads(answer.read_text())["flows"] == []


def test_model_tells_why_it_refused(tmp_path, capsys):
    request = tmp_path / "request.json"
    request.write_text('{"clusters": 5}')
    assert cli.main(["model", "flow", "--in", str(request), "--out", str(tmp_path / "answer")]) == 1
    assert "the flow model refused" in capsys.readouterr().err


def a_measurement(**changes: Any) -> measure.Measurement:
    numbers = {"alerts": 1_000, "rejected": 0, "batches": 2, "seconds": 4.0, "clusters": 30, "flows": 3}
    rest = {"campaigns": 3, "issues": 5, "cases": 10, "usd": 0.0321, "is_complete": True}
    sizes = {"lambda_bytes": 91_000_000, "model_bytes": None}
    return measure.Measurement(**{"input": "lab", **numbers, **sizes, **rest, **changes})  # type: ignore[arg-type]


def test_bench_measures_each_input_and_prints_the_table(alerts, monkeypatch, capsys):
    labels: list[str] = []

    def pretended(given, parameters, console, folder):
        labels.append(given.label)
        return a_measurement(input=given.label)

    monkeypatch.setattr(measure, "measure", pretended)
    monkeypatch.setattr(measure, "DATASETS", Path("/nonexistent/datasets.py"))
    assert cli.main(["bench", str(alerts), "--alerts", "50", "--ait", "shaw", "--markdown"]) == 0
    assert labels == ["alerts.json", "simulated, 50"]
    captured = capsys.readouterr()
    assert "SKIPPED ait shaw" in captured.err
    assert captured.out.splitlines()[0].startswith("| input | alerts |")
    assert "| alerts.json | 1,000 | 0 | 2 | 4.0 | 250 | 91 | n/a |" in captured.out


def test_bench_fails_where_an_alert_is_lost(alerts, monkeypatch, capsys):
    monkeypatch.setattr(measure, "measure", lambda *_: a_measurement(is_complete=False))
    assert cli.main(["bench", str(alerts), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["is_complete"] is False


def test_bench_goes_on_after_an_input_that_fails(alerts, monkeypatch, capsys):
    def sometimes(given, *_):
        if given.label == "alerts.json":
            raise UserError("alerts.json: the run failed", "Mend it.")
        return a_measurement(input=given.label)

    monkeypatch.setattr(measure, "measure", sometimes)
    assert cli.main(["bench", str(alerts), "--alerts", "50"]) == 1
    captured = capsys.readouterr()
    assert "the run failed" in captured.err and "simulated, 50" in captured.out


def test_every_alert_is_in_exactly_one_cluster(tmp_path):
    clusters = [{"alert_ids": ["1", "2"]}, {"alert_ids": ["3"]}]
    (tmp_path / "cluster.json").write_text(json.dumps(clusters))
    assert measure.is_complete(3, tmp_path)
    assert not measure.is_complete(4, tmp_path)
    (tmp_path / "cluster.json").write_text(json.dumps([*clusters, {"alert_ids": ["3", "4"]}]))
    assert not measure.is_complete(5, tmp_path)


def test_cost_grows_with_batches():
    seconds = {"ProcessCluster": 10.0, "CreateCluster": 60.0, "RaiseClusters": 1_000.0}
    assert 0 < measure.estimated_cost(50, 1, seconds) < measure.estimated_cost(50, 10, seconds) < 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_memory_of_model_servers_is_seen(monkeypatch):
    monkeypatch.setattr(memory, "_SAMPLE_SECONDS", 0.01)
    program = "import time; x = b'x' * 60_000_000; print(len(x), flush=True); time.sleep(20)"
    with memory.PeakMemory() as seen:
        child = subprocess.Popen([sys.executable, "-c", program, "models.serve"], stdout=subprocess.PIPE)
        assert child.stdout
        child.stdout.readline()
        for _ in range(500):
            if seen.peaks.get(memory.MODEL, 0) > 50_000_000:
                break
            signal.sigtimedwait([], 0.02)
        child.kill()
        child.wait()
        child.stdout.close()
    assert seen.peaks[memory.MODEL] > 50_000_000


# --- following an execution


class Executions:
    """Step Functions as the follower sees it; `happen` lets time pass."""

    def __init__(self) -> None:
        self.events: dict[str, list[dict[str, Any]]] = {PARENT: []}
        self.ends: dict[str, dict[str, Any]] = {}
        self.clock = 100.0

    def happen(self, arn: str, kind: str, name: str = "", output: dict | None = None, after: float = 1.0) -> None:
        self.clock += after
        events = self.events.setdefault(arn, [])
        event: dict[str, Any] = {"id": len(events) + 1, "type": kind, "timestamp": self.clock}
        if kind.endswith("Entered"):
            event["stateEnteredEventDetails"] = {"name": name, "input": "{}"}
        elif kind.endswith("Exited"):
            event["stateExitedEventDetails"] = {"name": name, "output": json.dumps(output or {})}
        events.append(event)

    def end(self, arn: str, status: str, **more: Any) -> None:
        self.ends[arn] = {"status": status, "stopDate": self.clock, **more}

    def describe_execution(self, executionArn: str) -> dict[str, Any]:
        return self.ends.get(executionArn, {"status": "RUNNING"})

    def get_execution_history(self, executionArn, reverseOrder, maxResults, nextToken="0") -> dict[str, Any]:
        assert reverseOrder
        events, start = self.events[executionArn][::-1], int(nextToken)
        page: dict[str, Any] = {"events": events[start : start + 2]}
        return page | ({"nextToken": str(start + 2)} if start + 2 < len(events) else {})

    def get_paginator(self, name: str) -> Any:
        children = [
            {"name": arn.rpartition(":")[2], "executionArn": arn} for arn in self.events if arn.startswith(PARENT)
        ]
        return argparse.Namespace(paginate=lambda stateMachineArn: [{"executions": children}])


def seconds(follower: Follower) -> dict[str, float]:
    return {state.name: state.seconds(0) for state in follower.rows()}


def test_follower_knows_states_seconds_and_batches():
    sfn = Executions()
    follower = Follower(sfn, PARENT, CHILDREN)
    sfn.happen(PARENT, "ExecutionStarted")
    sfn.happen(PARENT, "TaskStateEntered", "EnrichWithTechnique")
    follower.poll()
    assert [state.status for state in follower.rows()] == ["running"]
    sfn.happen(PARENT, "TaskStateExited", "EnrichWithTechnique", {"batch_count": 3}, after=4.0)
    sfn.happen(PARENT, "ChoiceStateEntered", "MoreBatches")
    sfn.happen(PARENT, "ChoiceStateExited", "MoreBatches")
    sfn.happen(PARENT, "TaskStateEntered", "ClusterBatches")
    for batch in range(3):
        child = f"{PARENT}-{batch - batch % 2}"
        sfn.happen(child, "TaskStateEntered", "ProcessCluster")
        sfn.happen(child, "TaskStateExited", "ProcessCluster", after=2.0)
    follower.poll()
    follower.poll()
    assert (follower.batches, follower.batches_done) == (3, 3)
    rows = [(state.name, state.level) for state in follower.rows()]
    assert rows == [("EnrichWithTechnique", 0), ("ClusterBatches", 0), ("ProcessCluster", 1)]
    sfn.happen(PARENT, "TaskStateExited", "ClusterBatches", after=0.0)
    sfn.end(PARENT, "SUCCEEDED", output=json.dumps({"run_id": "r"}))
    follower.poll()
    assert follower.status == "SUCCEEDED" and follower.output == {"run_id": "r"}
    assert seconds(follower) == {"EnrichWithTechnique": 4.0, "ClusterBatches": 9.0, "ProcessCluster": 6.0}
    assert follower.transitions == 6


def test_follower_names_the_state_that_failed():
    sfn = Executions()
    follower = Follower(sfn, PARENT)
    for name in ("ClaimRun", "EnrichWithTechnique"):
        sfn.happen(PARENT, "TaskStateEntered", name)
        if name == "EnrichWithTechnique":
            sfn.happen(PARENT, "TaskFailed")
        sfn.happen(PARENT, "TaskStateExited", name)
    sfn.happen(PARENT, "TaskStateEntered", "ReportFailure")
    sfn.happen(PARENT, "TaskStateExited", "ReportFailure")
    sfn.end(PARENT, "FAILED", error="InvalidInputError", cause='{"errorMessage": "no alert"}')
    follower.poll()
    assert follower.failed_state == "EnrichWithTechnique"
    assert {state.name: state.status for state in follower.rows()} == {
        "ClaimRun": "done", "EnrichWithTechnique": "failed", "ReportFailure": "done"
    }  # fmt: skip


def test_plain_lines_tell_each_change_once():
    sfn, console = Executions(), Console(file=io.StringIO(), width=100)
    follower, lines = Follower(sfn, PARENT), PlainLines(console)
    sfn.happen(PARENT, "TaskStateEntered", "ClaimRun")
    for _ in range(3):
        follower.poll()
        lines.show(follower)
    sfn.happen(PARENT, "TaskStateExited", "ClaimRun", after=2.5)
    follower.poll()
    lines.show(follower)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert written.count("running") == 1 and written.count("done in 2.5 s") == 1


def test_live_table_has_state_status_seconds_and_batch_counter():
    sfn, console = Executions(), Console(file=io.StringIO(), width=100)
    follower = Follower(sfn, PARENT, CHILDREN)
    sfn.happen(PARENT, "TaskStateEntered", "ClusterBatches")
    sfn.happen(f"{PARENT}-0", "TaskStateEntered", "CreateCluster")
    follower.poll()
    console.print(table(follower, "alerts.json"))
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "batch 0 of ?" in written and "  CreateCluster" in written and "running" in written


@pytest.mark.parametrize("is_terminal", [True, False])
def test_watch_ends_with_the_execution(is_terminal, monkeypatch):
    monkeypatch.setattr("local.progress.POLL_SECONDS", 0)
    sfn = Executions()
    follower = Follower(sfn, PARENT)
    sfn.happen(PARENT, "TaskStateEntered", "ClaimRun")

    def time_passes() -> None:
        sfn.happen(PARENT, "TaskStateExited", "ClaimRun")
        sfn.end(PARENT, "SUCCEEDED", output="{}")

    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    watch(follower, console, "alerts.json", on_poll=time_passes)
    assert follower.status == "SUCCEEDED"
    assert "ClaimRun" in console.file.getvalue()  # type: ignore[attr-defined]


# --- one file through the pipeline


class Uploads(Executions):
    """Executions that an upload starts, as S3's event does."""

    def __init__(self, s3: Any, end: dict[str, Any]) -> None:
        super().__init__()
        self._s3, self._end = s3, end

    def get_paginator(self, name: str) -> Any:
        uploaded = self._s3.list_objects_v2(Bucket="data", Prefix="input/").get("KeyCount")
        executions = [{"name": "run", "executionArn": PARENT}] if uploaded else []
        return argparse.Namespace(paginate=lambda stateMachineArn: [{"executions": executions}])

    def describe_execution(self, executionArn: str) -> dict[str, Any]:
        return {
            "input": json.dumps({"detail": {"object": {"key": "input/lab/alerts.json"}}}),
            "stopDate": 1.0,
            **self._end,
        }


@pytest.fixture
def deployment(monkeypatch):
    monkeypatch.setattr(
        pipeline, "tickets", lambda cloud: {"jira": {"SOC-1": {"title": "T", "status": "To Do", "url": "u"}}}
    )
    with mock_aws():
        session = boto3.Session(aws_access_key_id="t", aws_secret_access_key="t", region_name="us-east-1")
        session.client("s3").create_bucket(Bucket="data")
        for name, keys in {"campaigns": ["campaign_id"], "links": ["cluster_id", "integration"]}.items():
            session.client("dynamodb").create_table(
                TableName=name,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
                KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, KEY_TYPES, strict=False)],
            )
        outputs = {
            "DataBucketName": "data",
            "CampaignTableName": "campaigns",
            "LinkTableName": "links",
            "AlertPipelineArn": "machine",
            "ClusterBatchesArn": CHILDREN,
        }
        yield sandbox.Deployment(argparse.Namespace(session=lambda: session), outputs)  # type: ignore[arg-type]


def with_pipeline(deployment, monkeypatch, **end: Any) -> None:
    real = deployment.client
    uploads = Uploads(real("s3"), end)
    monkeypatch.setattr(deployment, "client", lambda service: uploads if service == "stepfunctions" else real(service))


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_file_goes_through_and_its_results_are_collected(deployment, alerts, tmp_path, monkeypatch):
    with_pipeline(deployment, monkeypatch, status="SUCCEEDED", output=json.dumps(SUMMARY))
    run_id, s3 = SUMMARY["run_id"], deployment.client("s3")
    link = {"cluster_id": "c", "integration": "jira", "external_id": "SOC-1", "outcome": "created", "run_id": run_id}
    deployment.table("LinkTableName").put_item(Item=link)
    deployment.table("LinkTableName").put_item(Item={**link, "cluster_id": "old", "run_id": "another"})
    campaign = a_campaign()
    row = {"campaign_id": "f-1", "status": "open", "score": 7}
    deployment.table("CampaignTableName").put_item(Item=row)
    files = {
        "campaigns/f-1.json": campaign,
        f"output/{run_id}/cluster.json": [],
        f"output/{run_id}/attack_flow/f-1.json": {"type": "bundle"},
        f"rejected/{run_id}.jsonl": {"reason": "no name"},
    }
    for key, body in files.items():
        s3.put_object(Bucket="data", Key=key, Body=json.dumps(body))

    run = pipeline.run_file(deployment, alerts, quiet(), stream="lab")
    assert run.summary == SUMMARY
    assert [ticket["id"] for ticket in run.tickets] == ["SOC-1"]
    out = tmp_path / "out"
    (out / "campaigns").mkdir(parents=True)
    (out / "campaigns" / "stale.json").write_text("{}")
    pipeline.collect(deployment, run, out)
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {"cluster.json", "attack_flow/f-1.json", "rejected.jsonl", "campaigns/f-1.json"}


@pytest.mark.parametrize(
    ("end", "told", "fix"),
    [
        (
            {"status": "FAILED", "error": "InvalidInputError", "cause": '{"errorMessage": "no usable alert"}'},
            "the run failed: InvalidInputError: no usable alert",
            "docs/input-formats.md",
        ),
        ({"status": "TIMED_OUT"}, "the run timed out: no error given", "cloud.log"),
    ],
)
def test_run_that_fails_says_why_and_what_now(end, told, fix, deployment, alerts, monkeypatch):
    with_pipeline(deployment, monkeypatch, **end)
    with pytest.raises(UserError, match=told) as failure:
        pipeline.run_file(deployment, alerts, quiet(), stream="lab")
    assert fix in failure.value.fix


def test_upload_that_starts_nothing_is_told(deployment, alerts, monkeypatch):
    with_pipeline(deployment, monkeypatch, status="SUCCEEDED")
    monkeypatch.setattr(pipeline, "START_SECONDS", 0.3)
    with pytest.raises(UserError, match="did not start the pipeline"):
        pipeline.run_file(deployment, alerts, quiet(), stream="another")
