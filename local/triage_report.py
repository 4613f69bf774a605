"""What `watchfloor triage` shows to people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from local import slack_text
from local.log_groups import Attached
from local.report import say, short, when
from local.triage import Triaged
from watchfloor.incidents import MERGED, Incident
from watchfloor.messages import incident_message

_COLORS = {"open": "red", "reopened": "red", "acknowledged": "yellow", "resolved": "green"}
_VERDICTS = {"CONFIRMED": "green", "LIKELY": "cyan", "INCONCLUSIVE": "yellow", "NO_ANSWER": "yellow"}


def triaged(console: Console, done: Triaged, kept: Sequence[Path]) -> None:
    """What came of one event: each message as Slack has it, then the facts."""
    for found, path in zip(done.reports, kept, strict=True):
        console.print(Rule(say(f"{found['fingerprint']}: the message", "bold"), align="left"))
        for line in message(found):
            console.print(line)
        console.print(_facts(found, path))
    if not done.reports:
        console.print(say(_nothing(done.received)))
    else:
        seconds = f"{done.seconds:.1f} s from the event to the end"
        console.print(say(f"{len(done.reports)} explained, {seconds}.", "dim"))


def message(found: dict[str, Any], state: dict[str, Any] | None = None) -> Iterator[Text]:
    """An incident's message as Slack shows it."""
    yield from slack_text.lines(incident_message(found, state)["blocks"])


def _facts(found: dict[str, Any], path: Path) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    verdict = found.get("verdict", "NO_ANSWER")
    table.add_row("verdict", say(verdict, _VERDICTS.get(verdict, "")))
    grouped = found.get("grouped_by") or {}
    table.add_row("grouped by", say(": ".join(str(grouped[key]) for key in ("rule", "reason") if grouped.get(key))))
    missing = [": ".join(str(row[key]) for key in ("what", "why") if row.get(key)) for row in found.get("missing", [])]
    for number, row in enumerate(missing or ["nothing"]):
        table.add_row("" if number else "missing", say(row, "yellow" if missing else ""))
    table.add_row("report", say(short(path)))
    return table


def _nothing(received: dict[str, Any]) -> str:
    """Why no message came of an event."""
    if received["status"] == "control":
        return "A control message: CloudWatch Logs asks whether somebody listens. Nothing is to be explained."
    if received["status"] == "refused":
        return "Its log group is one of Watchfloor's own, and those are not explained: that could go on for ever."
    if received["held"]:
        return f"{len(received['held'])} incidents are held back: the limit of an hour is reached (TriageIncidentsPerHour)."
    if not received["errors"]:
        return "There is no error in it, so nothing is explained."
    if received["errors"] == 1:
        return "One error of an incident that is told already; it is counted there (watchfloor triage list)."
    return f"{received['errors']} errors of incidents that are told already; they are counted there (watchfloor triage list)."


def attached(console: Console, made: Attached) -> None:
    console.print(say(f"{made.log_group} is attached: errors written from now on are explained.", "bold"))
    console.print(say(f"  filter {made.filter_name}, pattern {made.pattern or '(every line)'}", "dim"))
    console.print(say("  watchfloor triage list shows incidents, watchfloor triage detach takes this back.", "dim"))


def log_groups(console: Console, groups: list[Attached]) -> None:
    if not groups:
        console.print("No log group is attached. watchfloor triage attach LOG_GROUP attaches one.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("log group", "filter", "pattern"):
        table.add_column(name)
    for row in groups:
        table.add_row(say(row.log_group), say(row.filter_name), say(row.pattern or "(every line)"))
    console.print(table)


def status(incident: Incident) -> str:
    return MERGED if incident.merged_into else incident.status


def moment(time: float) -> str:
    return f"{when(time)} UTC"


def incident_list(console: Console, found: list[Incident]) -> None:
    if not found:
        console.print("No incidents.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("fingerprint", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("errors", justify="right", no_wrap=True)
    table.add_column("last seen, UTC", no_wrap=True)
    table.add_column("what")
    for one in found:
        now = status(one)
        table.add_row(
            say(one.fingerprint),
            say(now, _COLORS.get(now, "dim")),
            f"{one.total:,}",
            when(one.last_seen),
            say(one.title[:120]),
        )
    console.print(table)


def incident(
    console: Console,
    one: Incident,
    found: dict[str, Any] | None,
    state: dict[str, Any],
    earlier: list[dict[str, Any]],
    merged: list[str],
) -> None:
    """All of one incident: its message as it is now, then its history."""
    if found:
        for line in message(found, state):
            console.print(line)
    else:
        console.print(say(one.title, "bold"))
        console.print("No report is written yet; it takes a minute or two after the first error.")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("fingerprint", say(one.fingerprint))
    table.add_row("status", say(status(one), _COLORS.get(status(one), "dim")))
    table.add_row("errors", f"{one.count:,} of this time, {one.total:,} in all")
    table.add_row("seen", f"{moment(one.first_seen)} to {moment(one.last_seen)}")
    table.add_row("log groups", say(", ".join(one.log_groups)))
    if one.merged_into:
        table.add_row("merged into", say(one.merged_into))
    if merged:
        table.add_row("merged with it", say(", ".join(merged)))
    if one.split_by:
        table.add_row("told apart by", say(", ".join(one.split_by)))
    for number, row in enumerate(earlier):
        note = f": {row['note']}" if row.get("note") else ""
        by = f" by {row['by']}" if row.get("by") else ""
        table.add_row(
            "" if number else "earlier",
            say(f"{moment(row['since'])}, {row['count']:,} errors, {row['status']}{by}{note}"),
        )
    console.print(Rule(Text("what is known of it"), align="left"))
    console.print(table)
