"""What is looked up about an error, on moto with the twins: log, function, alarms, Stack Overflow, the model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from local.twins.openai import OpenAiTwin
from local.twins.stack_exchange import StackExchangeTwin
from tests.machines.harness import Fault, _client
from tests.machines.triage import TRACE, TriageCloud
from watchfloor.clients import lambda_functions, stack_overflow
from watchfloor.errors import NotFoundError, TransientError

MAIL, CARD, TOKEN = "ana.duty@example.com", "4111 1111 1111 1111", "ghp_" + "a1B2" * 9


@pytest.fixture
def openai() -> Iterator[OpenAiTwin]:
    with OpenAiTwin() as twin:
        yield twin


@pytest.fixture
def stack_exchange(monkeypatch: pytest.MonkeyPatch) -> Iterator[StackExchangeTwin]:
    monkeypatch.setattr(stack_overflow, "_paused_until", {})
    with StackExchangeTwin() as twin:
        yield twin


@pytest.fixture
def cloud(
    openai: OpenAiTwin, stack_exchange: StackExchangeTwin, request: pytest.FixtureRequest
) -> Iterator[TriageCloud]:
    parameters = {"OpenAiBaseUrl": openai.base_url, "StackExchangeUrl": f"{stack_exchange.url}/2.3"}
    with TriageCloud({"OpenAiSecretArn": openai.secret}, **{**parameters, **getattr(request, "param", {})}) as cloud:
        yield cloud


def whys(report: dict[str, Any]) -> dict[str, str]:
    return {row["what"]: row["why"] for row in report["missing"]}


def tokens_used(cloud: TriageCloud) -> int:
    (row,) = (item for item in cloud.items("IncidentTable") if item["fingerprint"] == "limit#tokens")
    return int(row["tokens"])


# --- the model


def test_model_is_asked_once_and_its_answer_is_in_the_report(cloud: TriageCloud, openai: OpenAiTwin) -> None:
    report = cloud.triage("INFO loading order", TRACE)
    assert report["verdict"] in ("CONFIRMED", "LIKELY")
    assert report["answer"]["likely_cause"] and report["answer"]["next_steps"]
    assert report["answer"]["evidence"]
    (asked,) = openai.completions()
    assert "loading order" in json.dumps(asked["messages"])
    assert "the model's answer" not in whys(report)


def test_tokens_are_settled_by_what_was_used(cloud: TriageCloud, openai: OpenAiTwin) -> None:
    cloud.triage()
    usage = openai.completions()[0]["usage"]
    assert tokens_used(cloud) == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("cloud", [{"LlmDailyTokens": "2800"}], indirect=True)
def test_budget_of_the_day_is_kept_and_said_when_it_is_reached(cloud: TriageCloud, openai: OpenAiTwin) -> None:
    reports = [cloud.triage(f"ERROR {word} is broken") for word in ("door", "wheel", "lamp", "tank", "belt")]
    asked = len(openai.completions())
    assert 0 < asked < len(reports)
    assert tokens_used(cloud) <= 2_800
    last = reports[-1]
    assert last["verdict"] == "NO_ANSWER"
    assert "2,800 tokens" in whys(last)["the model's answer"]
    assert any("2,800 tokens" in limit for limit in last["limits"])


@pytest.mark.parametrize("cloud", [{"LlmDailyTokens": "0"}], indirect=True)
def test_without_tokens_the_model_is_not_asked(cloud: TriageCloud, openai: OpenAiTwin) -> None:
    assert cloud.triage()["verdict"] == "NO_ANSWER"
    assert openai.completions() == []


@pytest.mark.parametrize(
    ("cloud", "told"),
    [({"LlmMaxPromptTokens": "1000"}, False), ({"LlmMaxPromptTokens": "20000"}, True)],
    indirect=["cloud"],
)
def test_question_is_no_longer_than_it_may_be(cloud: TriageCloud, openai: OpenAiTwin, told: bool) -> None:
    cloud.triage(*[f"loading order {number} " + "of many parts " * 60 for number in range(9)], TRACE)
    (asked,) = openai.completions()
    assert ("loading order 0 " in json.dumps(asked["messages"])) == told


@pytest.mark.parametrize("cloud", [{"TriageInstructions": "The warehouse is called Bertha."}], indirect=True)
def test_team_s_words_reach_the_model(cloud: TriageCloud, openai: OpenAiTwin) -> None:
    cloud.triage()
    assert "Bertha" in openai.completions()[0]["messages"][0]["content"]


@pytest.mark.parametrize("kind", ["down", "500", "429", "garbage"])
def test_model_that_is_down_is_missing(cloud: TriageCloud, openai: OpenAiTwin, kind: str, monkeypatch: Any) -> None:
    from watchfloor.clients import chat_model

    monkeypatch.setattr(chat_model, "_FIRST_WAIT_SECONDS", 0.01)
    openai.fail(kind, count=100)
    report = cloud.triage()
    assert report["verdict"] == "NO_ANSWER"
    assert "the model" in whys(report)["the model's answer"]
    assert len(cloud.mails("TriageTopic")) == 1
    # What may have been billed stays reserved.
    assert (tokens_used(cloud) > 0) == (kind != "429")


@pytest.mark.parametrize("behaviour", ["refuses", "no-json", "empty"])
def test_answer_of_no_use_is_no_answer_and_says_why(cloud: TriageCloud, openai: OpenAiTwin, behaviour: str) -> None:
    openai.behaviour = behaviour
    report = cloud.triage()
    assert (report["verdict"], report["answer"]) == ("NO_ANSWER", {})
    assert "of no use" in whys(report)["the model's answer"]


def test_invented_citations_do_not_reach_the_report(cloud: TriageCloud, openai: OpenAiTwin) -> None:
    openai.behaviour = "invents"
    report = cloud.triage()
    assert report["verdict"] in ("LIKELY", "INCONCLUSIVE")
    assert report["doubts"]
    known = {line["id"] for line in report["context"]} | {"E1", "T1", "T2"}
    assert {row["line"] for row in report["answer"]["evidence"]} <= known


def test_key_that_is_refused_is_said_without_the_key(cloud: TriageCloud, openai: OpenAiTwin) -> None:
    secret = json.dumps({"api_key": "sk-wrong-0123456789abcdef"})
    _client("secretsmanager").put_secret_value(SecretId="sandbox/OpenAiSecretArn", SecretString=secret)
    report = cloud.triage()
    assert "the secret of OpenAiSecretArn" in whys(report)["the model's answer"]
    assert "sk-wrong" not in json.dumps(report)


# --- nothing leaves the account that should not


def test_secrets_reach_neither_model_nor_search_nor_mail_nor_report(
    cloud: TriageCloud, openai: OpenAiTwin, stack_exchange: StackExchangeTwin
) -> None:
    before = f"INFO login of {MAIL}"
    error = f"ERROR PaymentError: card {CARD} of {MAIL} was refused with token={TOKEN}"
    (name,) = cloud.send(before, error, f"INFO bye {MAIL}")["started"]
    cloud.wait_for(name)
    report = cloud.report(name)
    outside = [
        json.dumps([row["messages"] for row in openai.completions()]),
        json.dumps(stack_exchange.log) + json.dumps(stack_exchange.state),
        json.dumps(cloud.mails("TriageTopic")),
        json.dumps(report),
        str(cloud.incident(name)),
        cloud.describe(cloud.run_of(name))["output"],
    ]
    for text in outside:
        for secret in (MAIL, CARD, TOKEN):
            assert secret not in text
    # The same placeholder for the same value, all over the report.
    assert json.dumps(report).count("[EMAIL_1]") >= 3
    fingerprint = name.partition("-")[0]
    assert cloud.read(f"unredacted/{fingerprint}/1/redacted.json")["[EMAIL_1]"] == MAIL
    assert TOKEN in json.dumps(cloud.read(f"unredacted/{fingerprint}/1/raw.json"))


def test_model_and_messages_may_not_read_what_is_not_redacted() -> None:
    from tests.machines.stack import template

    for name, function in template("functions/triage/template.yaml")["Resources"].items():
        if name.startswith("Fn::") or function["Type"] != "AWS::Serverless::Function":
            continue
        read = [
            resource
            for policy in function["Properties"]["Policies"]
            for statement in policy.get("Statement", [])
            if "s3:GetObject" in statement["Action"]
            for resource in json.dumps(statement["Resource"]).split('"')
            if "triage/" in resource or "unredacted/" in resource
        ]
        may = [key for key in read if "unredacted/" in key or key.endswith("/*")]
        assert not may or name == "GatherContextFunction", name


# --- Stack Overflow


def test_questions_of_others_are_evidence(cloud: TriageCloud, stack_exchange: StackExchangeTwin) -> None:
    report = cloud.triage("ERROR KeyError: 'customer_id'")
    posts = [row for row in report["evidence"] if row["kind"] == "stack_overflow"]
    assert posts and all(row["url"].startswith("http") and row["text"] for row in posts)


@pytest.mark.parametrize("kind", ["down", "500", "429", "garbage"])
def test_search_that_is_down_is_missing(
    cloud: TriageCloud, stack_exchange: StackExchangeTwin, kind: str, monkeypatch: Any
) -> None:
    stack_exchange.fail(kind, count=100)
    report = cloud.triage()
    assert "Stack Exchange" in whys(report)["Stack Overflow"]
    assert "the model's answer" not in whys(report)


# --- the log


def test_context_is_as_long_as_wanted(cloud: TriageCloud) -> None:
    before, after = [f"INFO before {n}" for n in range(30)], [f"INFO after {n}" for n in range(30)]
    report = cloud.triage(*before, TRACE, *after)
    texts = [line["text"].split("\n")[0] for line in report["context"]]
    assert texts == [*before[-10:], "[ERROR] KeyError: 'customer_id'", *after[:10]]


def test_trace_that_was_split_is_completed_by_the_lines_that_followed(cloud: TriageCloud) -> None:
    """The subscription delivered its first line alone."""
    head, *rest = TRACE.replace("[ERROR] ", "ERROR ").split("\n")
    events = cloud.log("INFO loading", head, *rest, "INFO next")
    (name,) = cloud.receive(events[1])["started"]
    cloud.wait_for(name)
    report = cloud.report(name)
    assert [frame["function"] for frame in report["error"]["frames"]] == ["load_order", "lambda_handler"]
    assert [line["is_error"] for line in report["context"]] == [False, *[True] * (1 + len(rest)), False]


def test_lines_of_the_same_request_elsewhere_are_facts(cloud: TriageCloud) -> None:
    request = "8f5b7c0e-1111-4222-8333-944455566677"
    cloud.log(f"INFO RequestId: {request} paying", stream="another")
    report = cloud.triage(f"2026-11-20T18:00:00Z {request} ERROR payment refused")
    facts = [row["text"] for row in report["evidence"] if row["kind"] == "request"]
    assert any("paying" in text for text in facts)


# --- the function


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A function of this name as Lambda describes it; moto's own needs code to be uploaded."""
    modified = time.strftime("%Y-%m-%dT%H:%M:%S.000+0000", time.gmtime(time.time() - 720))
    described = {
        "FunctionName": "orders",
        "Timeout": 3,
        "MemorySize": 128,
        "Runtime": "python3.13",
        "LastModified": modified,
    }

    def configuration(self: Any, name: str) -> dict[str, Any]:
        if name != described["FunctionName"]:
            raise NotFoundError(f"the function {name} is not there (any more)")
        return described

    monkeypatch.setattr(lambda_functions.LambdaFunctions, "configuration", configuration)
    return described


def test_function_s_settings_and_last_deployment_are_facts(cloud: TriageCloud, function: dict[str, Any]) -> None:
    report = cloud.triage()
    facts = {row["kind"]: row["text"] for row in report["evidence"]}
    assert "timeout 3 s, memory 128 MB" in facts["configuration"]
    assert facts["deployment"] == "deployed 12 minutes before the error"


def test_function_that_is_gone_is_missing(cloud: TriageCloud, function: dict[str, Any]) -> None:
    report = cloud.triage(group="/aws/lambda/gone")
    assert whys(report)["the function's configuration"] == "the function gone is not there (any more)"


def test_alarms_that_ring_are_facts_if_they_are_the_function_s(cloud: TriageCloud, function: dict[str, Any]) -> None:
    cloudwatch = _client("cloudwatch")
    for name, of in (("orders-errors", "orders"), ("stock-errors", "stock")):
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="AWS/Lambda",
            MetricName="Errors",
            Dimensions=[{"Name": "FunctionName", "Value": of}],
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
        )
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="test")
    report = cloud.triage()
    assert [row["source"] for row in report["evidence"] if row["kind"] == "alarm"] == ["alarm orders-errors"]


def test_no_fact_is_worth_the_others(cloud: TriageCloud, monkeypatch: Any) -> None:
    from watchfloor.clients.alarms import Alarms
    from watchfloor.clients.log_groups import LogGroups

    def throttled(*_: Any, **__: Any) -> Any:
        raise TransientError("throttled")

    monkeypatch.setattr(Alarms, "ringing", throttled)
    monkeypatch.setattr(LogGroups, "around", throttled)
    monkeypatch.setattr(lambda_functions.LambdaFunctions, "configuration", throttled)
    report = cloud.triage()
    assert set(whys(report)) == {"the log around it", "the function's configuration", "alarms"}
    assert report["error"]["type"] == "KeyError"


# --- earlier incidents


def test_incident_that_looks_alike_is_evidence_with_what_resolved_it(cloud: TriageCloud) -> None:
    from watchfloor import incidents
    from watchfloor.clients.incident_table import IncidentTable

    other = TRACE.replace('table[event["customer_id"]]', 'stock[event["customer_id"]]').replace("handler.py", "job.py")
    (name,) = cloud.send(other)["started"]
    cloud.wait_for(name)
    table = IncidentTable(cloud.tables["IncidentTable"])
    note = f"rolled back, ask {MAIL}"
    table.change(name.partition("-")[0], lambda row: incidents.resolve(row, by="kim", note=note, now=time.time()))
    report = cloud.triage()
    (earlier,) = (row for row in report["evidence"] if row["kind"] == "earlier_incident")
    assert "resolved by kim: rolled back, ask [EMAIL_1]" in earlier["text"]


def test_table_that_cannot_be_read_for_them_is_missing(cloud: TriageCloud) -> None:
    cloud.faults["FindEarlierIncidents"] = Fault(TransientError("throttled"))
    assert whys(cloud.triage())["earlier incidents"] == "throttled"
