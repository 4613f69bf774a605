"""AWS resources that tests work on, made in a line: on moto and on the local cloud alike. `client` is boto3's."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

Json = dict[str, Any]


def policy(*statements: Json) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def trust(service: str) -> str:
    """What lets a service take a role."""
    return policy({"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"})


def zipped(files: dict[str, str]) -> bytes:
    """An archive of texts by their paths."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return buffer.getvalue()


def make_role(client: Any, name: str, service: str) -> str:
    """ARN of a role that a service may take, and that allows nothing."""
    return client.create_role(RoleName=name, AssumeRolePolicyDocument=trust(service))["Role"]["Arn"]


def make_function(client: Any, iam: Any, name: str) -> None:
    """A function that is there, and does nothing."""
    client.create_function(
        FunctionName=name,
        Runtime="python3.13",
        Role=make_role(iam, name, "lambda"),
        Handler="main.handler",
        Code={"ZipFile": zipped({"main.py": ""})},
    )


def make_alarm(client: Any, name: str, **arguments: Any) -> None:
    """An alarm of CloudWatch; without arguments about a metric that nobody sends."""
    usual = {
        "Namespace": "N",
        "MetricName": "M",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 0,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    client.put_metric_alarm(AlarmName=name, **{**usual, **arguments})


def make_cluster(client: Any, cluster: str, family: str) -> None:
    """A cluster of ECS, and a task definition for services in it."""
    client.create_cluster(clusterName=cluster)
    client.register_task_definition(
        family=family, containerDefinitions=[{"name": family, "image": f"{family}:1", "memory": 64}]
    )


def make_service(client: Any, cluster: str, name: str, **arguments: Any) -> None:
    """A service of two tasks in a cluster, whose task definition is called as it is unless the arguments name one."""
    client.create_service(
        **{"cluster": cluster, "serviceName": name, "taskDefinition": name, "desiredCount": 2} | arguments
    )


def make_database(client: Any, name: str, **arguments: Any) -> Json:
    """An instance of RDS, as CreateDBInstance answers."""
    usual = {
        "DBInstanceClass": "db.t3.micro",
        "Engine": "postgres",
        "MasterUsername": "admin1",
        "MasterUserPassword": "not-a-secret",
        "AllocatedStorage": 20,
    }
    return client.create_db_instance(DBInstanceIdentifier=name, **{**usual, **arguments})["DBInstance"]


def make_database_cluster(client: Any, name: str) -> None:
    """A cluster of RDS with one instance."""
    engine = "aurora-postgresql"
    client.create_db_cluster(
        DBClusterIdentifier=name, Engine=engine, MasterUsername="admin1", MasterUserPassword="not-a-secret"
    )
    client.create_db_instance(
        DBInstanceIdentifier=f"{name}-1", DBInstanceClass="db.r6g.large", Engine=engine, DBClusterIdentifier=name
    )


def make_target_group(client: Any, name: str, vpc: str = "vpc-1", **arguments: Any) -> str:
    """ARN of a target group of addresses."""
    found = client.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip", **arguments)
    return found["TargetGroups"][0]["TargetGroupArn"]


def make_dead_letter_queue(client: Any, name: str, source: str, most_receives: int = 3) -> tuple[str, str]:
    """URLs of a queue, and of the one that it sends its dead letters to."""
    dead = client.create_queue(QueueName=name)["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": most_receives})
    return client.create_queue(QueueName=source, Attributes={"RedrivePolicy": redrive})["QueueUrl"], dead
