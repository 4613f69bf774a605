import base64
import gzip
import json
import time

import pytest
from botocore.exceptions import ClientError

from local.cloud import ACCOUNT, REGION
from tests.integration.sandbox import Sandbox, until

FORWARD = """
import boto3
boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=json.dumps(event))
"""


@pytest.fixture
def group(sandbox: Sandbox) -> str:
    name = sandbox.name("/test/logs")
    sandbox.client("logs").create_log_group(logGroupName=name)
    sandbox.client("logs").create_log_stream(logGroupName=name, logStreamName="stream")
    return name


def write(sandbox: Sandbox, group: str, *messages: str) -> None:
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": message} for message in messages]
    sandbox.client("logs").put_log_events(logGroupName=group, logStreamName="stream", logEvents=events)


def permit(sandbox: Sandbox, function: str, source: str = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:*:*") -> None:
    sandbox.client("lambda").add_permission(
        FunctionName=function,
        StatementId=sandbox.name("logs"),
        Action="lambda:InvokeFunction",
        Principal="logs.amazonaws.com",
        SourceArn=source,
    )


def subscribe(sandbox: Sandbox, group: str, function: str, pattern: str = "", name: str = "errors") -> None:
    sandbox.client("logs").put_subscription_filter(
        logGroupName=group, filterName=name, filterPattern=pattern, destinationArn=function
    )


def decoded(event: dict) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))


def test_filter_hands_matching_events_to_its_function(sandbox: Sandbox, group: str):
    url, _ = sandbox.queue()
    function = sandbox.function(FORWARD, Environment={"Variables": {"QUEUE": url}})
    permit(sandbox, function)
    subscribe(sandbox, group, function, "?ERROR ?Traceback")
    write(sandbox, group, "all is well")
    write(sandbox, group, "INFO one", "ERROR two", "Traceback (most recent call last):\n  File")
    batch = decoded(json.loads(sandbox.received(url)["Body"]))
    assert (batch["messageType"], batch["owner"], batch["logGroup"]) == ("DATA_MESSAGE", ACCOUNT, group)
    assert batch["subscriptionFilters"] == ["errors"]
    assert [event["message"][:9] for event in batch["logEvents"]] == ["ERROR two", "Traceback"]
    assert len({event["id"] for event in batch["logEvents"]}) == 2


def test_filter_needs_the_function_s_permission(sandbox: Sandbox, group: str):
    function = sandbox.function("return 1")
    for other in (None, f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/another:*"):
        if other:
            permit(sandbox, function, other)
        with pytest.raises(ClientError, match="Could not execute the lambda function") as refused:
            subscribe(sandbox, group, function)
        assert refused.value.response["Error"]["Code"] == "InvalidParameterException"
    permit(sandbox, function, f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:*")
    subscribe(sandbox, group, function)


def test_group_takes_two_filters(sandbox: Sandbox, group: str):
    function = sandbox.function("return 1")
    permit(sandbox, function)
    subscribe(sandbox, group, function, name="one")
    subscribe(sandbox, group, function, name="two")
    subscribe(sandbox, group, function, "ERROR", name="two")
    with pytest.raises(ClientError) as refused:
        subscribe(sandbox, group, function, name="three")
    assert refused.value.response["Error"]["Code"] == "LimitExceededException"
    filters = sandbox.client("logs").describe_subscription_filters(logGroupName=group)["subscriptionFilters"]
    assert [(row["filterName"], row["filterPattern"]) for row in filters] == [("one", ""), ("two", "ERROR")]


def test_delivery_that_fails_is_tried_again_and_then_a_dead_letter(sandbox: Sandbox, group: str):
    url, arn = sandbox.queue()
    function = sandbox.function("raise ValueError('not today')")
    permit(sandbox, function)
    sandbox.client("lambda").put_function_event_invoke_config(
        FunctionName=function, MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    subscribe(sandbox, group, function)
    write(sandbox, group, "ERROR lost")
    letter = json.loads(sandbox.received(url)["Body"])
    assert letter["responsePayload"]["errorType"] == "ValueError"
    assert decoded(letter["requestPayload"])["logEvents"][0]["message"] == "ERROR lost"


def test_runtime_s_error_and_a_logged_trace_are_one_event_each(sandbox: Sandbox):
    function = sandbox.function(
        """
        import logging
        print("one\\ntwo")
        try:
            {}["here"]
        except KeyError:
            logging.exception("not found")
        raise ValueError("gone")
        """
    )
    sandbox.invoke(function)
    name = f"/aws/lambda/{function.rpartition(':')[2]}"
    events = until(lambda: sandbox.client("logs").filter_log_events(logGroupName=name)["events"])
    texts = [event["message"] for event in events][1:-2]
    assert texts[:2] == ["one", "two"]
    logged, raised = texts[2:]
    assert logged.startswith("[ERROR]\t")
    assert "not found\nTraceback (most recent call last):\n" in logged
    assert logged.endswith("KeyError: 'here'")
    assert raised.startswith("[ERROR] ValueError: gone\nTraceback (most recent call last):\n")
    assert 'File "/var/task/app.py", line' in raised
    assert 'File "/var/task/app.py", line' in logged


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("time.sleep(5)", " Task timed out after 1.00 seconds"),
        ("os._exit(3)", "Error: Runtime exited with error: exit status 3\nRuntime.ExitError"),
    ],
)
def test_lambda_s_own_words_are_in_the_log(sandbox: Sandbox, body: str, says: str):
    function = sandbox.function(body, Timeout=1)
    sandbox.invoke(function)
    name = f"/aws/lambda/{function.rpartition(':')[2]}"
    events = until(lambda: sandbox.client("logs").filter_log_events(logGroupName=name)["events"])
    request_id = events[0]["message"].split()[2]
    (line,) = [event["message"] for event in events if event["message"].endswith(says)]
    assert request_id in line
