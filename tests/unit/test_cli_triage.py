"""What `watchfloor triage` does besides running a machine: files, log groups, incidents, words for people."""

from __future__ import annotations

import gzip
import io
import json
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from local import sandbox
from local.log_groups import Attached, LogGroups
from local.pipeline import UserError
from local.sandbox import Deployment
from local.triage_events import batch_of, event_of, of_lines, packed

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
        (gzip.compress(b"ERROR")[:9], "cannot be read"),
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
