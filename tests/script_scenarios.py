"""What ops scripts are put through on a deployed application: a shop to work on, and what each script does to it.

A scenario takes the :class:`Shop` and raises :class:`Missing` when a script does not do what its users rely on. Each can
be repeated, also after it failed half-way. `CHANGES` are the writing scripts' work, by which plan and execution are
compared; `MISSED_BY` and `EXEMPT` are what :mod:`tests.permissions` wants to know of the scripts' roles.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.config import Config

from local.sandbox import STACK, Deployment
from local.scripts.calling import Stack
from tests.resources import (
    make_alarm,
    make_cluster,
    make_database,
    make_database_cluster,
    make_dead_letter_queue,
    make_role,
    make_service,
    make_target_group,
    policy,
    zipped,
)
from tests.scenarios import Missing
from watchfloor.approvals import Ask, Person, approval_id_of
from watchfloor.scripts import digest

Json = dict[str, Any]
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
# One name for all parts of the service, its cluster aside.
SHOP = "checkout"
CLUSTER = "shop"
WORKER = "orders-worker"
PATIENCE_SECONDS = 20
# Containers reach this machine at Docker's bridge.
PARAMETERS = {"ScriptAllowedNetworks": "127.0.0.0/8,172.16.0.0/12"}

# Fails while the variable says so, as a function does whose release was bad.
HANDLER = """
import os
def handler(event, context):
    if event.get("fail") or os.environ.get("BROKEN"):
        raise ValueError("order refused")
    return {"version": context.function_version, "total": 2 * event.get("price", 1)}
"""
MACHINE = {
    "StartAt": "Prepare",
    "States": {
        "Prepare": {"Type": "Pass", "Next": "Order"},
        "Order": {"Type": "Task", "Resource": "", "End": True},
    },
}


@dataclass(frozen=True)
class Answered:
    """A script's answer, its body read."""

    status_code: int
    body: Json

    @property
    def result(self) -> Json:
        return self.body["result"]

    @property
    def planned_calls(self) -> list[Json]:
        return self.result["planned_calls"]

    def done(self) -> Json:
        """The result; Missing unless the script did what it was asked for."""
        if self.status_code != 200:
            raise Missing(f"{self.status_code}: {_short(self.body.get('error', {}).get('message', ''))}")
        return self.result


class Shop:
    """A service made of all that scripts know, on a deployed application; its parts are made when first used."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        client = deployment.client
        self.ecs, self.lambda_, self.iam = client("ecs"), client("lambda"), client("iam")
        self.sqs, self.sfn, self.cloudwatch = client("sqs"), client("stepfunctions"), client("cloudwatch")
        self.scheduler, self.scaling = client("scheduler"), client("application-autoscaling")
        self.s3, self.bucket = client("s3"), deployment.bucket
        # Scripts may take their time, and a call must not be made twice.
        patient = Config(read_timeout=900, retries={"total_max_attempts": 1})
        self._invoker = deployment.cloud.session().client("lambda", config=patient)
        self._numbers = itertools.count(1)

    def call(self, script: str, parameters: Json, **controls: Any) -> Answered:
        """Call a script's function; `controls` are dry_run, requested_by, approval_id."""
        event = {"parameters": parameters, "requested_by": "tester", **controls}
        answer = self._invoker.invoke(FunctionName=script, Payload=json.dumps(event))
        payload = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise Missing(f"{script} failed: {_short(payload.get('errorMessage', ''))}")
        return Answered(payload["statusCode"], json.loads(payload["body"]))

    def name(self, prefix: str) -> str:
        return f"{prefix}-{next(self._numbers)}-{uuid.uuid4().hex[:6]}"

    def until(self, found: Callable[[], Any], complaint: str) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (answer := found()):
            if time.monotonic() > deadline:
                raise Missing(complaint)
            time.sleep(0.1)
        return answer

    # --- parts

    def role(self, service: str) -> str:
        name = self.name("shop-role")
        role = make_role(self.iam, name, service)
        anything = {"Effect": "Allow", "Action": ["lambda:InvokeFunction", "logs:*"], "Resource": "*"}
        self.iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=policy(anything))
        return role

    @cache  # noqa: B019 - a shop lives as long as its cloud
    def service(self) -> Json:
        """The ECS service, with two tasks and the circuit breaker on."""
        make_cluster(self.ecs, CLUSTER, SHOP)
        breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
        make_service(self.ecs, CLUSTER, SHOP, deploymentConfiguration=breaker)
        self.scaling.register_scalable_target(
            ServiceNamespace="ecs",
            ResourceId=f"service/{CLUSTER}/{SHOP}",
            ScalableDimension="ecs:service:DesiredCount",
            MinCapacity=1,
            MaxCapacity=6,
        )
        return {"service_name": SHOP, "cluster": CLUSTER}

    def described(self) -> Json:
        return self.ecs.describe_services(cluster=CLUSTER, services=[SHOP])["services"][0]

    def deployment_id(self) -> str:
        return next(row["id"] for row in self.described()["deployments"] if row["status"] == "PRIMARY")

    def steady(self) -> Json:
        """The service, once no deployment goes on."""
        self.service()

        def look() -> Json | None:
            service = self.described()
            goes_on = any(row["rolloutState"] == "IN_PROGRESS" for row in service["deployments"])
            return None if goes_on else service

        return self.until(look, "the service does not become steady")

    @cache  # noqa: B019
    def function(self) -> str:
        """The function, with three published versions and the alias `live` on the last."""
        self._make_function(SHOP)
        for number in "123":
            self.lambda_.update_function_code(FunctionName=SHOP, **_code(number), Publish=True)
        self.lambda_.create_alias(FunctionName=SHOP, Name="live", FunctionVersion="3")
        for version in ("2", "3"):
            self.until(lambda v=version: self._is_active(SHOP, v), f"version {version} is pending")  # type: ignore[misc]
        return SHOP

    @cache  # noqa: B019
    def worker(self) -> str:
        """The function that fails now and then."""
        self._make_function(WORKER)
        return WORKER

    def _make_function(self, name: str) -> None:
        self.lambda_.create_function(
            FunctionName=name, Runtime=RUNTIME, Handler="app.handler", Role=self.role("lambda"), Code=_code("0")
        )
        self.until(lambda: self._is_active(name, "$LATEST"), f"{name} is pending")

    def _is_active(self, name: str, version: str) -> bool:
        return self.lambda_.get_function_configuration(FunctionName=name, Qualifier=version)["State"] == "Active"

    def alias(self) -> Json:
        return self.lambda_.get_alias(FunctionName=self.function(), Name="live")

    def released(self, version: str = "3", **weights: float) -> None:
        """The alias leads to this version, and part of it to others."""
        self.lambda_.update_alias(
            FunctionName=self.function(),
            Name="live",
            FunctionVersion=version,
            RoutingConfig={
                "AdditionalVersionWeights": {key.removeprefix("v"): share for key, share in weights.items()}
            },
        )

    def broken(self, *, is_broken: bool) -> None:
        variables = {"BROKEN": "yes"} if is_broken else {}
        self.lambda_.update_function_configuration(FunctionName=self.worker(), Environment={"Variables": variables})
        look = lambda: self.lambda_.get_function_configuration(FunctionName=WORKER)["LastUpdateStatus"]
        self.until(lambda: look() == "Successful", "the function is not updated")

    @cache  # noqa: B019
    def queues(self) -> tuple[str, str]:
        """URLs of the queue and of its dead-letter queue."""
        return make_dead_letter_queue(self.sqs, f"{SHOP}-failed", SHOP)

    def fill(self, count: int = 3) -> None:
        """So many messages in the dead-letter queue, and none in the other."""
        self.sqs.purge_queue(QueueUrl=self.queues()[0])
        self.sqs.purge_queue(QueueUrl=self.queues()[1])
        for number in range(count):
            self.sqs.send_message(QueueUrl=self.queues()[1], MessageBody=json.dumps({"order": number}))

    def waiting(self, url: str) -> int:
        count = "ApproximateNumberOfMessages"
        return int(self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[count])["Attributes"][count])

    @cache  # noqa: B019
    def machine(self) -> str:
        """A state machine whose second state calls the function."""
        arn = self.lambda_.get_function_configuration(FunctionName=self.worker())["FunctionArn"]
        definition = json.loads(json.dumps(MACHINE))
        definition["States"]["Order"]["Resource"] = arn
        return self.sfn.create_state_machine(name=SHOP, definition=json.dumps(definition), roleArn=self.role("states"))[
            "stateMachineArn"
        ]

    def failed_execution(self) -> str:
        """An execution that failed, though it would not fail again."""
        self.broken(is_broken=True)
        try:
            arn = self.sfn.start_execution(
                stateMachineArn=self.machine(), name=self.name("order"), input='{"price": 4}'
            )["executionArn"]
            self.ended(arn)
        finally:
            self.broken(is_broken=False)
        return arn

    def last_execution(self, machine: str) -> str:
        return self.sfn.list_executions(stateMachineArn=machine, maxResults=1)["executions"][0]["executionArn"]

    def is_asked(self, arn: str, approval_id: str) -> bool:
        """Whether the machine waits for people; Missing where it ended before."""
        execution = self.sfn.describe_execution(executionArn=arn)
        if execution["status"] != "RUNNING":
            told = json.loads(execution.get("output") or "{}")
            raise Missing(f"nobody was asked: {_short(str(told.get('error') or execution.get('error')))}")
        row = self.deployment.table("ApprovalTableName").get_item(Key={"approval_id": approval_id}).get("Item", {})
        return "message_ts" in row

    def ended(self, arn: str) -> Json:
        def look() -> Json | None:
            execution = self.sfn.describe_execution(executionArn=arn)
            return None if execution["status"] == "RUNNING" else execution

        return self.until(look, "the execution does not end")

    @cache  # noqa: B019
    def alarm(self) -> str:
        name = f"{SHOP}-errors"
        topic = self.deployment.outputs["AlertTopicArn"]
        make_alarm(self.cloudwatch, name, TreatMissingData="notBreaching", AlarmActions=[topic])
        return name

    def rings(self) -> bool:
        return self.cloudwatch.describe_alarms(AlarmNames=[self.alarm()])["MetricAlarms"][0]["ActionsEnabled"]

    def schedules(self) -> list[str]:
        """Names of the ends of silences that are to come."""
        return [row["Name"] for row in self.scheduler.list_schedules()["Schedules"] if "-silence-" in row["Name"]]

    def loud(self) -> str:
        """The alarm, not silent."""
        self.cloudwatch.enable_alarm_actions(AlarmNames=[self.alarm()])
        for name in self.schedules():
            self.scheduler.delete_schedule(Name=name)
        return self.alarm()

    @cache  # noqa: B019
    def targets(self) -> str:
        """A target group by the service's name, with one target that answers: the local cloud itself."""
        elb = self.deployment.client("elbv2")
        arn = make_target_group(elb, SHOP)
        port = int(self.deployment.cloud.endpoint_url.rpartition(":")[2])
        elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": "127.0.0.1", "Port": port}])
        return arn

    @cache  # noqa: B019
    def database(self) -> str:
        """A database that belongs to the service by its tag only."""
        name = f"{SHOP}-db"
        tags = [{"Key": "service", "Value": SHOP}]
        make_database(self.deployment.client("rds"), name, EnablePerformanceInsights=True, Tags=tags)
        return name

    @cache  # noqa: B019
    def log_group(self) -> str:
        """A log group of a name without a slash, with an error in it."""
        logs, name = self.deployment.client("logs"), "orders"
        logs.create_log_group(logGroupName=name)
        logs.create_log_stream(logGroupName=name, logStreamName="one")
        event = {"timestamp": int(time.time() * 1000), "message": "[ERROR] ValueError: order refused"}
        logs.put_log_events(logGroupName=name, logStreamName="one", logEvents=[event])
        return name

    @cache  # noqa: B019
    def cluster(self) -> str:
        """A database cluster with one instance."""
        name = f"{SHOP}-cluster"
        make_database_cluster(self.deployment.client("rds"), name)
        return name

    @property
    def site(self) -> str:
        """Something that answers requests."""
        return self.deployment.cloud.twins["jira"]

    def approval(self, script: str, parameters: Json) -> str:
        """What somebody else gives who has seen the plan: the id of an approval."""
        planned = self.call(script, parameters, dry_run=True)
        if planned.status_code != 202:
            raise Missing(f"{planned.status_code}: {_short(planned.body['error']['message'])}")
        approval_id = uuid.uuid4().hex
        self.deployment.table("ApprovalTableName").put_item(
            Item={
                "approval_id": approval_id,
                "script": script,
                "digest": digest(parameters),
                "status": "approved",
                "valid_until": int(time.time()) + 600,
                "calls": json.dumps(planned.planned_calls),
                "version": 1,
            }
        )
        return approval_id


_shops: dict[str, Shop] = {}


def shop(deployment: Deployment) -> Shop:
    """The one shop of a deployment, whoever asks for it."""
    return _shops.setdefault(deployment.cloud.endpoint_url, Shop(deployment))


# --- testing ----------------------------------------------------------------------------------------------------------

SUITE = """
base_url: {site}
secrets: {{key: {{secret: {secret}, key: token}}}}
requests:
  - {{name: page, path: /_twin_page, headers: {{X-Key: "${{key}}"}}, expect: {{status: [200, 401, 404]}}}}
  - {{name: order, method: POST, path: /orders, json: {{price: 4}}, expect: {{status: [401, 404, 405]}}}}
"""


def endpoint_tested(place: Shop) -> None:
    result = place.call("test-endpoint", {"url": f"{place.site}/_twin/faults"}).done()
    if result["status"] != 200:
        raise Missing(f"the endpoint answered {result['status']}")


def suite_tested(place: Shop) -> None:
    result = place.call("test-integration", suite(place)).done()
    if (result["passed"], result["failed"]) != (2, 0):
        raise Missing(f"{result['passed']} requests passed")


def suite(place: Shop, site: str = "") -> Json:
    """A suite with a secret, in the data bucket."""
    secret = f"{STACK}/tests/shop"
    manager = place.deployment.client("secretsmanager")
    try:
        manager.create_secret(Name=secret, SecretString='{"token": "not-a-secret"}')
    except manager.exceptions.ResourceExistsException:
        pass
    text = SUITE.format(site=site or place.site, secret=secret)
    place.s3.put_object(Bucket=place.bucket, Key=f"config/tests/{SHOP}/smoke.yaml", Body=text)
    return {"service_name": SHOP, "test_suite": "smoke"}


def function_tested(place: Shop) -> None:
    result = place.call("test-lambda", order(place)).done()
    if result["executed_version"] != place.alias()["FunctionVersion"]:
        raise Missing(f"version {result['executed_version']} answered")


def order(place: Shop) -> Json:
    """An event in the data bucket, and what the function is to answer to it."""
    place.s3.put_object(Bucket=place.bucket, Key=f"config/tests/{SHOP}/order.json", Body='{"price": 4}')
    checks = [{"path": "$.total", "equals": 8}]
    return {
        "function_name": place.function(),
        "qualifier": "live",
        "event_name": f"{SHOP}/order.json",
        "checks": checks,
    }


def queue_tested(place: Shop) -> None:
    """With a message of somebody else's in the queue, which is still there afterwards."""
    url = place.sqs.create_queue(QueueName=f"{SHOP}-roundtrip")["QueueUrl"]
    place.sqs.purge_queue(QueueUrl=url)
    place.sqs.send_message(QueueUrl=url, MessageBody="somebody's")
    place.call("test-queue-roundtrip", {"queue_name": f"{SHOP}-roundtrip", "wait_seconds": 10}).done()
    if place.waiting(url) != 1:
        raise Missing(f"{place.waiting(url)} messages are there afterwards")


# --- debugging --------------------------------------------------------------------------------------------------------


def logs_asked(place: Shop) -> None:
    """Of a function, and of a log group of any name."""
    _fail_once(place)
    for where in ({"function_name": WORKER}, {"log_groups": [place.log_group()]}):
        question = {**where, "contains": "order refused"}
        # A line can be found some moments after it was written.
        place.until(lambda q=question: place.call("debug-logs", q).done()["rows"], "no line was found")  # type: ignore[misc]


def long_query_stopped(place: Shop) -> None:
    """A query that scans more than it may is stopped, for it is paid by that."""
    _fail_once(place)
    result = place.call("debug-logs", {"function_name": WORKER, "max_gigabytes": 1e-9}).done()
    if "stopped before its end" not in result["findings"][0]:
        raise Missing(f"the query was not stopped: {result['findings']}")


def errors_asked(place: Shop) -> None:
    _fail_once(place)
    for where in ({"function_name": WORKER}, {"log_groups": [place.log_group()]}):
        result = place.call("debug-errors", where).done()
        if not any("ValueError" in json.dumps(group) for group in result["groups"]):
            raise Missing(f"the error was not found in {where}")


def execution_explained(place: Shop) -> None:
    arn = place.failed_execution()
    result = place.call("debug-execution", {"state_machine_name": SHOP}).done()
    if result["execution_arn"] != arn or "Order" not in json.dumps(result["findings"]):
        raise Missing("the failure was not found")


def queue_looked_at(place: Shop) -> None:
    place.fill(2)
    result = place.call("debug-queue", {"queue_name": f"{SHOP}-failed", "sample": 2}).done()
    if result["visible"] != 2 or not result["sample"]:
        raise Missing("the messages were not shown")
    if SHOP not in json.dumps(result["dead_letters_of"]):
        raise Missing("the queue it belongs to was not found")


def permission_explained(place: Shop) -> None:
    """Of a role, and of a user who has theirs from a group too."""
    role, user = principals(place)
    for principal in (role, user):
        question = {"principal": principal, "actions": ["s3:GetObject"], "resource": "arn:aws:s3:::shop/orders"}
        result = place.call("debug-permissions", question).done()
        if not result["decisions"][0]["is_allowed"]:
            raise Missing(f"{principal}: {result['findings']}")
        if len(result["policies_read"]) < 2:
            raise Missing(f"of {principal} only {result['policies_read']} were read")


@cache
def principals(place: Shop) -> tuple[str, str]:
    """A role and a user with inline and managed policies, the user's group with them too."""
    iam, name = place.iam, place.name("shop")
    read = policy({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"})
    managed = iam.create_policy(PolicyName=name, PolicyDocument=read)["Policy"]["Arn"]
    role = place.role("lambda").rpartition("/")[2]
    for arn in (managed, "arn:aws:iam::aws:policy/ReadOnlyAccess"):
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=read)
    iam.attach_user_policy(UserName=name, PolicyArn=managed)
    iam.create_group(GroupName=name)
    iam.put_group_policy(GroupName=name, PolicyName="inline", PolicyDocument=read)
    iam.attach_group_policy(GroupName=name, PolicyArn=managed)
    iam.add_user_to_group(GroupName=name, UserName=name)
    return f"role/{role}", f"user/{name}"


def database_looked_at(place: Shop) -> None:
    for kind, name in (("instance", place.database()), ("cluster", place.cluster())):
        result = place.call("debug-database", {"database": name, "kind": kind}).done()
        if not result["instances"]:
            raise Missing(f"no instance of the {kind} was found")


def _fail_once(place: Shop) -> None:
    """The function fails, and its log says so."""
    place.lambda_.invoke(FunctionName=place.worker(), Payload=b'{"fail": true}')


# --- on call --------------------------------------------------------------------------------------------------------


def service_health(place: Shop) -> None:
    """Every kind of part is found, and all are well."""
    place.steady(), place.alarm(), place.targets(), place.database(), place.function()
    place.lambda_.invoke(FunctionName=SHOP, Payload=b"{}")
    result = place.call("oncall-service-health", place.service()).done()
    kinds = {part["kind"] for part in result["parts"] if part["verdict"] != "unknown"}
    if kinds != {"ECS service", "Lambda function", "target group", "RDS instance", "alarm"}:
        raise Missing(f"only {', '.join(sorted(kinds))} found")
    if result["verdict"] != "healthy":
        raise Missing(f"{result['verdict']}: {result['reasons']}")


def service_restarted(place: Shop) -> None:
    place.steady()
    before = place.deployment_id()
    result = place.call("oncall-restart-service", place.service()).done()
    if place.deployment_id() == before or result["deployment_id"] != place.deployment_id():
        raise Missing("there is no new deployment")
    if not result["is_stable"]:
        raise Missing("the service is not stable")


def service_scaled(place: Shop) -> None:
    place.steady()
    count = 3 if place.described()["desiredCount"] == 2 else 2
    result = place.call("oncall-scale-service", {**place.service(), "desired_count": count}).done()
    if "between 1 and 6" not in (result["autoscaling"] or ""):
        raise Missing("automatic scaling was not looked at")
    if place.described()["runningCount"] != count:
        raise Missing(f"{place.described()['runningCount']} tasks run, not {count}")


def concurrency_reserved(place: Shop) -> None:
    name = place.function()
    before = place.lambda_.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions", 20)
    place.call("oncall-scale-service", {"function_name": name, "reserved_concurrency": before + 1}).done()
    after = place.lambda_.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"]
    place.lambda_.delete_function_concurrency(FunctionName=name)
    if after != before + 1:
        raise Missing(f"{after} are reserved")


def concurrency_provisioned(place: Shop) -> None:
    where = {"FunctionName": place.function(), "Qualifier": "live"}
    place.lambda_.delete_provisioned_concurrency_config(**where)
    place.call("oncall-scale-service", {"function_name": SHOP, "alias": "live", "provisioned_concurrency": 2}).done()
    found = place.lambda_.get_provisioned_concurrency_config(**where)
    place.lambda_.delete_provisioned_concurrency_config(**where)
    if (found["Status"], found["AvailableProvisionedConcurrentExecutions"]) != ("READY", 2):
        raise Missing(f"provisioned: {found['Status']}")


def function_rolled_back(place: Shop) -> None:
    place.released("3")
    event = {"function_name": SHOP, "alias": "live"}
    place.call("oncall-rollback-lambda", event, approval_id=place.approval("oncall-rollback-lambda", event)).done()
    if place.alias()["FunctionVersion"] != "2":
        raise Missing(f"the alias leads to {place.alias()['FunctionVersion']}")


def script_approved(place: Shop) -> None:
    """A dangerous script is asked for, somebody else approves, it runs, and how it ended is told."""
    place.released("3")
    stack = Stack(place.deployment, STACK)
    parameters = {"function_name": SHOP, "alias": "live"}
    with stack.ask(Ask("oncall-rollback-lambda", parameters, "alice", "checkout fails")) as (approval_id, _):
        arn = place.last_execution(place.deployment.outputs["ScriptApprovalArn"])
        place.until(lambda: place.is_asked(arn, approval_id), "nobody was asked")
        decided = stack.decide(approval_id, "approved", "ben")
        if decided.get("status") != "approved":
            raise Missing(f"not decided: {_short(str(decided.get('error')))}")
        execution = place.ended(arn)
    if execution["status"] != "SUCCEEDED":
        raise Missing(f"the machine {execution['status']}: {execution.get('error')}")
    outcome = json.loads(execution["output"])
    if outcome["decision"] != "approved" or place.alias()["FunctionVersion"] != "2":
        raise Missing(f"{outcome['decision']}: {_short(str(outcome.get('error')))}")


def asked_again_after_the_decision(place: Shop) -> None:
    """A task that asks once more, its first question answered meanwhile, hears the answer."""
    script_approved(place)
    machine, table = place.deployment.outputs["ScriptApprovalArn"], place.deployment.table("ApprovalTableName")
    last = place.last_execution(machine)
    answered = table.get_item(Key={"approval_id": approval_id_of(last)})["Item"]
    arn = f"{last.rpartition(':')[0]}:{place.name('again')}"
    place.released("3")
    parameters = {"function_name": SHOP, "alias": "live"}
    planned = place.call("oncall-rollback-lambda", parameters, dry_run=True).planned_calls
    question = {
        "approval_id": approval_id_of(arn),
        "digest": digest(parameters),
        "requester": json.dumps(Person(("alice",)).to_dict()),
        "calls": json.dumps(planned),
        "status": "refused",
    }
    table.put_item(Item={**answered, **question})
    given = {"script": "oncall-rollback-lambda", "requested_by": "alice", "reason": "again", "parameters": parameters}
    place.sfn.start_execution(stateMachineArn=machine, name=arn.rpartition(":")[2], input=json.dumps(given))
    outcome = json.loads(place.ended(arn).get("output") or "{}")
    if outcome.get("decision") != "refused":
        raise Missing(f"{outcome.get('decision')}: {_short(str(outcome.get('error')))}")


def queue_redriven(place: Shop) -> None:
    place.fill(3)
    result = place.call("oncall-redrive-queue", {"queue_name": f"{SHOP}-failed"}).done()
    queue, dead = place.queues()
    if (result["moved_count"], place.waiting(queue), place.waiting(dead)) != (3, 3, 0):
        raise Missing(f"{result['moved_count']} moved, {place.waiting(queue)} there")


def execution_redriven(place: Shop) -> None:
    arn = place.failed_execution()
    result = place.call("oncall-rerun-execution", {"execution_arn": arn}).done()
    if (result["how"], place.ended(arn)["status"]) != ("redriven", "SUCCEEDED"):
        raise Missing(f"{result['how']}, {place.ended(arn)['status']}")


def execution_restarted(place: Shop) -> None:
    arn = place.failed_execution()
    result = place.call("oncall-rerun-execution", {"execution_arn": arn, "mode": "restart"}).done()
    again = place.ended(result["running_as"])
    if (again["status"], again["input"]) != ("SUCCEEDED", '{"price": 4}'):
        raise Missing(f"the new execution {again['status']}")


def alarm_silenced(place: Shop) -> None:
    place.call("oncall-silence-alarm", _silence(place.loud(), 60)).done()
    if place.rings() or len(place.schedules()) != 1:
        raise Missing(f"the alarm's actions are {'on' if place.rings() else 'off without an end'}")
    place.loud()


def silence_extended(place: Shop) -> None:
    first = place.call("oncall-silence-alarm", _silence(place.loud(), 5)).done()["silent_until"]
    result = place.call("oncall-silence-alarm", _silence(place.alarm(), 60)).done()
    (name,) = place.schedules()
    if not result["extended"] or place.scheduler.get_schedule(Name=name)["ScheduleExpression"] <= f"at({first})":
        raise Missing("the end was not moved")
    place.loud()


def silence_ended_by_hand(place: Shop) -> None:
    place.call("oncall-silence-alarm", _silence(place.loud(), 60)).done()
    place.call("oncall-silence-alarm", _silence(place.alarm(), 0)).done()
    if not place.rings() or place.schedules():
        raise Missing("the silence did not end")


def silence_ends_by_itself(place: Shop) -> None:
    """Its end is moved to now, by hand, for nobody wants to wait."""
    place.call("oncall-silence-alarm", _silence(place.loud(), 60)).done()
    hasten(place)
    place.until(lambda: not place.schedules(), "the end does not come")
    if not place.rings():
        raise Missing("the alarm's actions did not come back")


def hasten(place: Shop) -> None:
    """Let a silence end now."""
    (name,) = place.schedules()
    schedule = place.scheduler.get_schedule(Name=name)
    now = time.strftime("at(%Y-%m-%dT%H:%M:%S)", time.gmtime())
    kept = ("Name", "FlexibleTimeWindow", "Target", "ActionAfterCompletion")
    place.scheduler.update_schedule(**{name: schedule[name] for name in kept}, ScheduleExpression=now)


def _silence(alarm: str, minutes: int) -> Json:
    return {"alarm_name": alarm, "minutes": minutes, "reason": "database upgrade"}


# --- writing scripts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One way to have a writing script change something.

    Attributes
    ----------
    prepare
        Makes what it needs, and gives its parameters.
    needs_approval
        Whether it runs only with one.
    leaves_traces
        Whether the local cloud is another afterwards; a test may change something elsewhere, or clean up behind itself.
    """

    script: str
    title: str
    prepare: Callable[[Shop], Json]
    needs_approval: bool = False
    leaves_traces: bool = True

    def __str__(self) -> str:
        return f"{self.script}: {self.title}"


def _restart(place: Shop) -> Json:
    place.steady()
    return place.service()


def _scale(place: Shop) -> Json:
    return {**place.service(), "desired_count": 3 if place.steady()["desiredCount"] == 2 else 2}


def _reserve(place: Shop) -> Json:
    place.lambda_.delete_function_concurrency(FunctionName=place.function())
    return {"function_name": SHOP, "reserved_concurrency": 11}


def _provision(place: Shop) -> Json:
    place.lambda_.delete_provisioned_concurrency_config(FunctionName=place.function(), Qualifier="live")
    return {"function_name": SHOP, "alias": "live", "provisioned_concurrency": 1}


def _roll_back(place: Shop) -> Json:
    place.released("3")
    return {"function_name": SHOP, "alias": "live"}


def _end_of_canary(place: Shop) -> Json:
    place.released("2", v3=0.1)
    return {"function_name": SHOP, "alias": "live"}


def _redrive(place: Shop) -> Json:
    place.fill(4)
    return {"queue_name": f"{SHOP}-failed", "max_per_second": 50}


def _elsewhere(place: Shop) -> Json:
    place.sqs.create_queue(QueueName=f"{SHOP}-elsewhere")
    place.fill(2)
    return {"queue_name": f"{SHOP}-failed", "to_queue_name": f"{SHOP}-elsewhere"}


def _roundtrip(place: Shop) -> Json:
    place.sqs.create_queue(QueueName=f"{SHOP}-quiet")
    return {"queue_name": f"{SHOP}-quiet", "wait_seconds": 10}


CHANGES = [
    Change("test-integration", "suite", suite, leaves_traces=False),
    Change("test-lambda", "call", order, leaves_traces=False),
    Change("test-queue-roundtrip", "round trip", _roundtrip, leaves_traces=False),
    Change("oncall-restart-service", "restart", _restart),
    Change("oncall-scale-service", "tasks", _scale),
    Change("oncall-scale-service", "reserved concurrency", _reserve),
    Change("oncall-scale-service", "provisioned concurrency", _provision),
    Change("oncall-rollback-lambda", "to the version before", _roll_back, needs_approval=True),
    Change("oncall-rollback-lambda", "end of a canary", _end_of_canary, needs_approval=True),
    Change("oncall-redrive-queue", "at a rate", _redrive),
    Change("oncall-redrive-queue", "to another queue", _elsewhere),
    Change("oncall-rerun-execution", "redrive", lambda place: {"execution_arn": place.failed_execution()}),
    Change(
        "oncall-rerun-execution",
        "restart",
        lambda place: {"execution_arn": place.failed_execution(), "mode": "restart"},
    ),
    Change("oncall-silence-alarm", "silence", lambda place: _silence(place.loud(), 60)),
]


# --- permissions ------------------------------------------------------------------------------------------------------

Scenario = Callable[[Shop], None]
SCENARIOS: list[Scenario] = [
    endpoint_tested,
    suite_tested,
    function_tested,
    queue_tested,
    logs_asked,
    long_query_stopped,
    errors_asked,
    execution_explained,
    queue_looked_at,
    permission_explained,
    database_looked_at,
    service_health,
    service_restarted,
    service_scaled,
    concurrency_reserved,
    concurrency_provisioned,
    function_rolled_back,
    script_approved,
    asked_again_after_the_decision,
    queue_redriven,
    execution_redriven,
    execution_restarted,
    alarm_silenced,
    silence_extended,
    silence_ended_by_hand,
    silence_ends_by_itself,
]
# Which scenario misses what: role, action, scenarios; the first line that fits counts.
MISSED_BY: list[tuple[str, str, tuple[Scenario, ...]]] = [
    ("RecordCall", "*", (alarm_silenced,)),
    ("UseApproval", "*", (function_rolled_back,)),
    ("TestEndpoint", "*", (endpoint_tested,)),
    ("TestIntegration", "*", (suite_tested,)),
    ("TestLambda", "*", (function_tested,)),
    ("TestQueueRoundtrip", "*", (queue_tested,)),
    ("DebugLogs", "logs:StopQuery", (long_query_stopped,)),
    ("DebugLogs", "*", (logs_asked,)),
    ("DebugErrors", "*", (errors_asked,)),
    ("DebugExecution", "*", (execution_explained,)),
    ("DebugQueue", "*", (queue_looked_at,)),
    ("DebugPermissions", "*", (permission_explained,)),
    ("DebugDatabase", "*", (database_looked_at,)),
    ("OncallServiceHealth", "*", (service_health,)),
    ("OncallRestartService", "*", (service_restarted,)),
    ("OncallScaleService", "lambda:*Provisioned*", (concurrency_provisioned,)),
    ("OncallScaleService", "lambda:*", (concurrency_reserved,)),
    ("OncallScaleService", "*", (service_scaled,)),
    ("OncallRollbackLambda", "*", (function_rolled_back,)),
    ("AskApproval", "states:*", (asked_again_after_the_decision,)),
    *((role, "*", (script_approved,)) for role in ("OpenApproval", "AskApproval", "DecideApproval", "ReportScript")),
    ("ScriptApproval", "lambda:*", (script_approved,)),
    ("OncallRedriveQueue", "*", (queue_redriven,)),
    ("OncallRerunExecution", "states:StartExecution", (execution_restarted,)),
    ("OncallRerunExecution", "*", (execution_redriven,)),
    ("OncallSilenceAlarm", "scheduler:UpdateSchedule", (silence_extended,)),
    ("OncallSilenceAlarm", "scheduler:DeleteSchedule", (silence_ended_by_hand,)),
    ("OncallSilenceAlarm", "cloudwatch:EnableAlarmActions", (silence_ended_by_hand,)),
    ("OncallSilenceAlarm", "*", (alarm_silenced, silence_extended, silence_ended_by_hand)),
    ("EndSilence", "*", (silence_ends_by_itself,)),
]
# What cannot be missed on the local cloud: role, action, resource, reason.
EXEMPT: list[tuple[str, str, str, str]] = [
    (
        "OncallRollbackLambda",
        "lambda:*",
        "*:function:*:*",
        "for names that do not end in *, which the tests' targets do",
    ),
    ("TestLambda", "lambda:*", "*:function:*:*", "for names that do not end in *, which the tests' targets do"),
    ("Debug*", "logs:*", "*:log-group:*/*:*", "for names that do not begin with *, which the tests' targets do"),
    ("DebugPermissions", "iam:*", "*:role/*/*", "for roles below a path, which the tests' are not"),
    ("DebugPermissions", "iam:*", "*:user/*/*", "for users below a path, which the tests' are not"),
]


def _code(number: str) -> Json:
    return {"ZipFile": zipped({"app.py": f"# release {number}\n{HANDLER}"})}


def _short(text: str) -> str:
    """The action an error speaks of, or its first words."""
    for words in ("may not do ", "not authorized to perform: "):
        _, found, rest = text.partition(words)
        if found:
            return f"not authorized: {rest.split(' on this', 1)[0].split(' on resource', 1)[0]}"
    return text.strip()[:110].replace("\n", " ")
