import json
import time

import pytest
from botocore.exceptions import ClientError

from local.cloud import ACCOUNT, REGION
from tests.integration.sandbox import RUNTIME, Sandbox, until
from tests.resources import make_alarm, zipped

LOGS = {"Effect": "Allow", "Action": "logs:*", "Resource": "*"}


def messages(sandbox: Sandbox, function_arn: str) -> list[str]:
    group = f"/aws/lambda/{function_arn.rpartition(':')[2]}"
    return [event["message"] for event in sandbox.client("logs").filter_log_events(logGroupName=group)["events"]]


def test_context_environment_and_result(sandbox: Sandbox):
    function = sandbox.function(
        """
        return [context.function_name, context.memory_limit_in_mb, context.aws_request_id,
                context.get_remaining_time_in_millis(), os.environ["SETTING"], os.environ["AWS_REGION"]]
        """,
        MemorySize=192,
        Environment={"Variables": {"SETTING": "on"}},
    )
    (name, memory, request_id, left, setting, region), error = sandbox.invoke(function)
    assert error is None
    assert (name, memory, setting, region) == (function.rpartition(":")[2], "192", "on", REGION)
    assert request_id
    assert 5_000 < left <= 10_000


def test_environment_is_kept_warm_after_an_error(sandbox: Sandbox):
    function = sandbox.function("if event == 'bad': raise KeyError('gone')\nreturn os.getpid()")
    first, _ = sandbox.invoke(function)
    error, kind = sandbox.invoke(function, "bad")
    assert (kind, error["errorType"]) == ("Unhandled", "KeyError")
    assert 'app.py", line' in error["stackTrace"][0]
    assert sandbox.invoke(function)[0] == first


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        ("time.sleep(20)", "Sandbox.Timedout"),
        ("held = bytearray(300_000_000)\ntime.sleep(5)", "Runtime.ExitError"),
        ("os._exit(3)", "Runtime.ExitError"),
        ("return {1, 2}", "Runtime.MarshalError"),
        ("return 'x' * 7_000_000", "Function.ResponseSizeTooLarge"),
    ],
)
def test_limits_and_bad_answers(sandbox: Sandbox, body, error_type):
    function = sandbox.function(body, Timeout=2, MemorySize=128)
    started = time.monotonic()
    answer, kind = sandbox.invoke(function)
    assert (kind, answer["errorType"]) == ("Unhandled", error_type)
    assert time.monotonic() - started < 4
    assert "REPORT RequestId" in messages(sandbox, function)[-1]


def test_function_sees_its_layers_and_boto3_and_no_more(sandbox: Sandbox):
    layer = sandbox.client("lambda").publish_layer_version(
        LayerName=sandbox.name("layer"), Content={"ZipFile": zipped({"python/shared.py": "ANSWER = 42"})}
    )["LayerVersionArn"]
    function = sandbox.function(
        """
        import boto3, shared
        try:
            import yaml
            return "yaml is there, though no layer brings it"
        except ImportError:
            return shared.ANSWER
        """,
        Layers=[layer],
    )
    assert sandbox.invoke(function) == (42, None)


@pytest.mark.parametrize(
    ("handler", "error_type"),
    [("missing.handler", "Runtime.ImportModuleError"), ("app.nothing", "Runtime.HandlerNotFound")],
)
def test_init_errors(sandbox: Sandbox, handler, error_type):
    function = sandbox.function("return 1")
    sandbox.client("lambda").update_function_configuration(FunctionName=function, Handler=handler)
    assert sandbox.invoke(function)[0]["errorType"] == error_type


def test_another_runtime_is_refused_with_advice(sandbox: Sandbox):
    function = sandbox.function("return 1")
    other = "python3.12" if RUNTIME != "python3.12" else "python3.13"
    sandbox.client("lambda").update_function_configuration(FunctionName=function, Runtime=other)
    answer, _ = sandbox.invoke(function)
    assert "local.deploy.build" in answer["errorMessage"]


def test_temporary_files_are_limited(sandbox: Sandbox):
    function = sandbox.function(
        """
        import tempfile
        with tempfile.TemporaryFile() as file:
            file.truncate(event)
        """
    )
    assert sandbox.invoke(function, 400_000_000)[1] is None
    assert sandbox.invoke(function, 600_000_000)[0]["errorType"] == "OSError"


def test_log_has_the_lines_and_the_memory(sandbox: Sandbox):
    function = sandbox.function(
        """
        import logging
        print("printed")
        logging.getLogger().warning("logged")
        os.write(2, b"without a newline")
        """
    )
    sandbox.invoke(function)
    lines = messages(sandbox, function)
    assert lines[0].startswith("START RequestId")
    assert "printed" in lines
    assert "without a newline" in lines
    assert any(line.startswith("[WARNING]") and line.endswith("logged") for line in lines)
    used = int(lines[-1].partition("Max Memory Used: ")[2].split()[0])
    assert 5 < used < 100


def test_no_log_without_permission(sandbox: Sandbox):
    function = sandbox.function("print('hello')", [])
    assert sandbox.invoke(function) == (None, None)
    with pytest.raises(ClientError, match="ResourceNotFound"):
        messages(sandbox, function)


def test_own_role_is_enforced(sandbox: Sandbox):
    bucket = sandbox.name("bucket")
    s3 = sandbox.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="in/a", Body=b"text")
    read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/in/*"}
    function = sandbox.function(
        f"""
        import boto3
        boto3.client("s3").get_object(Bucket={bucket!r}, Key=event)
        """,
        [read],
    )
    assert sandbox.invoke(function, "in/a")[1] is None
    assert "AccessDenied" in sandbox.invoke(function, "out/a")[0]["errorMessage"]


def test_bucket_policy_that_asks_for_tls_lets_the_local_cloud_in(sandbox: Sandbox):
    bucket = sandbox.name("bucket")
    s3 = sandbox.client("s3")
    s3.create_bucket(Bucket=bucket)
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    function = sandbox.function(
        f"""
        import boto3
        boto3.client("s3").put_object(Bucket={bucket!r}, Key="a", Body=b"")
        """
    )
    assert sandbox.invoke(function) == (None, None)


def test_embedded_metrics_reach_cloudwatch(sandbox: Sandbox):
    function = sandbox.function(
        """
        print(json.dumps({
            "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [
                {"Namespace": "Watch", "Dimensions": [["service"]], "Metrics": [{"Name": "Alerts", "Unit": "Count"}]}]},
            "service": "pipeline", "Alerts": [3, 4]}))
        """
    )
    sandbox.invoke(function)
    found = sandbox.client("cloudwatch").get_metric_statistics(
        Namespace="Watch",
        MetricName="Alerts",
        Dimensions=[{"Name": "service", "Value": "pipeline"}],
        StartTime=time.time() - 300,
        EndTime=time.time() + 60,
        Period=600,
        Statistics=["Sum"],
    )["Datapoints"]
    assert sum(point["Sum"] for point in found) == 7


def test_alarm_of_one_function_goes_to_sns_and_back(sandbox: Sandbox):
    url, queue_arn = sandbox.queue()
    sns = sandbox.client("sns")
    topic = sns.create_topic(Name=sandbox.name("topic"))["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
    bad, good = sandbox.function("1 / 0"), sandbox.function("return 1")
    alarms = {}
    for function in (bad, good):
        name = function.rpartition(":")[2]
        alarms[function] = f"{name}-errors"
        make_alarm(
            sandbox.client("cloudwatch"),
            alarms[function],
            Namespace="AWS/Lambda",
            MetricName="Errors",
            Dimensions=[{"Name": "FunctionName", "Value": name}],
            Period=3,
            TreatMissingData="notBreaching",
            AlarmActions=[topic],
        )
    # Not through the API, whose invocations MiniStack counts itself.
    work = {"Type": "Task", "Resource": bad, "End": True}
    sandbox.run(sandbox.machine({"Work": work}))
    sandbox.invoke(good)
    told = json.loads(json.loads(sandbox.received(url)["Body"])["Message"])
    assert (told["AlarmName"], told["NewStateValue"]) == (alarms[bad], "ALARM")

    def state(function):
        found = sandbox.client("cloudwatch").describe_alarms(AlarmNames=[alarms[function]])["MetricAlarms"]
        return found[0]["StateValue"]

    assert state(good) == "OK"
    until(lambda: state(bad) == "OK")


def test_asynchronous_failure_goes_to_the_destination(sandbox: Sandbox):
    url, arn = sandbox.queue()
    function = sandbox.function("1 / 0")
    client = sandbox.client("lambda")
    client.put_function_event_invoke_config(
        FunctionName=function, MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": arn}}
    )
    client.invoke(FunctionName=function, InvocationType="Event", Payload=b'{"n": 1}')
    letter = json.loads(sandbox.received(url)["Body"])
    assert letter["requestPayload"] == {"n": 1}
    assert letter["responsePayload"]["errorType"] == "ZeroDivisionError"


def test_subscription_filter_on_json(sandbox: Sandbox):
    url, _ = sandbox.queue()
    subscriber = sandbox.function(
        f"""
        import base64, boto3, gzip
        data = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
        boto3.client("sqs").send_message(QueueUrl={url!r}, MessageBody=json.dumps(data))
        """
    )
    sandbox.client("lambda").add_permission(
        FunctionName=subscriber, StatementId="logs", Action="lambda:InvokeFunction", Principal="logs.amazonaws.com"
    )
    logs = sandbox.client("logs")
    logs.create_log_group(logGroupName="/app")
    logs.create_log_stream(logGroupName="/app", logStreamName="s")
    logs.put_subscription_filter(
        logGroupName="/app",
        filterName="errors",
        filterPattern='{ ($.level = "ERROR" || $.status >= 500) && $.quiet NOT EXISTS }',
        destinationArn=subscriber,
    )
    lines = [{"level": "INFO"}, {"level": "ERROR", "n": 1}, {"level": "ERROR", "quiet": 1}, {"status": 503, "n": 2}]
    events = [{"timestamp": int(time.time() * 1000), "message": json.dumps(line)} for line in lines]
    logs.put_log_events(logGroupName="/app", logStreamName="s", logEvents=events)
    data = json.loads(sandbox.received(url)["Body"])
    assert [json.loads(event["message"])["n"] for event in data["logEvents"]] == [1, 2]
    assert data["owner"] == ACCOUNT
