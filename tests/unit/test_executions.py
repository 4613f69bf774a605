"""Step Functions' executions and waiting tasks."""

import json

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from watchfloor.clients.executions import Executions
from watchfloor.errors import AccessDeniedError, TransientError

ARN = "arn:aws:states:us-east-1:123456789012:execution:pipeline:one"


@pytest.fixture
def sfn():
    return boto3.client("stepfunctions", "us-east-1", aws_access_key_id="test", aws_secret_access_key="test")


@pytest.fixture
def stub(sfn):
    with Stubber(sfn) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture
def executions(sfn):
    return Executions(sfn)


def described(status):
    return {
        "executionArn": ARN,
        "stateMachineArn": "arn:aws:states:us-east-1:123456789012:stateMachine:pipeline",
        "status": status,
        "startDate": 0,
    }


def entered(number, name):
    details = {"stateEnteredEventDetails": {"name": name}} if name else {}
    return {"timestamp": 0, "type": "TaskStateEntered", "id": number, **details}


@pytest.mark.parametrize(
    ("status", "runs"),
    [("RUNNING", True), ("SUCCEEDED", False), ("FAILED", False), ("TIMED_OUT", False), ("ABORTED", False)],
)
def test_running_is_what_step_functions_says(executions, stub, status, runs):
    stub.add_response("describe_execution", described(status), {"executionArn": ARN})
    assert executions.is_running(ARN) is runs


def test_execution_that_nobody_knows_any_more_does_not_run(executions, stub, monkeypatch):
    monkeypatch.setattr("watchfloor.clients.executions.time.sleep", lambda seconds: None)
    for _ in range(3):
        stub.add_client_error("describe_execution", "ExecutionDoesNotExist", http_status_code=400)
    assert not executions.is_running(ARN)


def test_execution_that_is_not_known_yet_is_asked_for_again(executions, stub, monkeypatch):
    monkeypatch.setattr("watchfloor.clients.executions.time.sleep", lambda seconds: None)
    stub.add_client_error("describe_execution", "ExecutionDoesNotExist", http_status_code=400)
    stub.add_response("describe_execution", described("RUNNING"), {"executionArn": ARN})
    assert executions.is_running(ARN)


def test_execution_that_cannot_be_looked_at_is_not_taken_for_dead(executions, stub):
    for code, error in (
        ("ThrottlingException", TransientError),
        ("AccessDeniedException", AccessDeniedError),
        ("InvalidArn", ClientError),
    ):
        stub.add_client_error("describe_execution", code, http_status_code=400)
        with pytest.raises(error):
            executions.is_running(ARN)


ANSWERS = {
    "send_task_success": lambda executions: executions.succeed("token", {"job_name": "j"}),
    "send_task_failure": lambda executions: executions.fail("token", "ModelError", "why"),
    "send_task_heartbeat": lambda executions: executions.heartbeat("token"),
}


@pytest.mark.parametrize("call", ANSWERS)
def test_waiting_task_is_answered(executions, stub, call):
    stub.add_response(call, {})
    assert ANSWERS[call](executions)


@pytest.mark.parametrize("call", ANSWERS)
@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_task_that_no_longer_waits_is_no_error(executions, stub, call, code):
    stub.add_client_error(call, code, http_status_code=400)
    assert not ANSWERS[call](executions)


@pytest.mark.parametrize("call", ANSWERS)
def test_answer_that_was_not_taken_is_an_error(executions, stub, call):
    stub.add_client_error(call, "AccessDeniedException", http_status_code=400)
    with pytest.raises(AccessDeniedError):
        ANSWERS[call](executions)
    stub.add_client_error(call, "ThrottlingException", http_status_code=400)
    with pytest.raises(TransientError):
        ANSWERS[call](executions)


def test_success_carries_its_output_as_json(executions, stub):
    expected = {"taskToken": "token", "output": json.dumps({"ticket": 7}, separators=(",", ":"))}
    stub.add_response("send_task_success", {}, expected)
    assert executions.succeed("token", {"ticket": 7})


def test_failure_is_cut_to_what_step_functions_takes(executions, stub):
    stub.add_response("send_task_failure", {}, {"taskToken": "token", "error": "E" * 256, "cause": "c" * 32_768})
    assert executions.fail("token", "E" * 300, "c" * 40_000)


def test_last_state_is_the_one_that_failed(executions, stub):
    events = [entered(9, "RunFailed"), entered(8, None), entered(7, "ReportFailure"), entered(6, "CreateFlow")]
    expected = {"executionArn": ARN, "reverseOrder": True, "includeExecutionData": False}
    stub.add_response("get_execution_history", {"events": events, "nextToken": "more"}, expected)
    assert executions.last_state(ARN) == "CreateFlow"


def test_last_state_is_looked_for_on_the_next_page_too(executions, stub):
    stub.add_response("get_execution_history", {"events": [entered(9, "RunFailed")], "nextToken": "more"}, None)
    expected = {"executionArn": ARN, "reverseOrder": True, "includeExecutionData": False, "nextToken": ANY}
    stub.add_response("get_execution_history", {"events": [entered(2, "ClaimRun")]}, expected)
    assert executions.last_state(ARN) == "ClaimRun"


def test_execution_that_entered_no_state_has_none(executions, stub):
    stub.add_response("get_execution_history", {"events": [entered(1, None)]})
    assert executions.last_state(ARN) is None
