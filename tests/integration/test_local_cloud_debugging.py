"""What the local cloud answers to those who look for a cause: log queries, permissions simulated, databases."""

import json
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.cloud import LocalCloud


@pytest.fixture
def name() -> str:
    return f"debug-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def logs(local_cloud: LocalCloud, name: str) -> Iterator[Any]:
    client = local_cloud.session().client("logs")
    client.create_log_group(logGroupName=f"/aws/lambda/{name}")
    client.create_log_stream(logGroupName=f"/aws/lambda/{name}", logStreamName="one")
    now = int(time.time() * 1000)
    lines = [json.dumps({"level": level, "n": n}) for n, level in enumerate(["INFO", "ERROR", "ERROR"])]
    lines.append(f"REPORT RequestId: {uuid.uuid4()}\tDuration: 12.50 ms\tMemory Size: 128 MB\tMax Memory Used: 64 MB\t")
    client.put_log_events(
        logGroupName=f"/aws/lambda/{name}",
        logStreamName="one",
        logEvents=[{"timestamp": now - 4_000 + 1_000 * n, "message": line} for n, line in enumerate(lines)],
    )
    return client


def start(logs: Any, name: str, query: str, **arguments: Any) -> str:
    now = int(time.time())
    times = {"startTime": now - 600, "endTime": now + 5}
    return str(logs.start_query(logGroupName=f"/aws/lambda/{name}", queryString=query, **times, **arguments)["queryId"])


def finished(logs: Any, query_id: str) -> dict[str, Any]:
    while (answer := logs.get_query_results(queryId=query_id))["status"] == "Running":
        time.sleep(0.05)
    return dict(answer)


def test_log_query_runs_for_a_moment_and_tells_what_it_scanned(logs, name):
    query_id = start(logs, name, "fields @timestamp, n | filter level = 'ERROR' | sort n desc", limit=1)
    running = logs.get_query_results(queryId=query_id)
    assert (running["status"], running["results"]) == ("Running", [])
    assert running["statistics"]["bytesScanned"] > 0
    answer = finished(logs, query_id)
    assert answer["status"] == "Complete"
    (row,) = answer["results"]
    assert {item["field"]: item["value"] for item in row}["n"] == "2"
    assert answer["statistics"]["recordsScanned"] == 4
    assert answer["statistics"]["bytesScanned"] > 50


def test_log_query_knows_lambda_s_own_fields(logs, name):
    query = "filter @type = 'REPORT' | stats max(@maxMemoryUsed / @memorySize) as share, avg(@duration) as mean"
    ((share, mean),) = finished(logs, start(logs, name, query))["results"]
    assert (share["value"], mean["value"]) == ("0.5", "12.5")


def test_log_query_is_refused_as_aws_refuses(logs, name):
    for query, group, code in (
        ("fields | nonsense", name, "MalformedQueryException"),
        ("fields @message", "not-there", "ResourceNotFoundException"),
    ):
        with pytest.raises(ClientError) as caught:
            start(logs, group, query)
        assert caught.value.response["Error"]["Code"] == code
    with pytest.raises(ClientError):
        logs.get_query_results(queryId=str(uuid.uuid4()))


def test_log_query_that_is_stopped_is_cancelled(logs, name):
    query_id = start(logs, name, "fields @message")
    assert logs.stop_query(queryId=query_id)["success"]
    assert logs.get_query_results(queryId=query_id)["status"] == "Cancelled"


@pytest.fixture
def iam(local_cloud: LocalCloud) -> Any:
    return local_cloud.session().client("iam")


def allow(*actions: str, resource: str = "*", effect: str = "Allow", **more: Any) -> str:
    statement = {"Effect": effect, "Action": list(actions), "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def simulated(iam: Any, name: str, action: str, resource: str, **context: str) -> dict[str, Any]:
    entries = [
        {"ContextKeyName": key, "ContextKeyType": "string", "ContextKeyValues": [value]}
        for key, value in context.items()
    ]
    account = "000000000000"
    answer = iam.simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::{account}:role/{name}",
        ActionNames=[action],
        ResourceArns=[resource],
        ContextEntries=entries,
    )
    (result,) = answer["EvaluationResults"]
    return dict(result)


def test_policy_simulator_tells_policies_boundary_and_missing_context(iam, name):
    boundary = iam.create_policy(PolicyName=f"{name}-edge", PolicyDocument=allow("s3:*"))["Policy"]["Arn"]
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=allow("sts:AssumeRole"), PermissionsBoundary=boundary)
    document = json.loads(allow("s3:GetObject", "sqs:SendMessage", resource="arn:aws:s3:::a/*"))
    document["Statement"] += json.loads(allow("s3:DeleteObject", resource="arn:aws:s3:::a/*", effect="Deny"))[
        "Statement"
    ]
    condition = {"StringEquals": {"aws:SourceVpc": "vpc-1"}}
    document["Statement"] += json.loads(allow("s3:ListBucket", Condition=condition))["Statement"]
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(document))

    allowed = simulated(iam, name, "s3:GetObject", "arn:aws:s3:::a/1")
    assert allowed["EvalDecision"] == "allowed"
    assert allowed["MatchedStatements"][0]["SourcePolicyId"] == f"role_{name}_own"
    assert allowed["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": True}
    assert simulated(iam, name, "s3:GetObject", "arn:aws:s3:::b/1")["EvalDecision"] == "implicitDeny"
    assert simulated(iam, name, "s3:DeleteObject", "arn:aws:s3:::a/1")["EvalDecision"] == "explicitDeny"
    beyond = simulated(iam, name, "sqs:SendMessage", "arn:aws:s3:::a/1")
    assert beyond["EvalDecision"] == "implicitDeny"
    assert beyond["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}
    unknown = simulated(iam, name, "s3:ListBucket", "arn:aws:s3:::a")
    assert (unknown["EvalDecision"], unknown["MissingContextValues"]) == ("implicitDeny", ["aws:SourceVpc"])
    given = simulated(iam, name, "s3:ListBucket", "arn:aws:s3:::a", **{"aws:SourceVpc": "vpc-1"})
    assert (given["EvalDecision"], given["MissingContextValues"]) == ("allowed", [])


def test_policy_simulator_does_not_know_who_is_not_there(iam, name):
    with pytest.raises(ClientError) as caught:
        simulated(iam, name, "s3:GetObject", "*")
    assert caught.value.response["Error"]["Code"] == "NoSuchEntity"


def test_databases_have_the_load_and_the_maintenance_that_were_put_there(local_cloud: LocalCloud, name: str):
    session = local_cloud.session()
    rds, insights = session.client("rds"), session.client("pi")
    created = rds.create_db_instance(
        DBInstanceIdentifier=name,
        DBInstanceClass="db.r6g.large",
        Engine="postgres",
        AllocatedStorage=20,
        EnablePerformanceInsights=True,
    )["DBInstance"]
    keys = [{"Dimensions": {"db.sql_tokenized.statement": "SELECT ?"}, "Total": 1.5}]
    put = {
        "load": {created["DbiResourceId"]: {"Keys": keys}},
        "maintenance": {created["DBInstanceArn"]: [{"Action": "system-update", "Description": "a patch"}]},
    }
    request = urllib.request.Request(f"{local_cloud.endpoint_url}/_watchfloor/databases", json.dumps(put).encode())
    urllib.request.urlopen(request, timeout=10).close()
    now = time.time()
    asked = {"ServiceType": "RDS", "StartTime": now - 600, "EndTime": now, "Metric": "db.load.avg"}
    answer = insights.describe_dimension_keys(
        Identifier=created["DbiResourceId"], GroupBy={"Group": "db.sql_tokenized"}, **asked
    )
    assert answer["Keys"][0]["Total"] == 1.5
    (waiting,) = rds.describe_pending_maintenance_actions(ResourceIdentifier=created["DBInstanceArn"])[
        "PendingMaintenanceActions"
    ]
    assert waiting["PendingMaintenanceActionDetails"][0]["Action"] == "system-update"
    with pytest.raises(ClientError):
        insights.describe_dimension_keys(Identifier="db-NOBODY", GroupBy={"Group": "db.sql_tokenized"}, **asked)
