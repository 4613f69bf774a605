import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.cloud import ACCOUNT, REGION
from tests.integration.sandbox import ANYTHING, Sandbox, until

INVOKE = "arn:aws:states:::lambda:invoke"
CALLBACK = f"{INVOKE}.waitForTaskToken"
NESTED = "arn:aws:states:::states:startExecution.sync:2"


def invoke(function_arn, **state):
    task = {"Type": "Task", "Resource": INVOKE, "Parameters": {"FunctionName": function_arn, "Payload.$": "$"}}
    return task | ({} if "Next" in state else {"End": True}) | state


def callback(function_arn, **state):
    parameters = {"FunctionName": function_arn, "Payload": {"token.$": "$$.Task.Token", "input.$": "$"}}
    task = {"Type": "Task", "Resource": CALLBACK, "Parameters": parameters, "TimeoutSeconds": 10}
    return task | ({} if "Next" in state else {"End": True}) | state


def caught(target="Caught"):
    return {"Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": target}]}


CAUGHT = {"Caught": {"Type": "Pass", "End": True}}


@pytest.fixture(scope="module")
def fails(sandbox: Sandbox) -> str:
    return sandbox.function(
        """
        class CapacityError(Exception):
            pass
        raise CapacityError("no machine left")
        """
    )


@pytest.fixture(scope="module")
def tokens(sandbox: Sandbox) -> tuple[str, str]:
    """A function that passes its task tokens on, and the queue they go to."""
    url, _ = sandbox.queue()
    function = sandbox.function(
        f"""
        import boto3
        boto3.client("sqs").send_message(QueueUrl={url!r}, MessageBody=event["token"])
        """
    )
    return function, url


def test_lambda_error_keeps_class_name(sandbox: Sandbox, fails: str):
    execution = sandbox.run(sandbox.machine({"Work": invoke(fails)}))
    assert (execution["status"], execution["error"]) == ("FAILED", "CapacityError")
    cause = json.loads(execution["cause"])
    assert cause["errorMessage"] == "no machine left"
    assert cause["stackTrace"]


def test_retry_names_the_class_and_counts(sandbox: Sandbox, fails: str):
    retry = [{"ErrorEquals": ["CapacityError"], "IntervalSeconds": 1, "MaxAttempts": 2, "BackoffRate": 1}]
    execution_arn = sandbox.start(sandbox.machine({"Work": invoke(fails, Retry=retry)}))
    sandbox.ended(execution_arn)
    events = sandbox.history(execution_arn)
    assert [event["type"] for event in events].count("TaskFailed") == 3
    scheduled = [event["timestamp"] for event in events if event["type"] == "TaskScheduled"]
    assert (scheduled[1] - scheduled[0]).total_seconds() >= 1


def test_callback_success_and_history(sandbox: Sandbox, tokens: tuple[str, str]):
    function, queue = tokens
    execution_arn = sandbox.start(sandbox.machine({"Wait": callback(function)}))
    token = sandbox.received(queue)["Body"]
    sandbox.states.send_task_success(taskToken=token, output='{"job": "done"}')
    assert sandbox.ended(execution_arn)["output"] == {"job": "done"}
    events = sandbox.history(execution_arn)
    assert [event["type"] for event in events] == [
        "ExecutionStarted",
        "TaskStateEntered",
        "TaskScheduled",
        "TaskStarted",
        "TaskSubmitted",
        "TaskSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]
    assert [event["previousEventId"] for event in events] == [0, 0, 2, 3, 4, 5, 6, 7]
    with pytest.raises(ClientError, match="TaskTimedOut"):
        sandbox.states.send_task_success(taskToken=token, output="{}")


def test_callback_failure_keeps_error_and_cause(sandbox: Sandbox, tokens: tuple[str, str]):
    function, queue = tokens
    execution_arn = sandbox.start(sandbox.machine({"Wait": callback(function)}))
    token = sandbox.received(queue)["Body"]
    sandbox.states.send_task_failure(taskToken=token, error="ModelError", cause="bad weights")
    execution = sandbox.ended(execution_arn)
    assert (execution["error"], execution["cause"]) == ("ModelError", "bad weights")


def test_callback_fails_at_once_when_the_function_does(sandbox: Sandbox, fails: str):
    started = time.monotonic()
    execution = sandbox.run(sandbox.machine({"Wait": callback(fails, TimeoutSeconds=60)}))
    assert execution["error"] == "CapacityError"
    assert time.monotonic() - started < 10


def test_retry_gets_a_new_token_and_the_old_one_ends_nothing(sandbox: Sandbox, tokens: tuple[str, str]):
    function, queue = tokens
    retry = [{"ErrorEquals": ["CapacityError"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    execution_arn = sandbox.start(sandbox.machine({"Wait": callback(function, Retry=retry)}))
    first = sandbox.received(queue)["Body"]
    sandbox.states.send_task_failure(taskToken=first, error="CapacityError")
    second = sandbox.received(queue)["Body"]
    assert first != second
    with pytest.raises(ClientError, match="TaskTimedOut"):
        sandbox.states.send_task_success(taskToken=first, output='"stale"')
    sandbox.states.send_task_success(taskToken=second, output='"fresh"')
    assert sandbox.ended(execution_arn)["output"] == "fresh"


def test_heartbeat_missing_fails_and_sent_keeps_alive(sandbox: Sandbox, tokens: tuple[str, str]):
    function, queue = tokens
    states = {"Wait": callback(function, HeartbeatSeconds=1, **caught()), **CAUGHT}
    states["Wait"]["Catch"][0]["ErrorEquals"] = ["States.Timeout"]
    machine = sandbox.machine(states)
    silent = sandbox.start(machine)
    sandbox.received(queue)
    assert sandbox.ended(silent)["output"]["error"]["Error"] == "States.HeartbeatTimeout"

    alive = sandbox.start(machine)
    token = sandbox.received(queue)["Body"]
    for _ in range(4):
        time.sleep(0.5)
        sandbox.states.send_task_heartbeat(taskToken=token)
    sandbox.states.send_task_success(taskToken=token, output='"alive"')
    assert sandbox.ended(alive)["output"] == "alive"


def test_task_and_execution_timeouts(sandbox: Sandbox, tokens: tuple[str, str]):
    function, queue = tokens
    slow = sandbox.start(sandbox.machine({"Wait": callback(function, TimeoutSeconds=1)}))
    whole = sandbox.start(sandbox.machine({"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}, TimeoutSeconds=1))
    assert sandbox.ended(slow)["error"] == "States.Timeout"
    token = sandbox.received(queue)["Body"]
    with pytest.raises(ClientError, match="TaskTimedOut"):
        sandbox.states.send_task_success(taskToken=token, output="{}")
    assert sandbox.ended(whole)["status"] == "TIMED_OUT"
    assert sandbox.history(whole)[-1]["type"] == "ExecutionTimedOut"


def test_send_task_is_authorised_by_the_machine_that_waits(sandbox: Sandbox, tokens: tuple[str, str]):
    function, queue = tokens
    machine, other = (sandbox.machine({"Wait": callback(function)}) for _ in range(2))
    execution_arn = sandbox.start(machine)
    token = sandbox.received(queue)["Body"]

    def answer(allowed):
        statements = [{"Effect": "Allow", "Action": "states:SendTaskSuccess", "Resource": allowed}]
        answering = sandbox.function(
            """
            import boto3
            boto3.client("stepfunctions").send_task_success(taskToken=event, output='"yes"')
            """,
            statements,
        )
        return sandbox.invoke(answering, token)

    refused, error = answer(other)
    assert error == "Unhandled"
    assert "AccessDenied" in refused["errorMessage"]
    assert answer(machine) == (None, None)
    assert sandbox.ended(execution_arn)["output"] == "yes"


def test_parallel_branches_do_not_share_context_and_results_keep_order(sandbox: Sandbox):
    branch = {
        "StartAt": "Slow",
        "States": {
            "Slow": {"Type": "Wait", "Seconds": 1, "Next": "Name"},
            "Name": {"Type": "Pass", "Parameters": {"state.$": "$$.State.Name"}, "End": True},
        },
    }
    quick = {
        "StartAt": "Quick",
        "States": {"Quick": {"Type": "Pass", "Parameters": {"state.$": "$$.State.Name"}, "End": True}},
    }
    states = {"Both": {"Type": "Parallel", "Branches": [branch, quick], "End": True}}
    assert sandbox.run(sandbox.machine(states))["output"] == [{"state": "Name"}, {"state": "Quick"}]


def test_parallel_fails_fast_and_stops_the_other_branch(sandbox: Sandbox):
    waits = {
        "StartAt": "Long",
        "States": {"Long": {"Type": "Wait", "Seconds": 60, "Next": "Never"}, "Never": {"Type": "Pass", "End": True}},
    }
    boom = {"StartAt": "Boom", "States": {"Boom": {"Type": "Fail", "Error": "Boom", "Cause": "on purpose"}}}
    states = {"Both": {"Type": "Parallel", "Branches": [waits, boom], **caught(), "End": True}, **CAUGHT}
    execution = sandbox.run(sandbox.machine(states), timeout=5)
    assert execution["output"] == {"error": {"Error": "Boom", "Cause": "on purpose"}}
    entered = [
        e["stateEnteredEventDetails"]["name"]
        for e in sandbox.history(execution["executionArn"])
        if e["type"].endswith("StateEntered")
    ]
    assert "Never" not in entered


def test_map_runs_items_and_fails_fast(sandbox: Sandbox, fails: str):
    work = {"StartAt": "One", "States": {"One": {"Type": "Pass", "Parameters": {"n.$": "$.v"}, "End": True}}}
    states = {
        "All": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemSelector": {"v.$": "$$.Map.Item.Value"},
            "MaxConcurrency": 2,
            "ItemProcessor": work,
            "End": True,
        }
    }
    assert sandbox.run(sandbox.machine(states), {"items": [3, 1, 2]})["output"] == [{"n": 3}, {"n": 1}, {"n": 2}]
    states["All"]["ItemProcessor"] = {"StartAt": "Bad", "States": {"Bad": invoke(fails)}}
    assert sandbox.run(sandbox.machine(states), {"items": [1, 2]})["error"] == "CapacityError"


def test_distributed_map_runs_children(sandbox: Sandbox, fails: str):
    states: dict[str, Any] = {
        "All": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemSelector": {"v.$": "$$.Map.Item.Value"},
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                "StartAt": "One",
                "States": {"One": {"Type": "Pass", "Parameters": {"n.$": "$.v"}, "End": True}},
            },
            "ResultPath": "$.made",
            "End": True,
        }
    }
    execution = sandbox.run(sandbox.machine(states), {"items": [1, 2]})
    assert execution["output"] == {"items": [1, 2], "made": [{"n": 1}, {"n": 2}]}
    run = sandbox.states.list_map_runs(executionArn=execution["executionArn"])["mapRuns"][0]
    assert sandbox.states.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"]["succeeded"] == 2
    states["All"]["ItemProcessor"]["States"]["One"] = invoke(fails)
    failed = sandbox.run(sandbox.machine(states), {"items": [1, 2]})
    assert failed["error"] == "States.ExceedToleratedFailureThreshold"


def test_states_all_does_not_catch_what_aws_does_not(sandbox: Sandbox):
    big = sandbox.function("return 'x' * (event or 300_000)")
    too_much = sandbox.run(sandbox.machine({"Big": invoke(big, **caught()), **CAUGHT}))
    assert too_much["error"] == "States.DataLimitExceeded"
    named = {"Big": invoke(big, **caught()), **CAUGHT}
    named["Big"]["Catch"][0]["ErrorEquals"] = ["States.DataLimitExceeded"]
    assert sandbox.run(sandbox.machine(named))["output"]["error"]["Error"] == "States.DataLimitExceeded"
    missing = {
        "Path": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "In", "States": {"In": {"Type": "Pass", "Parameters": {"a.$": "$.nothing"}, "End": True}}}
            ],
            **caught(),
            "End": True,
        },
        **CAUGHT,
    }
    execution = sandbox.run(sandbox.machine(missing))
    assert execution["error"] == "States.Runtime"
    assert "$.nothing" in execution["cause"]


def test_input_over_256_kib_is_refused(sandbox: Sandbox):
    machine = sandbox.machine({"Pass": {"Type": "Pass", "End": True}})
    with pytest.raises(ClientError, match="ValidationException"):
        sandbox.start(machine, {"x": "y" * 262_144})


def test_history_ends_at_25_000_events(sandbox: Sandbox):
    states = {
        "Turn": {"Type": "Pass", "Next": "Again"},
        "Again": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.stop", "BooleanEquals": True, "Next": "Done"}],
            "Default": "Turn",
        },
        "Done": {"Type": "Succeed"},
    }
    execution_arn = sandbox.start(sandbox.machine(states), {"stop": False})
    execution = sandbox.ended(execution_arn, timeout=30)
    assert execution["error"] == "States.Runtime"
    assert execution["cause"] == "The execution reached the maximum number of history events (25000)."
    last = sandbox.states.get_execution_history(executionArn=execution_arn, reverseOrder=True, maxResults=2)["events"]
    assert [(event["id"], event["type"]) for event in last] == [
        (25_000, "ExecutionFailed"),
        (24_999, "PassStateExited"),
    ]


def test_start_execution_is_idempotent_by_name_and_input(sandbox: Sandbox):
    machine = sandbox.machine({"Wait": {"Type": "Wait", "Seconds": 60, "End": True}})
    start = {"stateMachineArn": machine, "name": "once"}
    first = sandbox.states.start_execution(**start, input='{"a": 1}')["executionArn"]
    assert sandbox.states.start_execution(**start, input='{"a":1}')["executionArn"] == first
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        sandbox.states.start_execution(**start, input='{"a": 2}')
    sandbox.states.stop_execution(executionArn=first, error="Enough", cause="tested")
    ended = sandbox.ended(first)
    assert (ended["status"], ended["error"], ended["cause"]) == ("ABORTED", "Enough", "tested")
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        sandbox.states.start_execution(**start, input='{"a": 1}')


def test_nested_execution_output_failure_and_stop(sandbox: Sandbox):
    child = sandbox.machine({
        "Which": {"Type": "Choice", "Choices": [
            {"Variable": "$.do", "StringEquals": "fail", "Next": "Bad"},
            {"Variable": "$.do", "StringEquals": "wait", "Next": "Long"}], "Default": "Good"},
        "Good": {"Type": "Pass", "Result": {"n": 7}, "End": True},
        "Bad": {"Type": "Fail", "Error": "ModelError", "Cause": "broken"},
        "Long": {"Type": "Wait", "Seconds": 60, "End": True},
    })  # fmt: skip
    nested = {"Type": "Task", "Resource": NESTED, "Parameters": {"StateMachineArn": child, "Input.$": "$"}, "End": True}
    parent = sandbox.machine({"Child": nested | {"OutputPath": "$.Output"}})
    assert sandbox.run(parent, {"do": "work"})["output"] == {"n": 7}
    failed = sandbox.run(parent, {"do": "fail"})
    assert failed["error"] == "States.TaskFailed"
    assert json.loads(failed["cause"])["Error"] == "ModelError"

    waiting = sandbox.start(parent, {"do": "wait"})
    running = until(
        lambda: sandbox.states.list_executions(stateMachineArn=child, statusFilter="RUNNING")["executions"]
    )[0]
    sandbox.states.stop_execution(executionArn=waiting)
    assert sandbox.ended(running["executionArn"])["status"] == "ABORTED"

    late = sandbox.machine({"Child": nested | {"TimeoutSeconds": 1}})
    assert sandbox.run(late, {"do": "wait"})["error"] == "States.Timeout"
    assert not sandbox.states.list_executions(stateMachineArn=child, statusFilter="RUNNING")["executions"]


def test_nested_execution_needs_permissions(sandbox: Sandbox):
    child = sandbox.machine({"Good": {"Type": "Pass", "End": True}})
    nested = {"Type": "Task", "Resource": NESTED, "Parameters": {"StateMachineArn": child}, "End": True}
    start = {"Effect": "Allow", "Action": "states:StartExecution", "Resource": child}
    describe = {"Effect": "Allow", "Action": ["states:DescribeExecution", "states:StopExecution"], "Resource": "*"}
    rule = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"
    managed = {
        "Effect": "Allow",
        "Action": ["events:PutTargets", "events:PutRule", "events:DescribeRule"],
        "Resource": rule,
    }
    with pytest.raises(ClientError, match="not authorized to create managed-rule"):
        sandbox.machine({"Child": nested}, [start, describe])
    both: tuple[list[dict[str, Any]], ...] = ([describe, managed], [start, managed])
    for statements in both:
        execution = sandbox.run(sandbox.machine({"Child": nested}, statements))
        assert "not authorized" in execution["cause"]
    assert sandbox.run(sandbox.machine({"Child": nested}, [start, describe, managed]))["status"] == "SUCCEEDED"


def test_machine_role_needs_invoke_function(sandbox: Sandbox):
    function = sandbox.function("return 1")
    allowed = [{"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": function}]
    assert sandbox.run(sandbox.machine({"Work": invoke(function)}, allowed))["status"] == "SUCCEEDED"
    refused = sandbox.run(sandbox.machine({"Work": invoke(function)}, []))
    assert refused["error"] == "Lambda.AWSLambdaException"
    assert "lambda:InvokeFunction" in refused["cause"]


def test_other_integrations_work_and_need_permissions(sandbox: Sandbox):
    table = sandbox.name("table")
    sandbox.client("dynamodb").create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "k", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "k", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    put = {"Type": "Task", "Resource": "arn:aws:states:::dynamodb:putItem",
           "Parameters": {"TableName": table, "Item": {"k": {"S.$": "$.key"}}}, "End": True}  # fmt: skip
    arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}"
    allowed = [{"Effect": "Allow", "Action": "dynamodb:PutItem", "Resource": arn}]
    assert sandbox.run(sandbox.machine({"Put": put}, allowed), {"key": "a"})["status"] == "SUCCEEDED"
    assert sandbox.client("dynamodb").scan(TableName=table)["Items"] == [{"k": {"S": "a"}}]
    assert "not authorized" in sandbox.run(sandbox.machine({"Put": put}, []), {"key": "b"})["cause"]


@pytest.mark.parametrize(
    ("rule", "data", "expected"),
    [
        ({"Variable": "$.n", "NumericLessThanPath": "$.m"}, {"n": 1, "m": 2}, True),
        ({"Variable": "$.n", "NumericEquals": 1}, {"n": True}, False),
        ({"Variable": "$.gone", "IsPresent": True}, {}, False),
        ({"Variable": "$.null", "IsPresent": True}, {"null": None}, True),
        ({"Variable": "$.s", "StringMatches": "a*c\\*"}, {"s": "abbc*"}, True),
        ({"Variable": "$.t", "TimestampLessThan": "2026-01-01T00:00:00Z"}, {"t": "2025-01-01T00:00:00Z"}, True),
        ({"And": [{"Variable": "$.a", "IsNull": True}, {"Not": {"Variable": "$.b", "IsString": True}}]},
         {"a": None, "b": 1}, True),
    ],
)  # fmt: skip
def test_choices(sandbox: Sandbox, rule, data, expected):
    states = {
        "Which": {"Type": "Choice", "Choices": [rule | {"Next": "Yes"}], "Default": "No"},
        "Yes": {"Type": "Pass", "Result": True, "End": True},
        "No": {"Type": "Pass", "Result": False, "End": True},
    }
    assert sandbox.run(sandbox.machine(states), data)["output"] is expected


def test_data_flow_and_intrinsic_functions(sandbox: Sandbox):
    parameters = {
        "text.$": "States.Format('{}-{}-{}', $.name, $.n, $.flag)",
        "all.$": "$.items[*].id",
        "name.$": "$$.Execution.Name",
        "literal": ["a", {"deep.$": "$.n"}],
    }
    states = {
        "Fill": {"Type": "Pass", "Parameters": parameters, "ResultPath": "$.made.here", "Next": "Drop"},
        "Drop": {"Type": "Pass", "Result": 1, "ResultPath": None, "OutputPath": "$.made", "End": True},
    }
    data = {"name": "run", "n": 2, "flag": True, "items": [{"id": 1}, {"id": 2}]}
    output = sandbox.run(sandbox.machine(states), data)["output"]["here"]
    assert output.pop("name")
    assert output == {"text": "run-2-true", "all": [1, 2], "literal": ["a", {"deep": 2}]}


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ({"A": {"Type": "Pass", "Next": "Nowhere"}}, "Nowhere"),
        ({"A": {"Type": "Pass", "End": True}, "B": {"Type": "Pass", "End": True}}, "not reachable"),
        ({"A": {"Type": "Pass", "End": True, "Assign": {"x": 1}}}, "Assign"),
        ({"A": {"Type": "Pass", "End": True, "Retry": []}}, "Retry"),
        ({"A": {"Type": "Pass", "End": True, "QueryLanguage": "JSONata"}}, "JSONata"),
    ],
)
def test_bad_definitions_are_refused(sandbox: Sandbox, states, message):
    with pytest.raises(ClientError, match=message):
        sandbox.machine(states)
    good = sandbox.machine({"A": {"Type": "Pass", "End": True}})
    with pytest.raises(ClientError, match=message):
        sandbox.states.update_state_machine(
            stateMachineArn=good, definition=json.dumps({"StartAt": "A", "States": states})
        )


def test_logging_needs_permissions(sandbox: Sandbox):
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/states:*"
    request = {
        "definition": json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}),
        "loggingConfiguration": {
            "level": "ERROR",
            "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": group}}],
        },
    }
    with pytest.raises(ClientError, match="Log Destination"):
        sandbox.states.create_state_machine(name=sandbox.name(), roleArn=sandbox.role([], "states"), **request)
    sandbox.states.create_state_machine(name=sandbox.name(), roleArn=sandbox.role(ANYTHING, "states"), **request)
