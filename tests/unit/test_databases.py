"""Databases: what of a database's figures is unusual."""

import datetime as dt
from typing import Any

import pytest

from watchfloor.databases import (
    GIB,
    Instance,
    about_cluster,
    about_instance,
    class_memory,
    instance_findings,
    most_connections,
    notable,
    report,
    slow_statements,
)

FOUND: dict[str, Any] = {
    "DBInstanceIdentifier": "orders",
    "DBInstanceStatus": "available",
    "DBInstanceClass": "db.t3.medium",
    "Engine": "postgres",
    "EngineVersion": "16.3",
    "AllocatedStorage": 100,
}
AT = dt.datetime(2026, 11, 20, 3, 0, tzinfo=dt.UTC)


def about(**changes: Any) -> dict[str, Any]:
    return {**about_instance(FOUND), **changes}


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("db.t3.micro", 1),
        ("db.t4g.medium", 4),
        ("db.m5.large", 8),
        ("db.m6gd.2xlarge", 32),
        ("db.r6g.large", 16),
        ("db.r5.24xlarge", 768),
        ("db.x2g.large", None),
        ("db.serverless", None),
    ],
)
def test_class_memory(name, gib):
    assert class_memory(name) == (gib * GIB if gib else None)


@pytest.mark.parametrize(
    ("parameter", "count"),
    [
        ("500", 500),
        ("LEAST({DBInstanceClassMemory/9531392},5000)", 1802),
        ("{DBInstanceClassMemory/12582880}", 1365),
        ("LEAST({DBInstanceClassMemory/9531392},100)", 100),
        ("GREATEST({log(DBInstanceClassMemory/805306368)*45},1000)", None),
        (None, None),
    ],
)
def test_most_connections_reads_the_usual_formulas(parameter, count):
    assert most_connections(parameter, "db.r6g.large") == count


@pytest.mark.parametrize(
    ("changes", "values", "words"),
    [
        ({"status": "storage-full"}, {}, "orders is storage-full"),
        ({"status": "stopped"}, {}, "orders is stopped"),
        ({}, {"free_storage_bytes": [5 * GIB]}, "orders has 5.0 GiB (5%) of storage left"),
        ({"most_storage_gib": 500}, {"free_storage_bytes": [5 * GIB]}, "it grows by itself to 500 GiB"),
        ({}, {"connections": [95]}, "orders has 95 of about 100 connections in use"),
        ({}, {"cpu_percent": [99, 95, 90, 5]}, "orders has been at 95 % CPU for a quarter of an hour"),
        ({}, {"free_memory_bytes": [100 * 2**20]}, "orders has 100 MiB of memory left"),
        ({}, {"read_seconds": [0.05]}, "orders: storage takes 50 ms to read"),
        ({}, {"burst_percent": [3]}, "3 % of its disk's burst credit left"),
        ({}, {"cpu_credits": [2]}, "2 CPU credits left"),
        ({"replica_of": "main"}, {"replica_lag_seconds": [300]}, "orders is 300 s behind main"),
        ({"parameter_groups": {"own": "pending-reboot"}}, {}, "orders: parameters of own wait for a reboot"),
        ({"pending_changes": {"DBInstanceClass": "db.r6g.large"}}, {}, "DBInstanceClass will change"),
        ({"is_public": True}, {}, "reachable from the internet"),
    ],
)
def test_instance_findings_name_what_is_wrong(changes, values, words):
    (finding,) = instance_findings(about(**changes), values, 100)
    assert words in finding


def test_instance_that_is_well_has_no_findings():
    values = {
        "cpu_percent": [20.0],
        "connections": [10.0],
        "free_storage_bytes": [50.0 * GIB],
        "free_memory_bytes": [2.0 * GIB],
        "cpu_credits": [500.0],
    }
    assert instance_findings(about(), values, 100) == []


def test_cluster_names_its_writer_first():
    members = [{"DBInstanceIdentifier": "b"}, {"DBInstanceIdentifier": "a", "IsClusterWriter": True}]
    cluster = about_cluster(
        {"DBClusterIdentifier": "c", "Status": "available", "Engine": "x", "DBClusterMembers": members}
    )
    assert [member["identifier"] for member in cluster["members"]] == ["a", "b"]


def test_notable_events_are_those_of_trouble_the_latest_first():
    at = dt.datetime(2026, 11, 20, 3, tzinfo=dt.UTC)
    events = [
        {"Date": at, "Message": "Backup finished"},
        {"Date": at, "Message": "DB instance restarted"},
        {"Date": at + dt.timedelta(hours=1), "Message": "Multi-AZ change", "EventCategories": ["failover"]},
    ]
    assert notable(events) == ["2026-11-20 04:00 UTC: Multi-AZ change", "2026-11-20 03:00 UTC: DB instance restarted"]


def test_slow_statements_by_load_with_their_waits():
    answer = {
        "PartitionKeys": [{"Dimensions": {"db.wait_event.name": "CPU"}}, {"Dimensions": {"db.wait_event.name": "io"}}],
        "Keys": [{"Dimensions": {"db.sql_tokenized.statement": "SELECT ?"}, "Total": 1.25, "Partitions": [1.0, 0.0]}],
    }
    assert slow_statements(answer) == [{"load": 1.25, "statement": "SELECT ?", "waits": {"CPU": 1.0}}]
    assert slow_statements({}) == []


def instance(statements: dict[str, Any] | None = None, **values: list[float]) -> Instance:
    parameters = [
        {"ParameterName": "max_connections", "ParameterValue": "100"},
        {"ParameterName": "slow_query_log"},
        {"ParameterName": "port", "ParameterValue": "5432"},
    ]
    return Instance(FOUND, values, parameters, statements)


def test_report_of_a_database_that_is_well_says_so_only():
    found = report("orders", None, [instance(cpu_percent=[5.00004, 9.0, 1.0], connections=[])], [], {})
    assert found["findings"] == ["orders is available, and nothing about it is unusual"]
    (shown,) = found["instances"]
    assert shown["load"] == {"cpu_percent": {"latest": 5.0, "lowest": 1.0, "highest": 9.0}}
    assert (shown["parameters"], shown["most_connections"]) == ({"max_connections": "100"}, 100)
    assert shown["slow_statements"].startswith("Performance Insights is off")
    assert (found["cluster"], found["events"], found["maintenance"]) == (None, [], [])


def test_report_of_a_cluster_in_trouble_begins_with_the_cluster():
    cluster = {
        "DBClusterIdentifier": "shop",
        "DBClusterArn": "arn:aws:rds:eu-west-1:1:cluster:shop",
        "Status": "failing-over",
        "Engine": "aurora-postgresql",
    }
    events = [
        {"Date": AT + dt.timedelta(hours=1), "Message": "instance restarted for anna@example.com"},
        {"Date": AT, "Message": "backup done"},
    ]
    due = {"arn:aws:rds:eu-west-1:1:db:orders": [{"Action": "system-update", "CurrentApplyDate": AT}]}
    found = report("shop", cluster, [instance({}, connections=[95.0])], events, due)
    assert found["findings"] == [
        "the cluster shop is failing-over",
        "orders has 95 of about 100 connections in use",
        "event: 2026-11-20 04:00 UTC: instance restarted for [EMAIL_1]",
        "maintenance waits: system-update of orders",
    ]
    assert found["cluster"]["arn"].endswith(":shop")
    assert found["events"] == ["2026-11-20 03:00 backup done", "2026-11-20 04:00 instance restarted for [EMAIL_1]"]
    assert found["maintenance"] == [
        {"resource": "orders", "action": "system-update", "description": "", "at": AT.isoformat()}
    ]
    assert found["instances"][0]["slow_statements"] == []
