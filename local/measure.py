"""Measures the pipeline: every input in a cloud of its own, time, memory and what came out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.simulate import Simulation, write
from local import sandbox
from local.memory import LAMBDA, MODEL, PeakMemory
from local.pipeline import UserError, collect, run_file

DATASETS = sandbox.ROOT.parent / "shared" / "eval" / "datasets.py"
CPTC_TEAMS = range(1, 7)
# us-east-1, November 2026, US dollars: ml.m5.large an hour, 1,000 state transitions, a GB-second of Lambda.
_INSTANCE_HOUR, _THOUSAND_TRANSITIONS, _GB_SECOND = 0.115, 0.025, 0.0000166667
# Until a transform job's container answers; SageMaker bills from the start of the instance.
_JOB_START_SECONDS, _LAMBDA_GB = 180, 1.0
_WAITS = {"CreateTechnique", "CreateCluster", "CreateFlow", "AcquireLease", "ClusterBatches", "RaiseClusters"}


@dataclass(frozen=True)
class Input:
    """An alert file to measure."""

    label: str
    path: Path


@dataclass(frozen=True)
class Measurement:
    """One row of the table; memory in bytes, None where it cannot be measured."""

    input: str
    alerts: int
    rejected: int
    batches: int
    seconds: float
    lambda_bytes: int | None
    model_bytes: int | None
    clusters: int
    flows: int
    campaigns: int
    issues: int
    cases: int
    usd: float
    is_complete: bool


def simulated(alerts: int, folder: Path) -> Input:
    (path,) = write(Simulation(alerts, seed=1), folder / f"simulated-{alerts}")
    return Input(f"simulated, {alerts:,}", path)


def labelled(kinds: Iterable[list[str]], folder: Path, console: Console) -> Iterator[Input]:
    """Labelled data sets, where the data is at hand; says so where it is not."""
    for arguments in kinds:
        label = " ".join(arguments)
        if not DATASETS.exists():
            console.print(f"[bold yellow]SKIPPED {label}[/]: the labelled data is not on this machine ({DATASETS})")
            continue
        target = folder / "-".join(arguments)
        outcome = subprocess.run(
            [sys.executable, str(DATASETS), *arguments, str(target)], capture_output=True, text=True, check=False
        )
        if outcome.returncode:
            last = (outcome.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"{label}: the data set could not be written: {last}", "Choose another one.")
        yield Input(label, target / "alerts.json")


def measure(given: Input, parameters: dict[str, str], console: Console, folder: Path) -> Measurement:
    """Run one input through a fresh cloud."""
    with PeakMemory() as memory, sandbox.fresh(parameters, console.print) as deployment:
        run = run_file(deployment, given.path, console)
        collect(deployment, run, folder)
    summary = run.summary
    issues = sum(ticket["integration"] == "jira" for ticket in run.tickets)
    return Measurement(
        input=given.label,
        alerts=summary["alerts"],
        rejected=summary["rejected"],
        batches=summary["batches"],
        seconds=round(run.seconds, 1),
        lambda_bytes=memory.peaks.get(LAMBDA),
        model_bytes=memory.peaks.get(MODEL),
        clusters=summary["clusters"],
        flows=summary["flows"],
        campaigns=len(run.campaigns),
        issues=issues,
        cases=len(run.tickets) - issues,
        usd=round(estimated_cost(run.transitions, summary["batches"], run.state_seconds), 3),
        is_complete=is_complete(summary["alerts"], folder),
    )


def is_complete(alerts: int, folder: Path) -> bool:
    """Whether every accepted alert is in exactly one cluster."""
    clusters = json.loads((folder / "cluster.json").read_text())
    ids = [alert_id for cluster in clusters for alert_id in cluster["alert_ids"]]
    return len(ids) == len(set(ids)) == alerts


def estimated_cost(transitions: int, batches: int, state_seconds: dict[str, float]) -> float:
    """What the run would cost on AWS, in US dollars, roughly; without storage, logs and OpenSearch.

    A job each for the names, for every batch and for the flows, on ml.m5.large; functions at 1 GB for as long as
    they took here.
    """
    jobs = batches + 2
    waited = sum(state_seconds.get(name, 0.0) for name in ("CreateTechnique", "CreateCluster", "CreateFlow"))
    worked = sum(seconds for name, seconds in state_seconds.items() if name not in _WAITS)
    return (
        (jobs * _JOB_START_SECONDS + waited) / 3600 * _INSTANCE_HOUR
        + transitions / 1000 * _THOUSAND_TRANSITIONS
        + worked * _LAMBDA_GB * _GB_SECOND
    )


def rows(measurements: Iterable[Measurement]) -> list[dict[str, str]]:
    """The table as text, by column."""
    return [
        {
            "input": m.input,
            "alerts": f"{m.alerts:,}",
            "rejected": f"{m.rejected:,}",
            "batches": str(m.batches),
            "seconds": f"{m.seconds:.1f}",
            "alerts/s": f"{m.alerts / m.seconds:,.0f}",
            "Lambda MB": _megabytes(m.lambda_bytes),
            "model MB": _megabytes(m.model_bytes),
            "clusters": f"{m.clusters:,}",
            "flows": f"{m.flows:,}",
            "issues": f"{m.issues:,}",
            "cases": f"{m.cases:,}",
            "AWS, about": f"${m.usd:.2f}",
            "complete": "yes" if m.is_complete else "NO",
        }
        for m in measurements
    ]


def table(measurements: Iterable[Measurement]) -> Table:
    view = Table(box=None, pad_edge=False)
    found = rows(measurements)
    for number, name in enumerate(found[0] if found else ()):
        view.add_column(name, justify="right" if number else "left", no_wrap=not number)
    for row in found:
        view.add_row(*row.values())
    return view


def markdown(measurements: Iterable[Measurement]) -> str:
    found = rows(measurements)
    if not found:
        return ""
    names = list(found[0])
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *(list(row.values()) for row in found)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def as_json(measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    return [asdict(measurement) for measurement in measurements]


def _megabytes(size: int | None) -> str:
    return f"{size / 1e6:,.0f}" if size else "n/a"
