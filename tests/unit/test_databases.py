"""Databases: what of a database's figures is unusual."""

import datetime as dt
from typing import Any

import pytest

from watchfloor.databases import (
    GIB,
    about_cluster,
    about_instance,
    class_memory,
    instance_findings,
    most_connections,
    notable,
    slow_statements,
)


def about(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "DBInstanceIdentifier": "orders",
        "DBInstanceStatus": "available",
        "DBInstanceClass": "db.t3.medium",
    }
    found |= {"Engine": "postgres", "EngineVersion": "16.3", "AllocatedStorage": 100}
    return {**about_instance(found), **changes}


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
