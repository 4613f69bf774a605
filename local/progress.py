"""Follows an execution of the alert pipeline, state by state, while it runs."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

POLL_SECONDS = 0.3
# Choice, Pass and Succeed take no time and would only fill the screen.
_SHOWN = ("TaskStateEntered", "WaitStateEntered", "MapStateEntered", "ParallelStateEntered")
_MARKS = {"running": "▶", "done": "✓", "failed": "✗"}
_COLORS = {"running": "yellow", "done": "green", "failed": "red"}


@dataclass
class State:
    """One state of the machine, over all the times it was entered."""

    name: str
    level: int = 0
    entered: int = 0
    exited: int = 0
    failures: int = 0
    began: float = 0.0
    spent: float = 0.0
    is_dead: bool = False

    @property
    def status(self) -> str:
        if self.is_dead:
            return "failed"
        return "running" if self.entered > self.exited else "done"

    def seconds(self, now: float) -> float:
        return self.spent + (max(0.0, now - self.began) if self.status == "running" else 0.0)


@dataclass
class Follower:
    """What is known of an execution and of its child executions so far.

    Attributes
    ----------
    states
        By name, in the order in which they were first entered.
    batches, batches_done
        Clustering batches: how many there are (None until known), how many are done.
    status
        Step Functions' status of the execution.
    transitions
        States entered, child executions included; what Step Functions charges for.
    """

    sfn: Any
    execution_arn: str
    child_machine_arn: str | None = None
    level: int = 0
    states: dict[str, State] = field(default_factory=dict)
    batches: int | None = None
    batches_done: int = 0
    status: str = "RUNNING"
    error: str = ""
    cause: str = ""
    output: dict[str, Any] = field(default_factory=dict)
    failed_state: str | None = None
    transitions: int = 0
    _last_event: int = 0
    _children: dict[str, Follower] = field(default_factory=dict)

    def poll(self) -> None:
        """Read what happened since the last time."""
        # Status first: what is read after the end is complete.
        description = self.sfn.describe_execution(executionArn=self.execution_arn)
        for event in self._new_events():
            self._apply(event)
        if self.child_machine_arn and any(state.name == "ClusterBatches" for state in self.states.values()):
            self._poll_children()
        self.status = description["status"]
        if self.status != "RUNNING":
            self._end(description)

    def rows(self) -> list[State]:
        """States of the execution, those of child executions below the state that started them."""
        rows: list[State] = []
        for state in self.states.values():
            rows.append(state)
            if state.name == "ClusterBatches":
                rows += self._child_states()
        return rows

    def _new_events(self) -> list[dict[str, Any]]:
        """A finished listing has no token to go on from, so the newest are read first, back to those known."""
        found: list[dict[str, Any]] = []
        arguments: dict[str, Any] = {"executionArn": self.execution_arn, "reverseOrder": True, "maxResults": 200}
        while True:
            page = self.sfn.get_execution_history(**arguments)
            new = [event for event in page["events"] if event["id"] > self._last_event]
            found += new
            if len(new) < len(page["events"]) or "nextToken" not in page:
                break
            arguments["nextToken"] = page["nextToken"]
        found.reverse()
        if found:
            self._last_event = found[-1]["id"]
        return found

    def _apply(self, event: dict[str, Any]) -> None:
        moment = _epoch(event["timestamp"])
        entered, exited = event.get("stateEnteredEventDetails"), event.get("stateExitedEventDetails")
        self.transitions += entered is not None
        if entered and event["type"] in _SHOWN:
            state = self.states.setdefault(entered["name"], State(entered["name"], self.level))
            if state.status == "done":
                state.began = moment
            state.entered += 1
        elif exited and exited["name"] in self.states:
            state = self.states[exited["name"]]
            state.exited += 1
            if state.status == "done":
                state.spent += max(0.0, moment - state.began)
            self._count_batches(exited)
        elif event["type"] in ("TaskFailed", "LambdaFunctionFailed", "TaskTimedOut"):
            running = [state for state in self.states.values() if state.status == "running"]
            if running:
                running[-1].failures += 1

    def _count_batches(self, exited: dict[str, Any]) -> None:
        if exited["name"] == "ProcessCluster":
            self.batches_done += 1
        elif self.batches is None and "batch_count" in exited.get("output", ""):
            output = json.loads(exited["output"])
            if isinstance(output, dict):
                self.batches = output.get("batch_count")

    def _poll_children(self) -> None:
        prefix = self.execution_arn.rpartition(":")[2] + "-"
        for name, arn in self._child_executions(prefix):
            self._children.setdefault(name, Follower(self.sfn, arn, level=self.level + 1))
        for child in self._children.values():
            if child.status == "RUNNING":
                before = child.transitions
                child.poll()
                self.transitions += child.transitions - before
        self.batches_done = sum(child.batches_done for child in self._children.values())

    def _child_executions(self, prefix: str) -> Iterator[tuple[str, str]]:
        pages = self.sfn.get_paginator("list_executions").paginate(stateMachineArn=self.child_machine_arn)
        for page in pages:
            for execution in page["executions"]:
                if execution["name"].startswith(prefix):
                    yield execution["name"], execution["executionArn"]

    def _child_states(self) -> list[State]:
        merged: dict[str, State] = {}
        for child in self._children.values():
            for name, state in child.states.items():
                total = merged.setdefault(name, State(name, state.level))
                total.entered += state.entered
                total.exited += state.exited
                total.failures += state.failures
                total.spent += state.spent
                total.is_dead = state.is_dead
                if state.status == "running":
                    total.began = state.began
        return list(merged.values())

    def _end(self, description: dict[str, Any]) -> None:
        ended = _epoch(description["stopDate"]) if "stopDate" in description else time.time()
        self.error, self.cause = description.get("error") or "", description.get("cause") or ""
        output = json.loads(description.get("output") or "{}")
        self.output = output if isinstance(output, dict) else {}
        if self.status != "SUCCEEDED":
            reporting = ("ReportFailure", "RunFailed")
            culprits = [state for state in self.rows() if state.name not in reporting]
            if culprits:
                dead = next((state for state in reversed(culprits) if state.failures), culprits[-1])
                dead.is_dead = True
                self.failed_state = dead.name
        for state in self.states.values():
            if state.entered > state.exited:
                state.spent += max(0.0, ended - state.began)
                state.exited = state.entered


def watch(follower: Follower, console: Console, title: str, on_poll: Callable[[], None] = lambda: None) -> None:
    """Poll until the execution ends, and show how far it is: a live table on a terminal, plain lines elsewhere.

    Parameters
    ----------
    follower
        The execution to follow.
    console
        Where to show it.
    title
        What runs.
    on_poll
        Called between two polls; what it raises ends the watch.
    """
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=False) as live:
            for _ in _polls(follower, on_poll):
                live.update(table(follower, title), refresh=True)
    else:
        console.print(title, highlight=False)
        lines = PlainLines(console)
        for _ in _polls(follower, on_poll):
            lines.show(follower)


def _polls(follower: Follower, on_poll: Callable[[], None]) -> Iterator[None]:
    while True:
        follower.poll()
        yield
        if follower.status != "RUNNING":
            return
        on_poll()
        time.sleep(POLL_SECONDS)


def table(follower: Follower, title: str) -> Table:
    """State, status, seconds, and the batch counter."""
    view = Table(title=title, title_justify="left", box=None, pad_edge=False)
    view.add_column("", width=1)
    view.add_column("state", min_width=28)
    view.add_column("status", min_width=10)
    view.add_column("seconds", justify="right")
    view.add_column("")
    now = time.time()
    for state in follower.rows():
        color = _COLORS[state.status]
        view.add_row(
            f"[{color}]{_MARKS[state.status]}[/]",
            "  " * state.level + state.name,
            f"[{color}]{state.status}[/]",
            f"{state.seconds(now):.1f}",
            _note(state, follower),
        )
    return view


def _note(state: State, follower: Follower) -> str:
    notes = []
    if state.name == "ClusterBatches":
        notes.append(f"batch {follower.batches_done} of {follower.batches or '?'}")
    if state.failures and state.status != "failed":
        notes.append(f"{state.failures} failed, tried again")
    return ", ".join(notes)


class PlainLines:
    """One line whenever a state begins, ends or fails, and for each batch (at most one a second)."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._seen: dict[str, str] = {}
        self._batch_line = (0, 0.0)

    def show(self, follower: Follower) -> None:
        now = time.time()
        for state in follower.states.values():
            if self._seen.get(state.name) == state.status:
                continue
            self._seen[state.name] = state.status
            took = f" in {state.seconds(now):.1f} s" if state.status != "running" else ""
            self._line(f"{state.name:<30} {state.status}{took}")
        done, at = self._batch_line
        is_due = time.monotonic() - at > 1 or follower.batches_done == follower.batches
        if follower.batches_done > done and is_due:
            self._batch_line = follower.batches_done, time.monotonic()
            self._line(f"  batch {follower.batches_done} of {follower.batches or '?'} clustered")

    def _line(self, text: str) -> None:
        self._console.print(f"{time.monotonic() - self._began:7.1f} s  {text}", highlight=False, markup=False)


def error_console() -> Console:
    """The console for progress and messages: stderr, so that stdout holds results only."""
    return Console(stderr=True, soft_wrap=not sys.stderr.isatty())


def _epoch(moment: dt.datetime | float) -> float:
    return moment.timestamp() if isinstance(moment, dt.datetime) else float(moment)
