"""`watchfloor script` against the deployed template, and approvals by people: in Slack, and by command."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from local import sandbox
from local.cli import main
from local.sandbox import KeptCloud
from local.twins.slack import ANA, BEN
from tests.e2e.pipeline import Pipeline
from tests.script_scenarios import SHOP, shop
from watchfloor.approvals import approval_id_of

ROLL_BACK = ["script", "run", "oncall-rollback-lambda", "--param", f"function_name={SHOP}", "--param", "alias=live"]


@pytest.fixture
def place(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the scripts work on; the commands find its cloud as one that is kept."""
    cloud: Any = pipeline.deployment.cloud
    kept = KeptCloud(cloud.endpoint_url, cloud.twins, os.getpid(), pipeline.deployment.outputs)
    monkeypatch.setattr(sandbox, "kept", lambda: kept)
    place = shop(pipeline.deployment)
    place.released("3")
    return place


def command(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    code = main([*arguments])
    out, err = capsys.readouterr()
    return code, out, err


class Waiting:
    """A `script run` that waits for people, in a thread of its own."""

    def __init__(self, place: Any, *arguments: str) -> None:
        self.place = place
        before = place.last_execution(self.machine) if self._executions() else ""
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, args=([*ROLL_BACK, *arguments],))
        self._thread.start()
        place.until(lambda: self._executions() and place.last_execution(self.machine) != before, "nothing was started")
        self.arn = place.last_execution(self.machine)
        self.id = approval_id_of(self.arn)
        place.until(lambda: place.is_asked(self.arn, self.id), "nobody was asked")

    @property
    def machine(self) -> str:
        return self.place.deployment.outputs["ScriptApprovalArn"]

    def _executions(self) -> list[Any]:
        return self.place.deployment.client("stepfunctions").list_executions(stateMachineArn=self.machine)["executions"]

    def _run(self, arguments: list[str]) -> None:
        self.code = main(arguments)

    def end(self) -> int | None:
        self._thread.join(60)
        return self.code


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of a thread may not set them."""
    monkeypatch.setattr("local.cli.signal.signal", lambda *_: None)


def pressed(pipeline: Pipeline, action_id: str, user: str) -> None:
    twins: Any = pipeline.deployment.cloud._twins  # type: ignore[attr-defined]
    assert twins.slack.press(action_id, user=user)["status"] == 200


def test_dry_run_shows_the_plan_and_changes_nothing(place: Any, capsys: Any) -> None:
    code, out, _ = command(capsys, *ROLL_BACK, "--dry-run", "--json")
    answer = json.loads(out)
    assert (code, answer["statusCode"], answer["body"]["status"]) == (0, 202, "planned")
    (call,) = answer["body"]["result"]["planned_calls"]
    assert (call["operation"], call["parameters"]["FunctionVersion"]) == ("UpdateAlias", "2")
    assert place.alias()["FunctionVersion"] == "3"


def test_answer_is_an_outline_and_the_exit_code_says_how_it_went(place: Any, capsys: Any) -> None:
    code, out, _ = command(capsys, *ROLL_BACK, "--dry-run")
    assert code == 0
    assert "It would make 1 write call:" in out and "to_version: 2" in out
    code, out, _ = command(
        capsys, "script", "run", "test-lambda", "--param", "function_name=nobody", "--param", "event={}"
    )
    assert code == 1
    assert "NotFoundError" in out


def test_call_is_recorded_with_who_asked(place: Any, capsys: Any) -> None:
    command(capsys, *ROLL_BACK, "--dry-run", "--requested-by", "dana")
    rows = place.deployment.table("ScriptAuditTableName").query(
        IndexName="by_requester",
        KeyConditionExpression="requested_by = :w",
        ExpressionAttributeValues={":w": "dana"},
    )["Items"]
    assert [(row["script"], row["status"], row["dry_run"]) for row in rows] == [
        ("oncall-rollback-lambda", "planned", True)
    ]


def test_approved_by_command_it_runs(place: Any, capsys: Any) -> None:
    waiting = Waiting(place, "--requested-by", "alice", "--reason", "5xx since the release")
    assert command(capsys, "script", "approve", waiting.id, "--by", "alice")[0] == 1
    code, out, err = command(capsys, "script", "approve", waiting.id, "--by", "bert")
    assert (code, waiting.end()) == (0, 0)
    assert f"{waiting.id} is approved" in out
    assert "5xx since the release" in err and "lambda:UpdateAlias(" in err
    assert place.alias()["FunctionVersion"] == "2"


def test_refused_by_command_it_does_not_run(place: Any, capsys: Any) -> None:
    waiting = Waiting(place, "--requested-by", "alice")
    assert command(capsys, "script", "refuse", waiting.id, "--by", "bert")[0] == 0
    assert waiting.end() == 1
    assert place.alias()["FunctionVersion"] == "3"


def test_buttons_in_slack_decide(place: Any, pipeline: Pipeline) -> None:
    waiting = Waiting(place, "--requested-by", "alice")
    pressed(pipeline, "approval_approve", BEN)
    assert waiting.end() == 0
    assert place.alias()["FunctionVersion"] == "2"
    refused = Waiting(place, "--requested-by", "alice", "--param", "version=1")
    pressed(pipeline, "approval_refuse", BEN)
    assert refused.end() == 1
    assert place.alias()["FunctionVersion"] == "2"


def test_who_asks_cannot_approve_in_slack_either(place: Any, pipeline: Pipeline) -> None:
    twins: Any = pipeline.deployment.cloud._twins  # type: ignore[attr-defined]
    name = twins.slack.state["users"][ANA]["name"]
    waiting = Waiting(place, "--requested-by", name)
    pressed(pipeline, "approval_approve", ANA)
    assert place.alias()["FunctionVersion"] == "3"
    assert "somebody else has to approve" in json.dumps(twins.slack.state)
    pressed(pipeline, "approval_approve", BEN)
    assert waiting.end() == 0
    assert place.alias()["FunctionVersion"] == "2"


def test_request_without_proof_needs_two_people(place: Any, pipeline: Pipeline) -> None:
    sfn = place.deployment.client("stepfunctions")
    given = {
        "script": "oncall-rollback-lambda",
        "parameters": {"function_name": SHOP, "alias": "live"},
        "requested_by": "mallory",
    }
    arn = sfn.start_execution(stateMachineArn=place.deployment.outputs["ScriptApprovalArn"], input=json.dumps(given))[
        "executionArn"
    ]
    place.until(lambda: place.is_asked(arn, approval_id_of(arn)), "nobody was asked")
    pressed(pipeline, "approval_approve", ANA)
    assert sfn.describe_execution(executionArn=arn)["status"] == "RUNNING"
    assert place.alias()["FunctionVersion"] == "3"
    pressed(pipeline, "approval_approve", BEN)
    ended: Callable[[], bool] = lambda: sfn.describe_execution(executionArn=arn)["status"] == "SUCCEEDED"
    place.until(ended, "it did not end")
    assert place.alias()["FunctionVersion"] == "2"


def test_watchfloor_itself_is_no_target(place: Any) -> None:
    """Though the pattern of targets is `*`: nobody forges an approval, or reads what is not redacted."""
    functions = place.deployment.client("lambda").get_paginator("list_functions").paginate()
    names = [row["FunctionName"] for page in functions for row in page["Functions"]]
    (asking,) = (name for name in names if "AskApproval" in name)
    (receiving,) = (name for name in names if "ReceiveLogs" in name)
    queue = place.deployment.outputs["TriageDeadLetterQueueUrl"].rpartition("/")[2]
    machine = place.deployment.outputs["ScriptApprovalArn"]
    nonsense = place.sfn.start_execution(stateMachineArn=machine, input="{}")["executionArn"]
    place.ended(nonsense)
    for script, parameters, action in (
        ("test-lambda", {"function_name": asking, "event": {"token": "mine"}}, "lambda:InvokeFunction"),
        ("test-lambda", {"function_name": "oncall-scale-service", "event": {}}, "lambda:InvokeFunction"),
        ("oncall-scale-service", _stopped(receiving), "lambda:PutFunctionConcurrency"),
        ("debug-queue", {"queue_name": queue, "sample": 1}, "sqs:ReceiveMessage"),
        ("test-queue-roundtrip", {"queue_name": queue, "wait_seconds": 10}, "sqs:SendMessage"),
        (
            "oncall-rerun-execution",
            {"execution_arn": nonsense, "mode": "restart", "force": True},
            "states:StartExecution",
        ),
    ):
        answer = place.call(script, parameters)
        assert answer.status_code == 403, (script, answer)
        assert action in str(answer)


def _stopped(function: str) -> dict[str, Any]:
    return {"function_name": function, "reserved_concurrency": 0, "allow_zero": True}
