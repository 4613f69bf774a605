"""Dangerous scripts on moto's interpreter: planned, asked about, run as approved or not at all."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from aws_lambda_powertools.utilities import parameters as secrets_cache
from pydantic import Field

from local.twins.slack import SlackTwin
from tests.machines.harness import Cloud, Context, Fault, Run, _client
from tests.machines.stack import ACCOUNT, NAME, REGION, physical_id
from watchfloor.approvals import Person, approval_id_of
from watchfloor.clients import slack as slack_client
from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.clients.executions import Executions
from watchfloor.clients.script_runtime import Script, ScriptRun
from watchfloor.errors import ConflictError, TransientError
from watchfloor.scripts import Parameters

SCRIPT = "oncall-rollback-lambda"
MACHINE = f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{NAME}-script-approval"
BOB, CAROL = Person(("bob", "U0BOB"), True, "slack"), Person(("carol", "U0CAROL"), True, "slack")
# By the name that Step Functions gives it.
BUSY = type("Lambda.TooManyRequestsException", (Exception,), {})


class Example(Parameters):
    queue: str = Field("jobs", max_length=80)
    tag: str = Field("none", max_length=80)


class ApprovalCloud(Cloud):
    """The machine and its functions; the script makes a queue and tags it with what `world` says at that time."""

    child, group = "Scripts", "scripts"

    def __init__(self, secret: dict[str, Any] | None = None) -> None:
        self._secret = secret
        super().__init__(**({"SlackSecretArn": "sandbox/SlackSecretArn"} if secret else {}))
        self._function_of[SCRIPT] = "OncallRollbackLambdaFunction"
        self.world = "calm"
        self.stand_ins["OncallRollbackLambda"] = self._script

    def _deploy(self) -> None:
        secrets_cache.clear_caches()
        super()._deploy()
        if self._secret:
            _client("secretsmanager").create_secret(
                Name="sandbox/SlackSecretArn", SecretString=json.dumps(self._secret)
            )
        self.approvals = ApprovalTable(self.tables["ApprovalTable"])

    def _script(self, event: dict[str, Any]) -> Any:
        def work(parameters: Example, run: ScriptRun) -> dict[str, Any]:
            url = run.write("sqs").create_queue(QueueName=parameters.queue)["QueueUrl"]
            run.write("sqs").tag_queue(QueueUrl=url, Tags={"world": self.world})
            return {"queue": parameters.queue}

        environment = {
            "AUDIT_TABLE": physical_id("ScriptAuditTable"),
            "AUDIT_RETENTION_DAYS": "30",
            "APPROVAL_TABLE": physical_id("ApprovalTable"),
        }
        script = Script(SCRIPT, Example, work, risk="high", environment=environment)
        return script.answer(event, Context(SCRIPT, 60_000))

    def ask(self, **changes: Any) -> Run:
        given = {"script": SCRIPT, "parameters": {"queue": "jobs"}, "requested_by": "alice", "reason": "", **changes}
        named = {"name": str(uuid.uuid4()), "input": json.dumps(given)}
        arn = self.sfn.start_execution(stateMachineArn=MACHINE, **named)["executionArn"]
        return Run(arn, approval_id_of(arn), {})

    def asked(self, **changes: Any) -> Run:
        """A request that waits for people."""
        run = self.ask(**changes)
        self.until(lambda: self.tables["ApprovalTable"].get_item(Key={"approval_id": run.run_id}).get("Item"))
        return run

    def decide(self, run: Run, person: Person, verdict: Any = "approved") -> str:
        return self.approvals.decide(Executions(self.sfn), run.run_id, person, verdict).status

    def outcome(self, run: Run) -> dict[str, Any]:
        end = self.wait(run)
        assert end["status"] == "SUCCEEDED", end
        return json.loads(end["output"])

    def queues(self) -> list[str]:
        return _client("sqs").list_queues().get("QueueUrls", [])


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApprovalCloud]:
    with ApprovalCloud() as cloud:
        yield cloud


def test_approved_by_two_others_it_runs_once_and_as_planned(cloud: ApprovalCloud) -> None:
    run = cloud.asked()
    assert (cloud.decide(run, BOB), cloud.queues()) == ("pending", [])
    assert cloud.decide(run, CAROL) == "approved"
    outcome = cloud.outcome(run)
    assert (outcome["decision"], outcome["by"], outcome["status_code"]) == ("approved", "bob, carol", 200)
    assert outcome["answer"]["result"] == {"queue": "jobs"}
    assert len(cloud.queues()) == 1
    assert cloud.states(run.arn) == [
        *("OpenApproval", "PlanScript", "IsPlanned"),
        *("AskApproval", "IsApproved", "RunScript", "ReportScript"),
    ]
    records = [
        (item["status"], item["requested_by"], item.get("approval_id")) for item in cloud.items("ScriptAuditTable")
    ]
    assert sorted(records) == [("ok", "alice", run.run_id), ("planned", "alice", None)]


def test_refused_it_does_not_run(cloud: ApprovalCloud) -> None:
    run = cloud.asked()
    cloud.decide(run, BOB, "refused")
    outcome = cloud.outcome(run)
    assert (outcome["decision"], outcome["by"], cloud.queues()) == ("refused", "bob", [])


def test_nobody_decides_in_time_and_it_does_not_run(cloud: ApprovalCloud) -> None:
    cloud.interpreter.cut_short = 1
    run = cloud.asked()
    assert (cloud.outcome(run)["decision"], cloud.queues()) == ("expired", [])
    with pytest.raises(ConflictError):
        cloud.decide(run, BOB)


def test_plan_that_fails_asks_nobody(cloud: ApprovalCloud) -> None:
    run = cloud.ask(parameters={"nonsense": 1})
    outcome = cloud.outcome(run)
    assert (outcome["decision"], outcome["status_code"]) == ("not_planned", 400)
    assert cloud.items("ApprovalTable") == []


def test_request_that_is_wrong_is_told_so(cloud: ApprovalCloud) -> None:
    outcome = cloud.outcome(cloud.ask(script="no script"))
    assert outcome["decision"] == "failed"
    assert "script must be the name of a script" in outcome["error"]


def test_proof_of_identity_goes_no_further_than_who_checks_it(cloud: ApprovalCloud) -> None:
    reported: list[dict[str, Any]] = []

    def report(event: dict[str, Any]) -> dict[str, Any]:
        reported.append(event)
        return {}

    cloud.stand_ins["ReportScript"] = report
    cloud.wait(cloud.ask(script="no script", proof={"headers": "of a signed request"}))
    assert "signed request" not in json.dumps(reported)
    assert "script must be the name of a script" in json.dumps(reported)


def test_world_that_changed_since_the_plan_is_not_changed_by_it(cloud: ApprovalCloud) -> None:
    """What was approved is what runs, or nothing further does."""
    run = cloud.asked()
    cloud.world = "on fire"
    cloud.decide(run, BOB)
    cloud.decide(run, CAROL)
    outcome = cloud.outcome(run)
    assert (outcome["status_code"], outcome["answer"]["error"]["type"]) == (409, "ConflictError")
    assert "not what was approved as step 2" in outcome["answer"]["error"]["message"]
    assert [call["operation"] for call in outcome["answer"]["error"]["calls"]] == ["CreateQueue"]


def test_run_whose_answer_got_lost_is_not_tried_again(cloud: ApprovalCloud) -> None:
    """The second call would be refused, and that told though the first one did it."""
    cloud.faults["OncallRollbackLambda"] = Fault(TransientError("the answer got lost"), times=0, after=True)
    run = cloud.asked()
    cloud.faults["OncallRollbackLambda"].times = 1
    cloud.decide(run, BOB)
    cloud.decide(run, CAROL)
    outcome = cloud.outcome(run)
    assert "may have run" in outcome["error"] and "the answer got lost" in outcome["error"]
    assert len(cloud.queues()) == 1
    records = sorted(item["status"] for item in cloud.items("ScriptAuditTable"))
    assert records == ["ok", "planned"]


def test_run_that_lambda_is_too_busy_for_is_tried_again(cloud: ApprovalCloud) -> None:
    cloud.faults["OncallRollbackLambda"] = Fault(BUSY("throttled"), times=0)
    run = cloud.asked()
    cloud.faults["OncallRollbackLambda"].times = 1
    cloud.decide(run, BOB)
    cloud.decide(run, CAROL)
    assert cloud.outcome(run)["status_code"] == 200


def test_approval_that_was_not_used_is_over_with_the_machine(cloud: ApprovalCloud) -> None:
    cloud.faults["OncallRollbackLambda"] = Fault(TransientError("broken"), times=0)
    run = cloud.asked()
    cloud.faults["OncallRollbackLambda"].times = 9
    cloud.decide(run, BOB)
    cloud.decide(run, CAROL)
    cloud.outcome(run)
    assert cloud.tables["ApprovalTable"].get_item(Key={"approval_id": run.run_id})["Item"]["status"] == "expired"


def test_run_by_hand_with_somebody_elses_approval_is_refused(cloud: ApprovalCloud) -> None:
    run = cloud.asked()
    event = {"parameters": {"queue": "other"}, "approval_id": run.run_id}
    assert cloud.invoke("OncallRollbackLambda", event)["statusCode"] == 403
    assert cloud.queues() == []


@pytest.mark.parametrize("function", ["OpenApproval", "AskApproval", "ReportScript"])
def test_hiccup_of_a_function_is_tried_again(cloud: ApprovalCloud, function: str) -> None:
    cloud.faults[function] = Fault(TransientError("busy"), times=1)
    run = cloud.asked()
    cloud.decide(run, BOB, "refused")
    assert cloud.outcome(run)["decision"] == "refused"


def test_report_that_fails_for_good_fails_the_execution(cloud: ApprovalCloud) -> None:
    cloud.faults["ReportScript"] = Fault(ValueError("broken"))
    run = cloud.asked()
    cloud.decide(run, BOB, "refused")
    end = cloud.wait(run)
    assert (end["status"], end["error"]) == ("FAILED", "NotReported")


# --- Slack


@pytest.fixture
def slack() -> Iterator[SlackTwin]:
    with SlackTwin() as twin:
        yield twin


def test_slack_is_asked_once_and_told_the_end_in_the_thread(slack: SlackTwin) -> None:
    with ApprovalCloud(slack.secret) as cloud:
        cloud.faults["AskApproval"] = Fault(TransientError("the answer got lost"), times=1, after=True)
        run = cloud.asked(reason="5xx since the release")
        cloud.until(lambda: len(slack.messages()) == 1)
        (question,) = slack.messages()
        shown = json.dumps(question)
        assert all(part in shown for part in ("CreateQueue", "5xx since the release", "approval_approve", run.run_id))
        cloud.until(lambda: len(cloud.items("ApprovalTable")[0]["tokens"]) == 2)
        cloud.decide(run, BOB)
        cloud.decide(run, CAROL)
        assert cloud.outcome(run)["decision"] == "approved"
        shown = json.dumps(slack.messages())
        assert "approval_approve" not in shown
        assert "bob, carol" in shown
        assert "queue" in shown


def test_question_that_nobody_waits_for_asks_no_longer(slack: SlackTwin) -> None:
    with ApprovalCloud(slack.secret) as cloud:
        cloud.faults["AskApproval"] = Fault(ValueError("broken"), times=1, after=True)
        run = cloud.asked()
        assert cloud.outcome(run)["decision"] == "failed"
        shown = json.dumps(slack.messages())
        assert "ValueError" in shown and "approval_approve" not in shown
        with pytest.raises(ConflictError):
            cloud.decide(run, BOB)


def test_slack_whose_answer_is_lost_is_asked_before_it_is_told_again(
    slack: SlackTwin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack_client, "_SETTLE_SECONDS", 0.0)
    slack.fail("commit-then-drop", path="chat.postMessage")
    # It cannot be looked either whether the question is there.
    slack.fail("500", path="conversations.history")
    with ApprovalCloud(slack.secret) as cloud:
        run = cloud.asked()
        cloud.until(lambda: len([row for row in slack.log if "conversations.history" in row["path"]]) == 2)
        cloud.decide(run, BOB)
        cloud.decide(run, CAROL)
        assert cloud.outcome(run)["decision"] == "approved"
        assert len(slack.threads()) == 1
