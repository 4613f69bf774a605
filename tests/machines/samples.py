"""Small files of alerts, and what must hold of every result."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.machines.harness import Cloud, Run

START = 1_790_000_000.0
# Alert name and the technique that the sensor gave, if it gave one.
STEPS = [
    ("Nmap SYN scan of a subnet", "T1046"),
    ("SSH login after many failures", "T1110"),
    ("Encoded PowerShell command", None),
    ("SMB copy to an admin share", None),
    ("DNS tunnel with long labels", None),
]


def intrusion(name: str, count: int = 10, start: float = 0.0, attacker: str = "203.0.113.9") -> list[dict[str, Any]]:
    """One attacker at work, an alert a minute; alert ids begin with the name."""
    alerts = []
    for number in range(count):
        text, technique = STEPS[number % len(STEPS)]
        alerts.append(
            {
                "id": f"{name}-{number}",
                "time": START + start + 60 * number,
                "src": attacker,
                "dst": ("web1", "db1")[number % 2],
                "name": text,
                "tech": [technique] if technique else [],
            }
        )
    return alerts


def partition(cloud: Cloud, run: Run) -> dict[str, list[str]]:
    """Cluster id -> its alerts of this run."""
    return {row["cluster_id"]: row["alert_ids"] for row in cloud.output(run, "cluster.json")}


def assert_complete(cloud: Cloud, run: Run, alert_ids: list[str]) -> None:
    """Every alert of the file is in exactly one cluster and has one row; run, lease and waits are closed."""
    clusters = cloud.output(run, "cluster.json")
    assert Counter(key for row in clusters for key in row["alert_ids"]) == Counter(alert_ids)
    assert all(len(row["alert_ids"]) == row["alert_count"] <= row["total_alert_count"] for row in clusters)
    cluster_of = {key: row["cluster_id"] for row in clusters for key in row["alert_ids"]}
    assert {row["id"]: row["cluster_id"] for row in cloud.output(run, "event.json")} == cluster_of
    assert cloud.row(run)["status"] == "SUCCEEDED"
    assert_released(cloud, run)


def assert_released(cloud: Cloud, run: Run) -> None:
    """The run neither holds nor awaits the lease, and waits for no job."""
    assert run.run_id not in {ticket["run_id"] for ticket in cloud.tickets()}
    waiting = [row["job_key"] for row in cloud.items("CallbackTable") if "is_open" in row or "token" in row]
    assert not [job_key for job_key in waiting if run.run_id in job_key]


def assert_failed(cloud: Cloud, run: Run, error: str, cause: str) -> None:
    """The run failed with error and cause, one mail tells of it, and nobody waits for it."""
    end = cloud.wait(run)
    assert end["status"] == "FAILED"
    assert cloud.states(run.arn)[-2:] == ["ReportFailure", "RunFailed"]
    ((_, text),) = cloud.mails()
    for told in (end["cause"], text):
        assert cause in told
    assert f"Error:    {error}" in text
    assert run.arn in text
    assert cloud.dead_letters == []
    assert_released(cloud, run)
