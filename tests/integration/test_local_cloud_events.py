import json

import pytest

from local.cloud import ACCOUNT, REGION
from tests.integration.sandbox import Sandbox


def test_s3_object_created_starts_a_machine_with_the_rule_s_role(sandbox: Sandbox):
    bucket = sandbox.name("bucket")
    s3 = sandbox.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})
    machine = sandbox.machine({"Keep": {"Type": "Pass", "OutputPath": "$.detail", "End": True}})
    start = [{"Effect": "Allow", "Action": "states:StartExecution", "Resource": machine}]
    dead_url, dead_arn = sandbox.queue()
    pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": "input/"}]}},
    }
    sandbox.rule(pattern, machine, RoleArn=sandbox.role(start, "events"))
    rule = sandbox.rule(pattern, machine, RoleArn=sandbox.role([], "events"), DeadLetterConfig={"Arn": dead_arn})
    s3.put_object(Bucket=bucket, Key="input/a b.json", Body=b"{}")
    s3.put_object(Bucket=bucket, Key="output/c.json", Body=b"{}")

    letter = sandbox.received(dead_url)
    attributes = {name: value["StringValue"] for name, value in letter["MessageAttributes"].items()}
    assert attributes["RULE_ARN"] == rule
    assert attributes["ERROR_CODE"] == "NO_PERMISSIONS"
    assert json.loads(letter["Body"])["detail"]["object"]["key"] == "input/a b.json"
    executions = sandbox.states.list_executions(stateMachineArn=machine)["executions"]
    assert [sandbox.ended(e["executionArn"])["output"]["object"]["key"] for e in executions] == ["input/a b.json"]


def test_rule_invokes_a_function_only_with_permission_and_with_retries(sandbox: Sandbox):
    url, arn = sandbox.queue()
    source = sandbox.name("test.source")
    function = sandbox.function("raise ValueError(event['detail']['n'])")
    rule = sandbox.rule({"source": [source]}, function, DeadLetterConfig={"Arn": arn})
    entry = {"Source": source, "DetailType": "Tried", "Detail": '{"n": 7}'}
    sandbox.client("events").put_events(Entries=[entry])
    refused = sandbox.received(url)
    assert refused["MessageAttributes"]["ERROR_CODE"]["StringValue"] == "NO_PERMISSIONS"

    client = sandbox.client("lambda")
    client.add_permission(
        FunctionName=function,
        StatementId="rule",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule,
    )
    client.put_function_event_invoke_config(
        FunctionName=function, MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    sandbox.client("events").put_events(Entries=[entry])
    failed = json.loads(sandbox.received(url)["Body"])
    assert failed["responsePayload"]["errorMessage"] == "7"


def test_put_events_in_aws_s_name_is_refused(sandbox: Sandbox):
    answer = sandbox.client("events").put_events(
        Entries=[{"Source": "aws.sagemaker", "DetailType": "x", "Detail": "{}"}]
    )
    assert answer["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"


@pytest.mark.parametrize(
    ("states", "end", "status", "error"),
    [
        ({"Bad": {"Type": "Fail", "Error": "ModelError", "Cause": "broken"}}, {}, "FAILED", "ModelError"),
        ({"Long": {"Type": "Wait", "Seconds": 60, "End": True}}, {"TimeoutSeconds": 1}, "TIMED_OUT", None),
        ({"Good": {"Type": "Pass", "End": True}}, {}, "SUCCEEDED", None),
    ],
)
def test_execution_status_change_is_published(sandbox: Sandbox, states, end, status, error):
    url, arn = sandbox.queue()
    machine = sandbox.machine(states, **end)
    sandbox.rule(
        {
            "source": ["aws.states"],
            "detail-type": ["Step Functions Execution Status Change"],
            "detail": {"stateMachineArn": [machine], "status": ["FAILED", "TIMED_OUT", "ABORTED", "SUCCEEDED"]},
        },
        arn,
    )
    execution_arn = sandbox.start(machine, {"run": 1})
    event = json.loads(sandbox.received(url)["Body"])
    detail = event["detail"]
    assert (detail["executionArn"], detail["status"], detail["error"]) == (execution_arn, status, error)
    assert json.loads(detail["input"]) == {"run": 1}
    assert event["resources"] == [execution_arn]


def test_messages_move_back_from_the_dead_letter_queue(sandbox: Sandbox):
    dead_url, dead_arn = sandbox.queue()
    url, arn = sandbox.queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1}))
    sqs = sandbox.client("sqs")
    sqs.send_message(QueueUrl=dead_url, MessageBody="again")
    task = sqs.start_message_move_task(SourceArn=dead_arn)
    assert sandbox.received(url)["Body"] == "again"
    moved = sqs.list_message_move_tasks(SourceArn=dead_arn)["Results"][0]
    assert (moved["Status"], moved["ApproximateNumberOfMessagesMoved"]) == ("COMPLETED", 1)
    assert task["TaskHandle"]
    with pytest.raises(sqs.exceptions.ClientError, match="Dead Letter Queue"):
        sqs.start_message_move_task(SourceArn=arn)
    assert arn == f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rpartition('/')[2]}"


def test_schedule_uses_its_role(sandbox: Sandbox):
    url, arn = sandbox.queue()
    send = [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn}]
    for statements, text in (([], "no"), (send, "yes")):
        sandbox.client("scheduler").create_schedule(
            Name=sandbox.name("schedule"),
            ScheduleExpression="at(2020-01-01T00:00:00)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": arn, "RoleArn": sandbox.role(statements, "scheduler"), "Input": json.dumps(text)},
        )
    assert sandbox.received(url)["Body"] == '"yes"'
