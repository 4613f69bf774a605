"""What those on duty do to services: restart, scale, roll back, redrive, schedule, look at."""

import json
import socket
import time
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from local.cloud import ACCOUNT, REGION
from tests.integration.sandbox import RUNTIME, Sandbox, until
from tests.resources import make_alarm, make_cluster, make_service, make_target_group

BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


class Cluster:
    """A cluster with one service that runs."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ecs = sandbox.client("ecs")
        self.cluster, self.name = sandbox.name("cluster"), sandbox.name("web")
        make_cluster(self.ecs, self.cluster, self.name)
        tags = [{"key": "team", "value": "blue"}]
        make_service(self.ecs, self.cluster, self.name, deploymentConfiguration=BREAKER, tags=tags)

    def service(self):
        return self.ecs.describe_services(cluster=self.cluster, services=[self.name])["services"][0]

    def primary(self):
        return next(row for row in self.service()["deployments"] if row["status"] == "PRIMARY")

    def restart(self):
        return self.ecs.update_service(cluster=self.cluster, service=self.name, forceNewDeployment=True)["service"]

    @property
    def arn(self) -> str:
        return f"arn:aws:ecs:{REGION}:{ACCOUNT}:service/{self.cluster}/{self.name}"


@pytest.fixture
def cluster(sandbox: Sandbox) -> Iterator[Cluster]:
    yield Cluster(sandbox)
    sandbox.cloud.inject_faults(task=[])


def test_a_restarted_service_becomes_steady_after_a_while(cluster: Cluster):
    before = cluster.primary()["id"]
    deployments = cluster.restart()["deployments"]
    assert [row["rolloutState"] for row in deployments] == ["IN_PROGRESS", "COMPLETED"]
    until(lambda: cluster.primary()["rolloutState"] == "COMPLETED")
    assert cluster.primary()["id"] != before
    service = cluster.service()
    assert len(service["deployments"]) == 1
    assert service["runningCount"] == 2
    assert "has reached a steady state" in service["events"][0]["message"]


def test_tasks_that_stop_trigger_the_circuit_breaker_which_rolls_back(cluster: Cluster):
    before = cluster.primary()["id"]
    cluster.sandbox.cloud.inject_faults(task=[{"match": cluster.name, "times": 20, "kind": "stops"}])
    failing = cluster.restart()["deployments"][0]["id"]
    until(lambda: cluster.primary()["id"] == before)
    failed = next(row for row in cluster.service()["deployments"] if row["id"] == failing)
    assert (failed["rolloutState"], failed["failedTasks"]) == ("FAILED", 3)
    assert "circuit breaker" in failed["rolloutStateReason"]
    assert any("was unable to keep a task running" in row["message"] for row in cluster.service()["events"])


@pytest.mark.parametrize(
    ("resource", "condition", "allowed"),
    [
        ("service", {}, True),
        ("cluster", {}, False),
        ("service", {"StringEquals": {"aws:ResourceTag/team": "blue"}}, True),
        ("service", {"StringEquals": {"aws:ResourceTag/team": "red"}}, False),
    ],
)
def test_ecs_asks_for_permission_on_the_service(cluster: Cluster, resource, condition, allowed):
    arn = cluster.arn if resource == "service" else f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{cluster.cluster}"
    update = {"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": arn, "Condition": condition}
    restart = cluster.sandbox.function(
        f"""
        import boto3
        boto3.client("ecs").update_service(cluster={cluster.cluster!r}, service={cluster.name!r}, desiredCount=1)
        """,
        [update],
    )
    answer, error = cluster.sandbox.invoke(restart)
    assert (error is None) == allowed, answer


def test_resources_are_found_by_their_tag(cluster: Cluster):
    name = cluster.sandbox.name("team")
    cluster.ecs.tag_resource(resourceArn=cluster.arn, tags=[{"key": "service", "value": name}])
    alarm = cluster.sandbox.name("alarm")
    tags = [{"Key": "service", "Value": name}]
    make_alarm(cluster.sandbox.client("cloudwatch"), alarm, Tags=tags)
    group = make_target_group(cluster.sandbox.client("elbv2"), cluster.sandbox.name("group"), Tags=tags)
    tagging = cluster.sandbox.client("resourcegroupstaggingapi")
    found = tagging.get_resources(TagFilters=[{"Key": "service", "Values": [name]}])["ResourceTagMappingList"]
    alarm_arn = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{alarm}"
    assert {row["ResourceARN"] for row in found} == {cluster.arn, alarm_arn, group}


def test_targets_on_this_machine_are_connected_to(sandbox: Sandbox):
    elb = sandbox.client("elbv2")
    group = make_target_group(elb, sandbox.name("group"))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as closed:
        closed.bind(("127.0.0.2", 0))
        good, bad = server.getsockname()[1], closed.getsockname()[1]
        targets = [("127.0.0.1", good), ("127.0.0.2", bad), ("10.1.2.3", 80)]
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": host, "Port": port} for host, port in targets])
        found = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert {(row["Target"]["Id"], row["Target"]["Port"]): row["TargetHealth"]["State"] for row in found} == {
        ("127.0.0.1", good): "healthy",
        ("127.0.0.2", bad): "unhealthy",
        ("10.1.2.3", 80): "healthy",
    }


def test_scalable_target_bounds_are_kept(sandbox: Sandbox):
    scaling = sandbox.client("application-autoscaling")
    where = {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/default/{sandbox.name('web')}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    scaling.register_scalable_target(**where, MinCapacity=1, MaxCapacity=4)
    scaling.register_scalable_target(**where, MaxCapacity=6)
    (found,) = scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[where["ResourceId"]])[
        "ScalableTargets"
    ]
    assert (found["MinCapacity"], found["MaxCapacity"]) == (1, 6)
    assert found["SuspendedState"]["DynamicScalingOutSuspended"] is False
    with pytest.raises(ClientError, match="ValidationException"):
        scaling.register_scalable_target(**where, MinCapacity=7)
    scaling.deregister_scalable_target(**where)
    assert (
        scaling.describe_scalable_targets(ServiceNamespace="ecs", ResourceIds=[where["ResourceId"]])["ScalableTargets"]
        == []
    )


def published(sandbox: Sandbox) -> tuple[str, str]:
    """A function with one version and an alias on it: its name, the version."""
    name = sandbox.function("return 1").rpartition(":")[2]
    client = sandbox.client("lambda")
    version = client.publish_version(FunctionName=name)["Version"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    return name, version


def test_concurrency_within_the_account_s_limits(sandbox: Sandbox):
    name, version = published(sandbox)
    client = sandbox.client("lambda")
    with pytest.raises(ClientError, match="below its minimum value"):
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=950)
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)
    with pytest.raises(ClientError, match="unpublished function versions"):
        client.put_provisioned_concurrency_config(
            FunctionName=name, Qualifier="$LATEST", ProvisionedConcurrentExecutions=1
        )
    with pytest.raises(ClientError, match="greater than the reserved"):
        client.put_provisioned_concurrency_config(
            FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=6
        )
    asked = client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=2
    )
    assert (asked["Status"], asked["AllocatedProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 0)
    look = lambda: client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
    until(lambda: look()["Status"] == "READY")
    assert look()["AvailableProvisionedConcurrentExecutions"] == 2
    with pytest.raises(ClientError, match="provisioned concurrency"):
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    with pytest.raises(ClientError, match="Function not found"):
        client.update_alias(FunctionName=name, Name="live", FunctionVersion=str(int(version) + 7))


def test_stack_reserves_concurrency_and_gives_it_back(sandbox: Sandbox):
    stacks, client = sandbox.client("cloudformation"), sandbox.client("lambda")
    properties = {
        "FunctionName": "reserving",
        "Runtime": RUNTIME,
        "Handler": "index.handler",
        "Role": f"arn:aws:iam::{ACCOUNT}:role/any",
        "Code": {"ZipFile": "handler = lambda event, context: 1"},
    }

    def deploy(apply, **more) -> str:
        resource = {"Type": "AWS::Lambda::Function", "Properties": {**properties, **more}}
        apply(StackName="reserving", TemplateBody=json.dumps({"Resources": {"Reserving": resource}}))
        look = lambda: stacks.describe_stacks(StackName="reserving")["Stacks"][0]["StackStatus"]
        until(lambda: not look().endswith("IN_PROGRESS"))
        return look()

    reserved = lambda: client.get_function_concurrency(FunctionName="reserving").get("ReservedConcurrentExecutions")
    assert deploy(stacks.create_stack, ReservedConcurrentExecutions=20) == "CREATE_COMPLETE"
    assert reserved() == 20
    assert deploy(stacks.update_stack, ReservedConcurrentExecutions=7) == "UPDATE_COMPLETE"
    assert reserved() == 7
    assert deploy(stacks.update_stack, ReservedConcurrentExecutions=950) == "UPDATE_ROLLBACK_COMPLETE"
    assert deploy(stacks.update_stack, Description="free") == "UPDATE_COMPLETE"
    assert reserved() is None


@pytest.mark.parametrize(
    ("call", "action"),
    [
        ("get_alias(FunctionName=name, Name='live')", "lambda:GetAlias"),
        ("update_alias(FunctionName=name, Name='live', Description='d')", "lambda:UpdateAlias"),
        ("list_versions_by_function(FunctionName=name)", "lambda:ListVersionsByFunction"),
        ("get_function_concurrency(FunctionName=name)", "lambda:GetFunctionConcurrency"),
        (
            "put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)",
            "lambda:PutFunctionConcurrency",
        ),
        ("get_function_configuration(FunctionName=name)", "lambda:GetFunctionConfiguration"),
        ("invoke(FunctionName=name)", "lambda:InvokeFunction"),
        (
            "put_provisioned_concurrency_config(FunctionName=name, Qualifier='live', ProvisionedConcurrentExecutions=1)",
            "lambda:PutProvisionedConcurrencyConfig",
        ),
    ],
)
def test_lambda_asks_for_the_action_that_aws_asks_for(sandbox: Sandbox, call, action):
    name, _ = published(sandbox)
    body = f"""
    import boto3
    name = {name!r}
    boto3.client("lambda").{call}
    """
    other = {"Effect": "Allow", "NotAction": action, "Resource": "*"}
    answer, error = sandbox.invoke(sandbox.function(body, [other]))
    assert error, answer
    assert f"perform: {action} " in answer["errorMessage"]
    refused = [row["resource"] for row in sandbox.cloud.calls() if row["action"] == action and not row["allowed"]]
    qualified = ":live" if action.endswith("ConcurrencyConfig") else ""
    assert refused[-1] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}{qualified}"
    answer, error = sandbox.invoke(sandbox.function(body, [{"Effect": "Allow", "Action": action, "Resource": "*"}]))
    assert error is None, answer


@pytest.mark.parametrize(
    ("call", "action", "resource"),
    [
        (
            "client('iam').simulate_principal_policy(PolicySourceArn='arn:aws:iam::1:role/r', ActionNames=['s3:GetObject'])",
            "iam:SimulatePrincipalPolicy",
            "arn:aws:iam::1:role/r",
        ),
        (
            "client('rds').describe_db_parameters(DBParameterGroupName='default.postgres16')",
            "rds:DescribeDBParameters",
            f"arn:aws:rds:{REGION}:{ACCOUNT}:pg:default.postgres16",
        ),
        (
            "client('cloudwatch').disable_alarm_actions(AlarmNames=['a'])",
            "cloudwatch:DisableAlarmActions",
            f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:a",
        ),
        (
            "client('scheduler').get_schedule(Name='s', GroupName='g')",
            "scheduler:GetSchedule",
            f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/g/s",
        ),
        ("client('ecs').list_services(cluster='c')", "ecs:ListServices", "*"),
    ],
)
def test_iam_is_asked_for_the_resource_that_aws_asks_for(sandbox: Sandbox, call, action, resource):
    _, error = sandbox.invoke(sandbox.function(f"import boto3\nboto3.{call}", []))
    assert error
    asked = [row for row in sandbox.cloud.calls() if row["action"] == action]
    assert (asked[-1]["resource"], asked[-1]["allowed"]) == (resource, False)


def feeding_queues(sandbox: Sandbox, messages: int) -> tuple[str, str, str]:
    """A dead-letter queue with messages, and the queue it belongs to: ARN of the first, URL and ARN of the other."""
    dead_url, dead_arn = sandbox.queue()
    url, arn = sandbox.queue(RedrivePolicy=json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 1}))
    for number in range(messages):
        sandbox.client("sqs").send_message(QueueUrl=dead_url, MessageBody=str(number))
    return dead_arn, url, arn


def test_a_dead_letter_queue_names_the_queues_it_belongs_to(sandbox: Sandbox):
    dead_arn, url, _ = feeding_queues(sandbox, 0)
    sqs = sandbox.client("sqs")
    dead_url = sqs.get_queue_url(QueueName=dead_arn.rpartition(":")[2])["QueueUrl"]
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead_url)["queueUrls"] == [url]
    assert sqs.list_dead_letter_source_queues(QueueUrl=url).get("queueUrls", []) == []


def test_messages_move_at_the_rate_asked_for_and_the_move_can_be_stopped(sandbox: Sandbox):
    dead_arn, _, _ = feeding_queues(sandbox, 40)
    sqs = sandbox.client("sqs")
    task = sqs.start_message_move_task(SourceArn=dead_arn, MaxNumberOfMessagesPerSecond=20)["TaskHandle"]
    look = lambda: sqs.list_message_move_tasks(SourceArn=dead_arn)["Results"][0]
    until(lambda: look()["ApproximateNumberOfMessagesMoved"] > 2)
    assert (look()["Status"], look()["TaskHandle"]) == ("RUNNING", task)
    with pytest.raises(ClientError, match="Only one active task"):
        sqs.start_message_move_task(SourceArn=dead_arn)
    moved = sqs.cancel_message_move_task(TaskHandle=task)["ApproximateNumberOfMessagesMoved"]
    assert 2 < moved < 30
    assert look()["Status"] == "CANCELLED"
    assert "TaskHandle" not in look()


@pytest.mark.parametrize(
    "missing", ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:SendMessage"]
)
def test_a_move_is_made_with_the_permissions_of_its_caller(sandbox: Sandbox, missing):
    dead_arn, url, _ = feeding_queues(sandbox, 1)
    move = sandbox.function(
        f"import boto3\nboto3.client('sqs').start_message_move_task(SourceArn={dead_arn!r})",
        [{"Effect": "Allow", "NotAction": missing, "Resource": "*"}],
    )
    answer, error = sandbox.invoke(move)
    assert error, answer
    assert missing in answer["errorMessage"]
    time.sleep(0.3)
    assert "Messages" not in sandbox.client("sqs").receive_message(QueueUrl=url)


def test_one_time_schedule_calls_an_operation_with_its_role_and_goes(sandbox: Sandbox):
    alarm, cloudwatch, scheduler = sandbox.name("alarm"), sandbox.client("cloudwatch"), sandbox.client("scheduler")
    make_alarm(cloudwatch, alarm, ActionsEnabled=False)
    enable = {
        "Effect": "Allow",
        "Action": "cloudwatch:EnableAlarmActions",
        "Resource": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{alarm}",
    }
    enabled = lambda: cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"][0]["ActionsEnabled"]

    def schedule(name: str, role_arn: str) -> None:
        scheduler.create_schedule(
            Name=name,
            ScheduleExpression=time.strftime("at(%Y-%m-%dT%H:%M:%S)", time.gmtime()),
            FlexibleTimeWindow={"Mode": "OFF"},
            ActionAfterCompletion="DELETE",
            Target={
                "Arn": "arn:aws:scheduler:::aws-sdk:cloudwatch:enableAlarmActions",
                "RoleArn": role_arn,
                "Input": json.dumps({"AlarmNames": [alarm]}),
            },
        )
        until(lambda: name not in [row["Name"] for row in scheduler.list_schedules()["Schedules"]])

    with pytest.raises(ClientError, match="must allow AWS EventBridge Scheduler to assume the role"):
        schedule(sandbox.name("schedule"), sandbox.role([enable], "lambda"))
    schedule(sandbox.name("schedule"), sandbox.role([], "scheduler"))
    assert not enabled()
    # The same name again is another schedule, and due again.
    name = sandbox.name("schedule")
    for _ in range(2):
        cloudwatch.disable_alarm_actions(AlarmNames=[alarm])
        schedule(name, sandbox.role([enable], "scheduler"))
        assert enabled()


@pytest.mark.parametrize("missing", ["iam:PassRole", "scheduler:CreateSchedule"])
def test_a_schedule_takes_the_permission_to_pass_its_role(sandbox: Sandbox, missing):
    role_arn = sandbox.role([], "scheduler")
    make = sandbox.function(
        f"""
        import boto3
        boto3.client("scheduler").create_schedule(
            Name=event, ScheduleExpression="at(2099-01-01T00:00:00)", FlexibleTimeWindow={{"Mode": "OFF"}},
            Target={{"Arn": "arn:aws:scheduler:::aws-sdk:sqs:purgeQueue", "RoleArn": {role_arn!r}, "Input": "{{}}"}})
        """,
        [{"Effect": "Allow", "NotAction": missing, "Resource": "*"}],
    )
    answer, error = sandbox.invoke(make, sandbox.name("schedule"))
    assert error
    assert f"perform: {missing} " in answer["errorMessage"]


def test_an_alarm_whose_actions_are_off_tells_nobody(sandbox: Sandbox):
    url, arn = sandbox.queue()
    sns, cloudwatch, alarm = sandbox.client("sns"), sandbox.client("cloudwatch"), sandbox.name("alarm")
    topic = sns.create_topic(Name=sandbox.name("topic"))["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    make_alarm(cloudwatch, alarm, AlarmActions=[topic])
    cloudwatch.disable_alarm_actions(AlarmNames=[alarm])
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="drill")
    cloudwatch.enable_alarm_actions(AlarmNames=[alarm])
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="OK", StateReason="drill")
    cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="again")
    told = json.loads(json.loads(sandbox.received(url)["Body"])["Message"])
    assert told["NewStateReason"] == "again"


GATE = """
import boto3, json
found = boto3.client("s3").list_objects_v2(Bucket={bucket!r}, Prefix=event["gate"]).get("Contents")
boto3.client("s3").put_object(Bucket={bucket!r}, Key=event["step"] + "/" + context.aws_request_id, Body=b"")
if event["gate"] and not found: raise ValueError("closed")
return event["step"]
"""


def test_a_redriven_execution_goes_on_where_it_failed(sandbox: Sandbox):
    s3, bucket = sandbox.client("s3"), sandbox.name("bucket")
    s3.create_bucket(Bucket=bucket)
    function = sandbox.function(GATE.format(bucket=bucket))
    step = lambda name, gate="": {
        "Type": "Task",
        "Resource": function,
        "Parameters": {"step": name, "gate": gate},
        "ResultPath": f"$.{name}",
    }
    branch = lambda name, gate: {"StartAt": name, "States": {name: step(name, gate) | {"End": True}}}
    arn = sandbox.machine(
        {
            "First": step("first") | {"Next": "Both"},
            "Both": {
                "Type": "Parallel",
                "Branches": [branch("good", ""), branch("bad", "open")],
                "ResultPath": "$.both",
                "Next": "Last",
            },
            "Last": step("last") | {"End": True},
        }
    )
    failed = sandbox.run(arn, {"given": 1})
    states = sandbox.states
    described = states.describe_execution(executionArn=failed["executionArn"])
    assert (described["status"], described["redriveStatus"], described["redriveCount"]) == ("FAILED", "REDRIVABLE", 0)
    s3.put_object(Bucket=bucket, Key="open", Body=b"")
    states.redrive_execution(executionArn=failed["executionArn"])
    done = sandbox.ended(failed["executionArn"])
    assert (done["status"], done["redriveCount"], done["redriveStatus"]) == ("SUCCEEDED", 1, "NOT_REDRIVABLE")
    assert done["output"]["first"] == "first"
    assert [row.get("good") or row.get("bad") for row in done["output"]["both"]] == ["good", "bad"]
    count = lambda name: len(s3.list_objects_v2(Bucket=bucket, Prefix=f"{name}/").get("Contents", []))
    assert {name: count(name) for name in ("first", "bad", "last")} == {"first": 1, "bad": 2, "last": 1}
    # A branch that another one's failure cut off is run again, too.
    assert count("good") in (1, 2)
    assert [row["type"] for row in sandbox.history(failed["executionArn"])].count("ExecutionRedriven") == 1
    with pytest.raises(ClientError, match="is SUCCEEDED and cannot be redriven"):
        states.redrive_execution(executionArn=failed["executionArn"])


def test_calls_are_recorded_and_state_is_compared(sandbox: Sandbox):
    url, arn = sandbox.queue()
    function = sandbox.function(f"import boto3\nboto3.client('sqs').send_message(QueueUrl={url!r}, MessageBody='x')")
    role = sandbox.client("lambda").get_function_configuration(FunctionName=function)["Role"].rpartition("/")[2]
    # Alarms of other tests go on by the clock.
    held = lambda: {key: value for key, value in sandbox.cloud.state().items() if not key.startswith("cloudwatch/")}
    before = held()
    assert held() == before
    sandbox.invoke(function)
    mine = [row for row in sandbox.cloud.calls() if f"assumed-role/{role}/" in row["caller"]]
    assert [(row["action"], row["resource"], row["allowed"]) for row in mine] == [("sqs:SendMessage", arn, True)]
    after = held()
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert [key for key in changed if key.startswith("sqs/")]
