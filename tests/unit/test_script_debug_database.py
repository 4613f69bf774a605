"""debug-database: an instance or cluster at a glance, without connecting to it."""

import datetime as dt
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.resources import make_database, make_database_cluster
from tests.unit.canned import canned
from tests.unit.scripts import World, scripts

NAME = "debug-database"
ARN = "arn:aws:rds:us-east-1:123456789012:db:orders"


@pytest.fixture
def maintenance() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def world(maintenance: list[dict[str, Any]]) -> Iterator[World]:
    with scripts() as made, ExitStack() as stack:
        rds = made.client("rds")
        rds.create_db_parameter_group(
            DBParameterGroupName="own", DBParameterGroupFamily="postgres16", Description="own parameters"
        )
        rds.modify_db_parameter_group(
            DBParameterGroupName="own",
            Parameters=[{"ParameterName": "max_connections", "ParameterValue": "100", "ApplyMethod": "pending-reboot"}],
        )
        make_database(rds, "orders", DBInstanceClass="db.t3.medium", AllocatedStorage=100, DBParameterGroupName="own")
        due = {"ResourceIdentifier": ARN, "PendingMaintenanceActionDetails": maintenance}
        answer = {"PendingMaintenanceActions": [due]}
        stack.enter_context(canned("rds", "DescribePendingMaintenanceActions", lambda: answer))
        yield made


def metric(world: World, name: str, value: float) -> None:
    data = {"MetricName": name, "Dimensions": [{"Name": "DBInstanceIdentifier", "Value": "orders"}], "Value": value}
    data["Timestamp"] = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=2)
    world.client("cloudwatch").put_metric_data(Namespace="AWS/RDS", MetricData=[data])


def test_database_in_trouble_says_so_first(world, maintenance):
    metric(world, "DatabaseConnections", 95)
    metric(world, "FreeStorageSpace", 2 * 2**30)
    maintenance.append({"Action": "system-update", "Description": "a patch"})
    answer = world.call(NAME, {"database": "orders"})
    assert answer.status_code == 200, answer.body
    findings = answer.result["findings"]
    assert "orders has 2.0 GiB (2%) of storage left" in findings
    assert "orders has 95 of about 100 connections in use" in findings
    assert "maintenance waits: system-update of orders" in findings
    (instance,) = answer.result["instances"]
    assert instance["load"]["connections"]["latest"] == 95
    assert instance["parameters"]["max_connections"] == "100"
    assert instance["slow_statements"].startswith("Performance Insights is off")
    assert answer.result["maintenance"][0]["description"] == "a patch"
    assert any("created" in line for line in answer.result["events"])
    assert not answer.body["changed"]


def test_database_slow_statements_where_performance_insights_is_on(world):
    make_database(world.client("rds"), "watched", EnablePerformanceInsights=True)
    raw = world.client("rds").describe_db_instances(DBInstanceIdentifier="watched")["DBInstances"][0]
    on = {"DBInstances": [{**raw, "PerformanceInsightsEnabled": True}]}
    keys = [{"Dimensions": {"db.sql_tokenized.statement": "SELECT ?"}, "Total": 2.5}]
    with (
        canned("rds", "DescribeDBInstances", lambda: on),
        canned("pi", "DescribeDimensionKeys", lambda: {"Keys": keys}),
    ):
        answer = world.call(NAME, {"database": "watched"})
    assert answer.result["instances"][0]["slow_statements"] == [{"load": 2.5, "statement": "SELECT ?", "waits": {}}]


def test_database_cluster_with_its_members(world):
    make_database_cluster(world.client("rds"), "shop")
    answer = world.call(NAME, {"database": "shop", "kind": "cluster"})
    assert answer.status_code == 200, answer.body
    assert answer.result["cluster"]["identifier"] == "shop"
    assert [instance["identifier"] for instance in answer.result["instances"]] == ["shop-1"]


def test_database_that_is_not_there_or_is_the_other_kind(world):
    for kind, other in (("instance", "cluster"), ("cluster", "instance")):
        answer = world.call(NAME, {"database": "nobody", "kind": kind})
        assert answer.status_code == 404
        assert f"is it a {other}" in answer.error["message"]


@pytest.mark.parametrize(
    "event", [{}, {"database": "1"}, {"database": "orders", "kind": "table"}, {"database": "orders", "hours": 25}]
)
def test_database_invalid_input(world, event):
    assert world.call(NAME, event).status_code == 400
