"""What runs the ops scripts: nothing changes in a dry run, nothing is done unrecorded, nothing runs past its time."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws
from pydantic import Field, SecretStr

from tests.machines.harness import Context
from tests.machines.stack import REGION
from tests.unit.tables import table
from watchfloor.clients import script_runtime
from watchfloor.clients.script_runtime import Script
from watchfloor.errors import ConflictError, NotFoundError
from watchfloor.scripts import Parameters

ENVIRONMENT = {"AUDIT_TABLE": "ScriptAuditTable", "AUDIT_RETENTION_DAYS": "30", "APPROVAL_TABLE": "ApprovalTable"}


class Example(Parameters):
    queue: str = Field("jobs", max_length=80)
    password: SecretStr | None = None


@pytest.fixture(autouse=True)
def region(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("POWERTOOLS_TRACE_DISABLED", "true")


@pytest.fixture
def audit():
    with mock_aws(), table("ScriptAuditTable") as found:
        yield found


def call(work, event=None, *, seconds=60.0, risk="medium", **options):
    script = Script("test-example", Example, work, risk=risk, environment=ENVIRONMENT, **options)
    answer = script.answer({} if event is None else event, Context("test-example", round(seconds * 1000)))
    return answer["statusCode"], json.loads(answer["body"])


def queues():
    return boto3.client("sqs", region_name=REGION).list_queues().get("QueueUrls", [])


def make_queue(parameters, run):
    made = run.write("sqs").create_queue(QueueName=parameters.queue)
    run.write("sqs").tag_queue(QueueUrl=made["QueueUrl"], Tags={"by": "test"})
    return {"url": made["QueueUrl"]}


# --- dry runs


def test_dry_run_plans_the_calls_that_the_real_run_makes(audit):
    status, body = call(make_queue, {"dry_run": True})
    assert (status, body["status"], body["changed"], queues()) == (202, "planned", False, [])
    calls = body["result"]["planned_calls"]
    assert [one["operation"] for one in calls] == ["CreateQueue", "TagQueue"]
    assert calls[1]["parameters"]["QueueUrl"] == "<QueueUrl of sqs:CreateQueue>"

    status, body = call(make_queue)
    assert (status, body["status"], body["changed"], len(queues())) == (200, "ok", True, 1)
    made = json.loads(max(audit.scan()["Items"], key=lambda item: item["call"])["calls"])
    assert [one["operation"] for one in made] == ["CreateQueue", "TagQueue"]
    assert {one["outcome"] for one in made} == {"made"}


def test_write_call_by_a_reading_client_does_not_leave(audit):
    for event in ({"dry_run": True}, {}):
        status, body = call(lambda parameters, run: run.read("sqs").create_queue(QueueName="x"), event)
        assert (status, body["error"]["type"], queues()) == (500, "UnplannedWriteError", [])


def test_write_call_behind_the_back_of_the_runtime_does_not_leave(audit):
    def sneaky(parameters, run):
        run.write("sqs").list_queues()
        boto3.client("sqs", region_name=REGION).create_queue(QueueName="x")

    def threaded(parameters, run):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(sneaky, parameters, run).result()

    for work in (sneaky, threaded):
        assert call(work)[1]["error"]["type"] == "UnplannedWriteError"
    assert queues() == []


def test_guard_is_gone_after_the_script(audit):
    call(lambda parameters, run: {})
    boto3.client("sqs", region_name=REGION).create_queue(QueueName="free")
    assert len(queues()) == 1


def test_reading_by_effect_is_declared(audit):
    url = boto3.client("sqs", region_name=REGION).create_queue(QueueName="jobs")["QueueUrl"]

    def peek(parameters, run):
        return run.read("sqs").receive_message(QueueUrl=url, VisibilityTimeout=0)

    assert call(peek)[0] == 500
    assert call(peek, reading=("sqs:ReceiveMessage",))[0] == 200


def test_planned_parameters_are_checked_as_real_ones_are(audit):
    for event in ({"dry_run": True}, {}):
        status, body = call(lambda parameters, run: run.write("sqs").create_queue(Name="x"), event)
        assert (status, body["error"]["type"]) == (500, "TypeError")
        assert "QueueName" in body["error"]["message"]


def test_dry_run_that_would_have_to_decide_by_a_write_says_so(audit):
    def decide(parameters, run):
        if run.write("sqs").create_queue(QueueName="x")["QueueUrl"] == "y":
            return {}

    status, body = call(decide, {"dry_run": True})
    assert (status, body["error"]["type"]) == (500, "PlanError")


def test_steps_and_waiting_are_planned_too(audit):
    done = []

    def post(parameters, run):
        run.step("https", "POST", {"url": "https://example.org"}, lambda: done.append("posted"))
        return {"seen": run.wait_until(lambda: done[-1], 10)}

    status, body = call(post, {"dry_run": True})
    assert (status, done, body["result"]["plan"]) == (202, [], {"seen": None})
    assert body["result"]["planned_calls"] == [
        {"service": "https", "operation": "POST", "parameters": {"url": "https://example.org"}}
    ]
    status, body = call(post)
    assert (status, done, body["result"], body["changed"]) == (200, ["posted"], {"seen": "posted"}, True)


def test_following_ends_with_the_end_or_with_the_time(audit, monkeypatch):
    monkeypatch.setattr(script_runtime.time, "sleep", lambda _: None)

    def follow(parameters, run):
        ends, goes_on = iter("ab."), iter("abcdefgh")
        return {
            "end": run.follow(lambda: next(ends), lambda seen: seen == ".", 10),
            "late": run.follow(lambda: next(goes_on), lambda seen: False, 4),
            "once": run.follow(lambda: "x", lambda seen: False, 0),
        }

    assert call(follow)[1]["result"] == {"end": ".", "late": "c", "once": "x"}
    assert call(follow, {"dry_run": True})[1]["result"]["plan"] == {"end": "a", "late": "a", "once": "x"}


# --- errors


def aws_error(code, status=400):
    response = {"Error": {"Code": code, "Message": "says AWS"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "UpdateService")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (aws_error("AccessDeniedException"), 403),
        (aws_error("UnauthorizedOperation", 403), 403),
        (aws_error("ResourceNotFoundException"), 404),
        (aws_error("AWS.SimpleQueueService.NonExistentQueue"), 404),
        (aws_error("ResourceConflictException", 409), 409),
        (aws_error("ServiceNotActiveException"), 409),
        (aws_error("InvalidParameterException"), 400),
        (aws_error("ThrottlingException"), 500),
        (aws_error("InternalServerError", 500), 500),
        (aws_error("SomethingElse"), 500),
        (ReadTimeoutError(endpoint_url="https://ecs"), 500),
        (NotFoundError("gone"), 404),
        (ConflictError("busy"), 409),
        (ZeroDivisionError("oops"), 500),
    ],
)
def test_errors_become_status_codes(audit, error, expected):
    def fail(parameters, run):
        raise error

    assert call(fail)[0] == expected


def test_denied_call_names_the_action_that_is_missing(audit, monkeypatch):
    def denied(parameters, run):
        client = run.write("ecs")
        monkeypatch.setattr(client._client, "update_service", denies, raising=False)
        client.update_service(service="x")

    def denies(**_):
        raise aws_error("AccessDeniedException", 400)

    status, body = call(denied)
    assert (status, body["changed"]) == (403, False)
    assert "ecs:UpdateService" in body["error"]["message"]
    assert body["error"]["calls"][0]["outcome"] == "failed"


def test_write_without_an_answer_counts_as_a_change(audit, monkeypatch):
    def cut_off(**_):
        raise ReadTimeoutError(endpoint_url="https://ecs")

    def work(parameters, run):
        client = run.write("ecs")
        monkeypatch.setattr(client._client, "update_service", cut_off, raising=False)
        client.update_service(service="x")

    status, body = call(work)
    assert (status, body["changed"], body["error"]["calls"][0]["outcome"]) == (500, True, "unknown")


def test_busy_service_is_asked_again_for_writes(audit, monkeypatch):
    answers = [aws_error("ThrottlingException"), aws_error("ThrottlingException"), None]

    def busy(**_):
        if error := answers.pop(0):
            raise error
        return {"service": {}}

    def work(parameters, run):
        client = run.write("ecs")
        monkeypatch.setattr(client._client, "update_service", busy, raising=False)
        return client.update_service(service="x")

    monkeypatch.setattr(script_runtime, "_WRITE_WAIT_SECONDS", 0)
    assert (call(work)[0], answers) == (200, [])


def test_fault_is_counted_and_a_refusal_is_not(audit, capsys):
    def fault(parameters, run):
        raise ZeroDivisionError

    call(fault)
    (metric,) = (json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert (metric["ScriptFault"], metric["function_name"]) == ([1.0], "test-example")
    assert metric["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Watchfloor"
    call(lambda parameters, run: {}, {"nonsense": 1})
    assert "ScriptFault" not in capsys.readouterr().out


# --- time


def test_script_stops_itself_before_lambda_does_and_says_what_was_done(audit, monkeypatch):
    monkeypatch.setattr(script_runtime, "RESERVE_SECONDS", 0.1)

    def slow(parameters, run):
        run.write("sqs").create_queue(QueueName="x")
        try:
            time.sleep(30)
        except Exception:  # noqa: BLE001 - a script that swallows every error cannot swallow this
            time.sleep(30)

    began = time.monotonic()
    status, body = call(slow, seconds=0.6)
    assert time.monotonic() - began < 3
    assert (status, body["error"]["type"], body["changed"]) == (504, "DeadlineError", True)
    assert [one["operation"] for one in body["error"]["calls"]] == ["CreateQueue"]
    assert audit.scan()["Items"][0]["status_code"] == 504


def test_no_call_begins_after_the_time_is_up(audit, monkeypatch):
    monkeypatch.setattr(script_runtime, "RESERVE_SECONDS", 60.0)
    assert (call(make_queue, seconds=30)[0], queues()) == (504, [])


# --- the record


def test_record_says_who_what_and_what_came_of_it(audit):
    call(make_queue, {"queue": "jobs", "password": "hunter22", "requested_by": "alice"})
    (record,) = audit.scan()["Items"]
    assert record["requested_by"] == "alice"
    assert json.loads(record["parameters"]) == {"queue": "jobs", "password": "***"}
    assert (record["status"], record["status_code"], record["changed"], record["dry_run"]) == ("ok", 200, True, False)
    assert record["expires_at"] > time.time() + 29 * 86_400
    assert record["function"].endswith(":test-example")


def test_secrets_are_in_no_record_log_or_plan(audit, caplog):
    def leak(parameters, run):
        secret = parameters.password.get_secret_value()
        run.write("sqs").create_queue(QueueName=secret)
        raise ValueError(f"it was {secret}")

    for dry_run in (True, False):
        _, body = call(leak, {"password": "hunter22", "dry_run": dry_run})
        assert "hunter22" not in json.dumps(body)
    assert "hunter22" not in str(audit.scan()["Items"])
    logged = " ".join(str(vars(record)) for record in caplog.records)
    assert "Traceback" in logged and "hunter22" not in logged


def test_secret_that_a_script_returns_is_masked(audit):
    def leak(parameters, run):
        return {"rows": [{"text": f"it is {parameters.password.get_secret_value()}"}], "count": 1}

    for dry_run in (True, False):
        _, body = call(leak, {"password": "hunter22", "dry_run": dry_run})
        assert "it is ***" in json.dumps(body)
    assert "hunter22" not in str(audit.scan()["Items"])


def test_refused_input_is_recorded_without_its_values(audit):
    status, _ = call(make_queue, {"passwort": "hunter22"})
    (record,) = audit.scan()["Items"]
    assert (status, record["status_code"], json.loads(record["parameters"])) == (400, 400, {"refused": ["passwort"]})
    assert "hunter22" not in str(record)


def test_call_that_is_cut_off_leaves_its_record(audit):
    def crash(parameters, run):
        raise SystemExit

    with pytest.raises(SystemExit):
        call(crash)
    (record,) = audit.scan()["Items"]
    assert record["status"] == "started"


def test_nothing_is_done_that_cannot_be_recorded():
    with mock_aws():
        status, body = call(make_queue)
        assert (status, body["status"], queues()) == (500, "failed", [])


def test_end_that_cannot_be_recorded_is_a_fault_that_says_what_was_done(audit, monkeypatch):
    def work(parameters, run):
        run.write("sqs").create_queue(QueueName="x")
        # The guard would not let the script delete a table.
        monkeypatch.setattr(script_runtime, "_current", None)
        audit.delete()

    status, body = call(work)
    assert (status, body["status"], body["changed"]) == (500, "failed", True)
    assert body["error"]["calls"][0]["operation"] == "CreateQueue"


def test_dangerous_script_does_not_run_without_an_approval(audit):
    status, body = call(make_queue, risk="high")
    assert (status, body["error"]["type"], queues()) == (403, "AccessDeniedError", [])
    assert "watchfloor script run test-example" in body["error"]["message"]
    assert call(make_queue, {"dry_run": True}, risk="high")[0] == 202
