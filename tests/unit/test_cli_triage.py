"""What `watchfloor triage` does besides running a machine: files, log groups, incidents, words for people."""

from __future__ import annotations

import getpass
import gzip
import io
import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from rich.style import Style

from local import cli, sandbox, slack_text, triage_commands
from local.log_groups import Attached, LogGroups
from local.pipeline import UserError
from local.sandbox import Deployment
from local.triage import Desk, Triaged
from local.triage_events import batch_of, event_of, of_lines, packed
from tests.unit.tables import table
from watchfloor.clients.incident_table import IncidentTable
from watchfloor.incidents import Arrivals, day_of, record, started
from watchfloor.layout import IncidentLayout

STACK = "floor"
PATTERN = "?ERROR ?Traceback"
TRUST = {"Version": "2012-10-17", "Statement": []}


class Aws(sandbox.Account):
    """boto3 within moto, in the place of a cloud."""

    def session(self) -> boto3.Session:
        return boto3.Session(region_name="us-east-1")


# --- files


def messages(event: dict[str, Any]) -> list[str]:
    return [row["message"] for row in batch_of(event)["logEvents"]]


def written(tmp_path, content: str | bytes, name: str = "file") -> str:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_subscription_event_is_taken_as_it_is(tmp_path):
    event = packed({"messageType": "CONTROL_MESSAGE", "logEvents": []})
    assert event_of(written(tmp_path, json.dumps(event))) == event


def test_inside_of_an_event_is_packed_with_its_own_names(tmp_path):
    batch = {"logGroup": "/app", "logStream": "s", "logEvents": [{"id": "1", "timestamp": 5, "message": "ERROR"}]}
    made = batch_of(event_of(written(tmp_path, json.dumps(batch))))
    assert (made["messageType"], made["logGroup"], made["logEvents"]) == ("DATA_MESSAGE", "/app", batch["logEvents"])


def test_answer_of_aws_logs_keeps_times_and_stream(tmp_path):
    rows = [{"logStreamName": "web-1", "timestamp": n, "message": f"line {n}", "eventId": str(n)} for n in (7, 8)]
    made = batch_of(event_of(written(tmp_path, json.dumps({"events": rows}))))
    assert made["logStream"] == "web-1"
    assert [(row["timestamp"], row["message"]) for row in made["logEvents"]] == [(7, "line 7"), (8, "line 8")]


def test_streams_that_aws_logs_mixes_are_sorted_out(tmp_path):
    mixed = [
        {"timestamp": number, "message": f"{stream}{number}", "logStreamName": stream}
        for number in range(2)
        for stream in "ab"
    ]
    event = event_of(written(tmp_path, json.dumps({"events": mixed})))
    assert messages(event) == ["a0", "a1", "b0", "b1"]


def test_no_event_of_too_many_is_left_out_in_silence(tmp_path):
    many = [{"timestamp": number, "message": "x"} for number in range(10_001)]
    with pytest.raises(UserError, match="10,001 events"):
        event_of(written(tmp_path, json.dumps({"events": many})))


def test_each_file_has_a_stream_of_its_own(tmp_path):
    path = written(tmp_path, "ERROR boom")
    assert batch_of(event_of(path))["logStream"] != batch_of(event_of(path))["logStream"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_log_is_an_event_a_line_in_order(tmp_path, pack):
    text = "Traceback (most recent call last):\r\n  File\n\nKeyError: 'ü'\n"
    made = batch_of(event_of(written(tmp_path, pack(b"\xef\xbb\xbf" + text.encode()))))
    assert [row["message"] for row in made["logEvents"]] == [
        "Traceback (most recent call last):",
        "  File",
        "KeyError: 'ü'",
    ]
    times = [row["timestamp"] for row in made["logEvents"]]
    assert times == sorted(times)
    assert abs(times[-1] / 1000 - time.time()) < 5
    assert len({row["id"] for row in made["logEvents"]}) == 3


def test_json_lines_and_any_other_json_are_logs_too(tmp_path):
    lines = '{"level": "ERROR", "message": "one"}\n{"level": "INFO", "message": "two"}'
    assert messages(event_of(written(tmp_path, lines))) == lines.split("\n")
    assert messages(event_of(written(tmp_path, '{"level": "ERROR"}'))) == ['{"level": "ERROR"}']


def test_minus_is_what_is_piped_in(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ERROR piped\n")))
    assert messages(event_of("-")) == ["ERROR piped"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (" \n", "has no line in it"),
        ("x\n" * 10_001, "an event holds 10,000"),
        ('{"events": []}', "has no event in it"),
        ('{"events": [{"message": "no time"}]}', "without a time"),
        (gzip.compress(b"ERROR", mtime=0)[:9], "broken gzip"),
    ],
)
def test_files_of_no_use_are_refused_with_the_fix(tmp_path, content, told):
    with pytest.raises(UserError, match=told) as refused:
        event_of(written(tmp_path, content))
    assert refused.value.fix


def test_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        event_of(str(tmp_path / "none"))


@pytest.mark.parametrize("event", [{}, {"awslogs": {}}, {"awslogs": {"data": "AAAA"}}, packed({"logEvents": 1})])
def test_what_is_no_event_is_told(event):
    with pytest.raises(UserError, match="no subscription event"):
        batch_of(event)


def test_lines_are_dated_just_before_the_time_given():
    rows = batch_of(of_lines(["a", "b"], now=10.0))["logEvents"]
    assert [row["timestamp"] for row in rows] == [9_999, 10_000]


# --- log groups


@pytest.fixture
def groups(monkeypatch) -> Iterator[LogGroups]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        deployment = Deployment(Aws(), {})
        role = deployment.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(TRUST))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("app.py", "")
        function = deployment.client("lambda").create_function(
            FunctionName="receive",
            Runtime="python3.13",
            Role=role["Role"]["Arn"],
            Handler="app.handler",
            Code={"ZipFile": buffer.getvalue()},
            Environment={"Variables": {"OWN_LOG_GROUPS": "/aws/lambda/floor-,/aws/vendedlogs/states/floor-"}},
        )
        deployment.outputs["TriageFunctionArn"] = function["FunctionArn"]
        deployment.client("cloudformation").create_stack(
            StackName=STACK,
            TemplateBody=json.dumps(
                {
                    "Parameters": {"TriageFilterPattern": {"Type": "String", "Default": PATTERN}},
                    "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
                }
            ),
        )
        for name in ("/aws/lambda/shop", "/aws/lambda/floor-Triage-1-ReceiveLogs", "/ecs/checkout-web"):
            deployment.client("logs").create_log_group(logGroupName=name)
        yield LogGroups(deployment, STACK)


def test_attach_leads_errors_to_the_function_by_the_stack_s_pattern(groups):
    made = groups.attach("/aws/lambda/shop")
    assert made == Attached("/aws/lambda/shop", "floor-triage", PATTERN)
    assert list(groups.attached()) == [made]


def test_attach_again_changes_the_pattern(groups):
    groups.attach("/aws/lambda/shop")
    groups.attach("/aws/lambda/shop", "")
    assert [row.pattern for row in groups.attached("/aws")] == [""]
    assert list(groups.attached("/ecs")) == []


def test_own_log_group_is_refused(groups):
    with pytest.raises(UserError, match="Watchfloor's own log groups"):
        groups.attach("/aws/lambda/floor-Triage-1-ReceiveLogs")
    assert list(groups.attached()) == []


def test_unknown_log_group_names_those_that_sound_alike(groups):
    with pytest.raises(UserError, match="there is no log group /aws/ecs/checkout") as refused:
        groups.attach("/aws/ecs/checkout")
    assert "/ecs/checkout-web" in refused.value.fix
    with pytest.raises(UserError) as refused:
        groups.attach("/nothing/alike")
    assert "describe-log-groups" in refused.value.fix


def test_group_with_two_other_filters_is_refused_with_their_names(groups):
    logs = groups._logs
    for name in ("to-archive", "to-search"):
        logs.put_subscription_filter(
            logGroupName="/ecs/checkout-web",
            filterName=name,
            filterPattern="",
            destinationArn=groups._function_arn,
        )
    with pytest.raises(UserError, match="to-archive, to-search") as refused:
        groups.attach("/ecs/checkout-web")
    assert "delete-subscription-filter" in refused.value.fix


def test_group_of_the_infrequent_class_is_refused(groups, monkeypatch):
    monkeypatch.setattr(groups, "_described", lambda name: {"logGroupName": name, "logGroupClass": "INFREQUENT_ACCESS"})
    with pytest.raises(UserError, match="INFREQUENT_ACCESS"):
        groups.attach("/aws/lambda/shop")


@pytest.mark.parametrize(
    ("code", "fix"), [("InvalidParameterException", "Mend the pattern"), ("AccessDeniedException", "PutSubscription")]
)
def test_refusal_of_aws_comes_with_a_fix(groups, monkeypatch, code, fix):
    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "PutSubscriptionFilter")

    monkeypatch.setattr(groups._logs, "put_subscription_filter", refuse)
    with pytest.raises(UserError, match="cannot be attached: no") as refused:
        groups.attach("/aws/lambda/shop", "{")
    assert fix in refused.value.fix


def test_detach_takes_the_filter_away_once(groups):
    groups.attach("/aws/lambda/shop")
    groups.detach("/aws/lambda/shop")
    assert list(groups.attached()) == []
    with pytest.raises(UserError, match="is not attached"):
        groups.detach("/aws/lambda/shop")


# --- Slack's buttons


def test_buttons_of_a_local_api_lead_to_the_cloud_s_own_address():
    outputs = {"TriageActionUrl": "http://ab12.execute-api.127.0.0.1:4566/slack/actions"}
    cloud = sandbox.KeptCloud("http://127.0.0.1:4566", {}, 1, outputs)
    assert (
        sandbox.action_url(Deployment(cloud, outputs))
        == "http://127.0.0.1:4566/_aws/execute-api/ab12/$default/slack/actions"
    )
    public = {"TriageActionUrl": "https://ab12.execute-api.eu-central-1.amazonaws.com/slack/actions"}
    assert sandbox.action_url(Deployment(Aws(), public)) == public["TriageActionUrl"]


# --- incidents


REPORT: dict[str, Any] = {
    "fingerprint": "1f3647916e63339c",
    "generation": 1,
    "title": "KeyError: 'country'",
    "status": "open",
    "grouped_by": {"rule": "frames", "reason": "KeyError raised in tax (orders.py)."},
    "count": 3,
    "first_seen": 1_795_000_000.0,
    "last_seen": 1_795_000_600.0,
    "log_group": "/aws/lambda/shop",
    "log_stream": "s",
    "error": {"type": "KeyError", "message": "'country'", "language": "python", "frames": []},
    "context": [{"id": "L1", "time": 1_795_000_000.0, "text": "[ERROR] KeyError", "is_error": True}],
    "evidence": [],
    "verdict": "NO_ANSWER",
    "answer": {},
    "missing": [{"what": "the model's answer", "why": "no model is set up"}],
    "limits": [],
    "links": {},
}


class Kept(sandbox.KeptCloud):
    """The cloud that `up` keeps is moto."""

    def session(self) -> boto3.Session:
        return boto3.Session(region_name="us-east-1")


@pytest.fixture
def incident_table(monkeypatch) -> Iterator[IncidentTable]:
    """A kept cloud with two incidents, of which one has a report."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setattr(getpass, "getuser", lambda: "ana")
    with table("IncidentTable") as rows:
        cloud = Kept("http://127.0.0.1:1", {}, 1, {"IncidentTableName": rows.name, "DataBucketName": "data"})
        monkeypatch.setattr(sandbox, "kept", lambda: cloud)
        s3 = cloud.session().client("s3")
        s3.create_bucket(Bucket="data")
        body = json.dumps(REPORT).encode()
        s3.put_object(Bucket="data", Key=IncidentLayout(REPORT["fingerprint"], 1).report, Body=body)
        incidents = IncidentTable(rows)
        for fingerprint, title, seen in (
            (REPORT["fingerprint"], REPORT["title"], 1_795_000_600.0),
            ("1f99999999999999", "TypeError: \x1b[31mred", 1_795_000_900.0),
        ):
            new = Arrivals(
                fingerprint, 3, seen - 600, seen, {day_of(seen): 3}, title, "E", "E in f", "/aws/lambda/shop"
            )
            counted = partial(record, new=new, now=1.8e9, reopen_after_seconds=1e6)
            incidents.change(fingerprint, counted)
            incidents.change(fingerprint, lambda one: started(one, 1, now=1.8e9))
        yield incidents


def said(capsys, *arguments: str, status: int = 0) -> str:
    assert cli.main(["triage", *arguments]) == status
    captured = capsys.readouterr()
    return captured.err if status else captured.out


def test_list_shows_the_one_seen_last_first_and_nothing_that_moves_the_cursor(incident_table, capsys):
    shown = said(capsys, "list")
    assert shown.index("1f99999999999999") < shown.index("1f3647916e63339c")
    assert "\x1b[31m" not in shown
    assert "KeyError: 'country'" in shown
    found = json.loads(said(capsys, "list", "--json", "--status", "open"))
    assert [one["total"] for one in found] == [3, 3]
    assert "No incidents" in said(capsys, "list", "--status", "resolved")


def test_show_has_the_message_and_the_history(incident_table, capsys):
    shown = said(capsys, "show", "1f36")
    for told in (
        "KeyError: 'country'",
        "No usable answer from a model",
        "3 of this time, 3 in all",
        "/aws/lambda/shop",
    ):
        assert told in shown
    whole = json.loads(said(capsys, "show", "1f3647916e63339c", "--json"))
    assert whole["report"] == REPORT
    assert whole["incident"]["title"] == "KeyError: 'country'"
    assert "No report is written yet" in said(capsys, "show", "1f99")


@pytest.mark.parametrize(("beginning", "told"), [("1f", "2 fingerprints begin so"), ("zz", "there is none")])
def test_beginning_that_names_no_single_incident_is_told(incident_table, capsys, beginning, told):
    assert told in said(capsys, "resolve", beginning, status=1)


def test_what_people_say_is_kept_with_their_name(incident_table, capsys):
    assert "acknowledged by ana" in said(capsys, "acknowledge", "1f36")
    assert incident_table.get("1f3647916e63339c").status == "acknowledged"
    said(capsys, "silence", "1f36", "--for", "4h")
    incident = incident_table.get("1f3647916e63339c")
    assert incident.status == "silenced"
    assert 14_000 < incident.until - time.time() <= 14_400
    said(capsys, "resolve", "1f36", "--note", "rolled back")
    incident = incident_table.get("1f3647916e63339c")
    assert (incident.status, incident.note, incident.by) == ("resolved", "rolled back", "ana")
    assert json.loads(said(capsys, "reopen", "1f36", "--json"))["status"] == "open"
    assert incident_table.get("1f3647916e63339c").to_do == "refresh"


def test_merge_and_split_are_kept_and_can_be_taken_back(incident_table, capsys):
    said(capsys, "merge", "1f99", "1f36")
    assert incident_table.get("1f99999999999999").merged_into == "1f3647916e63339c"
    assert "1f99999999999999" in said(capsys, "show", "1f36")
    assert "1f99999999999999" in said(capsys, "list", "--status", "merged")
    assert "is that incident already" in said(capsys, "merge", "1f36", "1f99", status=1)
    said(capsys, "unmerge", "1f99")
    assert incident_table.get("1f99999999999999").merged_into == ""
    said(capsys, "split", "1f36", "--by", "message", "--by", "log_group")
    assert incident_table.get("1f3647916e63339c").split_by == ("message", "log_group")
    said(capsys, "split", "1f36", "--by", "nothing")
    assert incident_table.get("1f3647916e63339c").split_by == ()


def test_without_a_kept_cloud_the_fix_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "kept", lambda: None)
    told = said(capsys, "list", status=1)
    assert "watchfloor up" in told
    assert "--stack NAME" in told


def test_stack_without_error_triage_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "on_aws", lambda stack: Deployment(Aws(), {}))
    assert "has no error triage" in said(capsys, "list", "--stack", "old", status=1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["silence", "x", "--for", "3y"], "3y is no duration"),
        (["silence", "x"], "--for"),
        (["split", "x", "--by", "mood"], "invalid choice"),
        (["merge", "x"], "B"),
        ([], "EVENT.json | COMMAND"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what(arguments, told, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["triage", *arguments])
    assert stop.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], *([name] for name in triage_commands.COMMANDS)])
def test_help_everywhere(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["triage", *arguments, "--help"])
    assert stop.value.code == 0
    assert "usage: watchfloor triage" in capsys.readouterr().out


# --- one event


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """No cloud is started; what the desk is handed is kept, and answered with `answer`."""
    asked: dict[str, Any] = {"answer": Triaged({"status": "counted", "errors": 1, "held": []}, 2.0, [dict(REPORT)])}

    @contextmanager
    def at_hand(parameters, say):
        yield Deployment(Aws(), {"IncidentTableName": "none"})

    def triage(desk, event, console) -> Triaged:
        asked["event"] = event
        return asked["answer"]

    monkeypatch.setattr(sandbox, "at_hand", at_hand)
    monkeypatch.setattr(Desk, "__init__", lambda self, deployment: None)
    monkeypatch.setattr(Desk, "triage", triage)
    monkeypatch.setattr(triage_commands, "LAST_TRIAGE", tmp_path / "last")
    return asked


@pytest.mark.parametrize("first", [[], ["run"]])
def test_event_becomes_a_message_a_verdict_and_a_report(pretend, tmp_path, capsys, first):
    shown = said(capsys, *first, written(tmp_path, "ERROR it broke\n"), "--out", str(tmp_path / "out"))
    assert messages(pretend["event"]) == ["ERROR it broke"]
    for told in ("KeyError: 'country'", "NO_ANSWER", "frames: KeyError raised in tax", "no model is set up", "2.0 s"):
        assert told in shown
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == REPORT
    assert (tmp_path / "out" / "1f3647916e63339c-1.json").exists()


def test_event_as_json_is_for_machines(pretend, tmp_path, capsys):
    told = json.loads(said(capsys, written(tmp_path, "ERROR it broke\n"), "--json"))
    assert told["reports"] == [REPORT]
    assert told["seconds"] == 2.0


@pytest.mark.parametrize(
    ("received", "told"),
    [
        ({"status": "control", "errors": 0, "held": []}, "control message"),
        ({"status": "refused", "errors": 0, "held": []}, "one of Watchfloor's own"),
        ({"status": "counted", "errors": 0, "held": []}, "no error in it"),
        ({"status": "counted", "errors": 2, "held": ["x-1", "y-1"]}, "2 incidents are held back"),
        ({"status": "counted", "errors": 2, "held": []}, "told already"),
    ],
)
def test_event_without_a_message_says_why(pretend, tmp_path, capsys, received, told):
    pretend["answer"] = Triaged(received, 1.0)
    assert told in " ".join(said(capsys, written(tmp_path, "x\n")).split())


def test_slack_text_shows_what_slack_would():
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": "It broke"}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "*Cause* in `a&amp;b`\n```\n&lt;raw&gt;\n```"}},
        {
            "type": "context",
            "elements": [
                {"type": "mrkdwn", "text": "<!date^1^{date}|1970-01-01>"},
                {"type": "mrkdwn", "text": "<https://example.com/?a=1&amp;b=2|the log>"},
            ],
        },
        {"type": "divider"},
        {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "Resolve …"}}]},
    ]
    shown = list(slack_text.lines(blocks))
    plain = [line.plain for line in shown]
    assert plain[0] == "It broke"
    assert plain[1] == "Cause in a&b"
    assert plain[2].strip() == "<raw>"
    assert "1970-01-01 · the log" in plain
    assert "[ Resolve … ]" in plain
    styles = [span.style for line in shown for span in line.spans]
    (link,) = [style.link for style in styles if isinstance(style, Style) and style.link]
    assert link == "https://example.com/?a=1&b=2"
