"""The scripts that test and debug, on the deployed application, IAM enforced: what they find is what is there."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
import uuid
from typing import Any

import pytest

from tests.e2e.pipeline import Pipeline
from tests.e2e.scripts import Scripts
from tests.resources import make_database, policy, trust
from tests.script_scenarios import SHOP, WORKER, Shop
from watchfloor.scripts import same_plan

Json = dict[str, Any]


@pytest.fixture(scope="module")
def scripts(pipeline: Pipeline) -> Scripts:
    return Scripts(pipeline)


@pytest.fixture(scope="module")
def shop(scripts: Scripts) -> Shop:
    return scripts.shop


# --- test- ----------------------------------------------------------------------------------------------------------


def test_endpoint_of_a_twin_is_tested_and_its_answer_compared(shop):
    url = f"{shop.site}/_twin/faults"
    answer = shop.call("test-endpoint", {"url": url, "json_checks": [{"path": "$.nothing", "exists": False}]})
    assert answer.status_code == 200, answer.body
    assert answer.result["timing"]["total_ms"] > 0
    answer = shop.call("test-endpoint", {"url": url, "status": [404], "body_contains": "no such text"})
    assert answer.status_code == 409
    assert [finding[:23] for finding in answer.body["error"]["details"]["findings"]] == [
        "the status should be 40",
        "the body should contain",
    ]


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://10.0.0.1/", "http://2852039166/"],
)
def test_endpoint_inside_the_account_is_refused(shop, url):
    assert shop.call("test-endpoint", {"url": url, "timeout_seconds": 3}).status_code == 403


def test_suite_of_the_bucket_is_run_and_its_failure_told(shop):
    suite = {
        "base_url": shop.site,
        "stop_at_failure": False,
        "requests": [
            {"name": "state", "path": "/_twin/faults", "expect": {"status": 200}},
            {"name": "nowhere", "method": "DELETE", "path": "/nowhere", "expect": {"status": 204}},
        ],
    }
    name = f"suite-{uuid.uuid4().hex[:8]}"
    shop.s3.put_object(Bucket=shop.bucket, Key=f"config/tests/{SHOP}/{name}.json", Body=json.dumps(suite))
    parameters = {"service_name": SHOP, "test_suite": name}
    planned = shop.call("test-integration", parameters, dry_run=True)
    assert [call["operation"] for call in planned.planned_calls] == ["DELETE"]
    answer = shop.call("test-integration", parameters)
    assert answer.status_code == 409
    details = answer.body["error"]["details"]
    assert (details["passed"], details["failed"]) == (1, 1)
    assert "nowhere: the status should be 204" in details["findings"][1]


def test_secret_of_another_name_is_not_read_for_a_suite(shop):
    secret = f"other-{uuid.uuid4().hex[:8]}"
    shop.deployment.client("secretsmanager").create_secret(Name=secret, SecretString="s3cret")
    suite = {"base_url": shop.site, "secrets": {"key": {"secret": secret}}, "requests": [{"name": "one"}]}
    shop.s3.put_object(Bucket=shop.bucket, Key=f"config/tests/{SHOP}/{secret}.json", Body=json.dumps(suite))
    assert shop.call("test-integration", {"service_name": SHOP, "test_suite": secret}).status_code == 403


def test_function_that_must_refuse_an_event_is_tested(shop):
    parameters = {"function_name": shop.worker(), "event": {"fail": True}, "expect_error": "ValueError"}
    answer = shop.call("test-lambda", parameters)
    assert answer.status_code == 200, answer.body
    assert answer.result["error"] == {"type": "ValueError", "message": "order refused"}
    assert any("order refused" in line for line in answer.result["log_tail"])
    assert shop.call("test-lambda", {**parameters, "event": {"price": 1}}).status_code == 409


def test_message_is_awaited_where_a_consumer_s_failure_sends_it(shop):
    """A message that a function fails on ends at the dead letter queue, and is found there."""
    name = f"consumed-{uuid.uuid4().hex[:8]}"
    dead = shop.sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    arn = shop.sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    url = shop.sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"})[
        "QueueUrl"
    ]

    def receive_in_vain() -> None:
        for _ in range(2):
            shop.sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)

    consumer = threading.Thread(target=receive_in_vain)
    consumer.start()
    answer = shop.call("test-queue-roundtrip", {"queue_name": name, "arrives_at": f"{name}-dead", "wait_seconds": 20})
    consumer.join()
    assert answer.status_code == 200, answer.body
    assert answer.body["changed"]
    assert shop.waiting(dead) == 0


# --- debug- ---------------------------------------------------------------------------------------------------------


def failed(shop: Shop, **event: Any) -> str:
    """A call of the function that failed; its request's id."""
    answer = shop.lambda_.invoke(FunctionName=shop.worker(), Payload=json.dumps({"fail": True, **event}))
    return str(answer["ResponseMetadata"]["HTTPHeaders"].get("x-amzn-requestid", ""))


def test_ready_made_questions_find_a_function_s_calls(shop):
    failed(shop)
    time.sleep(0.5)
    for question in ("lambda-errors", "lambda-memory", "lambda-durations", "lambda-slowest", "errors-by-stream"):
        answer = shop.call("debug-logs", {"function_name": WORKER, "question": question})
        assert answer.status_code == 200, answer.body
        assert answer.result["rows"], question
        assert answer.result["bytes_scanned"] > 0
    answer = shop.call("debug-logs", {"function_name": WORKER, "query": "stats count(*) as n by nothing |"})
    assert answer.status_code == 400
    assert shop.call("debug-logs", {"log_groups": ["/aws/lambda/nobody"]}).status_code == 404


def test_errors_of_a_function_are_one_group_with_their_place(shop):
    for _ in range(3):
        failed(shop)
    time.sleep(0.5)
    answer = shop.call("debug-errors", {"function_name": WORKER})
    assert answer.status_code == 200, answer.body
    group = next(group for group in answer.result["groups"] if group["type"] == "ValueError")
    assert group["count"] >= 3
    assert group["message"] == "order refused"
    assert "app.py" in group["where"][0]


def test_execution_is_explained_down_to_its_child(shop):
    name = f"parent-{uuid.uuid4().hex[:8]}"
    role = shop.role("states")
    anything = {"Effect": "Allow", "Action": ["states:*", "events:*"], "Resource": "*"}
    shop.iam.put_role_policy(
        RoleName=role.rpartition("/")[2],
        PolicyName="start",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [anything]}),
    )
    start = {
        "Type": "Task",
        "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Parameters": {"StateMachineArn": shop.machine(), "Input": {"fail": True, "mail": "anna@example.com"}},
        "TimeoutSeconds": 60,
        "End": True,
    }
    branch = {"StartAt": "Sell", "States": {"Sell": start}}
    definition = {"StartAt": "Both", "States": {"Both": {"Type": "Parallel", "Branches": [branch], "End": True}}}
    machine = shop.sfn.create_state_machine(name=name, definition=json.dumps(definition), roleArn=role)[
        "stateMachineArn"
    ]
    execution = shop.sfn.start_execution(stateMachineArn=machine, input="{}")["executionArn"]
    shop.ended(execution)
    answer = shop.call("debug-execution", {"state_machine_name": name})
    assert answer.status_code == 200, answer.body
    result = answer.result
    assert result["execution_arn"] == execution
    assert (result["failing_state"]["name"], result["failing_state"]["inside"]) == ("Sell", ["Both"])
    (child,) = result["followed"]
    assert child["failing_state"]["name"] == "Order"
    assert child["error"] == "ValueError"
    assert child["cause"]["errorMessage"] == "order refused"
    assert child["failing_state"]["input"]["mail"] == "[EMAIL_1]"
    assert "anna@example.com" not in json.dumps(answer.body)


def test_dead_letters_are_shown_and_stay(scripts, shop):
    shop.fill(2)
    dead = shop.queues()[1]
    parameters = {"queue_name": f"{SHOP}-failed", "sample": 5}
    shop.waiting(dead)  # the local cloud counts when it is asked
    before = scripts.snapshot()
    planned = shop.call("debug-queue", parameters, dry_run=True)
    assert planned.status_code == 202
    assert scripts.changed(before, scripts.snapshot()) == []
    answer = shop.call("debug-queue", parameters)
    assert answer.status_code == 200, answer.body
    assert sorted(json.loads(message["body"])["order"] for message in answer.result["sample"]) == [0, 1]
    assert answer.result["dead_letters_of"] == [SHOP]
    made = json.loads(scripts.records("debug-queue")[-1]["calls"])
    assert len(made) == len(planned.planned_calls) == 1
    assert same_plan(planned.planned_calls[0], made[0])
    assert shop.waiting(dead) == 2
    # A look at the queue itself could send a message away.
    assert shop.call("debug-queue", {"queue_name": SHOP, "sample": 1}).status_code == 409


def test_permissions_of_a_script_are_what_its_role_says(shop):
    """The script's own role: what it may do, what it may not, and which statement says so."""
    function = shop.lambda_.get_function_configuration(FunctionName="debug-queue")
    role = function["Role"].rpartition("/")[2]
    actions = ["sqs:GetQueueUrl", "sqs:DeleteQueue"]
    queue = f"arn:aws:sqs:us-east-1:000000000000:{SHOP}"
    answer = shop.call("debug-permissions", {"principal": f"role/{role}", "actions": actions, "resource": queue})
    assert answer.status_code == 200, answer.body
    may, may_not = answer.result["decisions"]
    assert (may["action"], may["is_allowed"]) == ("sqs:GetQueueUrl", True)
    assert "inline policy" in may["because"][0]
    assert may["statements"][0]["effect"] == "Allow"
    assert not may_not["is_allowed"]
    assert may_not["because"] == ["no statement names the action"]


def test_permissions_a_boundary_stands_in_the_way(shop):
    name = shop.name("bounded")
    edge = policy({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
    arn = shop.iam.create_policy(PolicyName=name, PolicyDocument=edge)["Policy"]["Arn"]
    shop.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust("lambda"), PermissionsBoundary=arn)
    own = policy({"Sid": "Send", "Effect": "Allow", "Action": "sqs:*", "Resource": "*"})
    shop.iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=own)
    answer = shop.call("debug-permissions", {"principal": f"role/{name}", "actions": ["sqs:SendMessage"]})
    (decision,) = answer.result["decisions"]
    assert not decision["is_allowed"]
    assert decision["because"][0] == "the permissions boundary does not allow it, whatever else does"


def test_database_in_trouble_is_told_with_its_statements_and_maintenance(shop):
    name = f"busy-{uuid.uuid4().hex[:8]}"
    made = make_database(
        shop.deployment.client("rds"),
        name,
        DBInstanceClass="db.r6g.large",
        AllocatedStorage=100,
        EnablePerformanceInsights=True,
    )
    put = {
        "load": {
            made["DbiResourceId"]: {
                "PartitionKeys": [{"Dimensions": {"db.wait_event.name": "io"}}],
                "Keys": [{"Dimensions": {"db.sql_tokenized.statement": "SELECT ?"}, "Total": 3.5, "Partitions": [3.0]}],
            }
        },
        "maintenance": {made["DBInstanceArn"]: [{"Action": "system-update", "Description": "a patch"}]},
    }
    url = f"{shop.deployment.cloud.endpoint_url}/_watchfloor/databases"
    urllib.request.urlopen(urllib.request.Request(url, json.dumps(put).encode()), timeout=10).close()
    dimensions = [{"Name": "DBInstanceIdentifier", "Value": name}]
    shop.cloudwatch.put_metric_data(
        Namespace="AWS/RDS",
        MetricData=[{"MetricName": "FreeStorageSpace", "Dimensions": dimensions, "Value": 2.0 * 2**30}],
    )
    answer = shop.call("debug-database", {"database": name})
    assert answer.status_code == 200, answer.body
    findings = answer.result["findings"]
    assert f"{name} has 2.0 GiB (2%) of storage left" in findings
    assert f"maintenance waits: system-update of {name}" in findings
    (instance,) = answer.result["instances"]
    assert instance["slow_statements"] == [{"load": 3.5, "statement": "SELECT ?", "waits": {"io": 3.0}}]
    assert shop.call("debug-database", {"database": "nobody"}).status_code == 404
