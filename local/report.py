"""What commands show of runs and campaigns: for people, on a terminal."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from local.pipeline import Run
from local.sandbox import Deployment
from watchfloor.indicators import KINDS, defang

_WIDTH = 140
_TOP_CAMPAIGNS, _TECHNIQUES_A_STAGE, _HOSTS, _TICKETS, _EVENTS = 3, 4, 6, 3, 12
_STAGE_COLORS = {
    "Unknown": "white",
    "Recon": "cyan",
    "Getting in": "blue",
    "Execution": "yellow",
    "Collect, spread and C2": "magenta",
    "Campaign goals": "red",
}
_INTEGRATIONS = {"jira": "Jira issues", "opensearch": "cases in OpenSearch", "kibana": "cases in Kibana"}


def results() -> Console:
    """The console for results: stdout, wide where no terminal sets a width."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH)


def say(text: object, style: str = "") -> Text:
    """Foreign text as it is: no markup, nothing that moves a terminal's cursor."""
    return Text("".join(char if char.isprintable() else "\ufffd" for char in str(text)), style=style)


def program() -> str:
    """What to type for this command: its name where the shell finds it, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("watchfloor")
    is_found = found is not None and called.exists() and Path(found).samefile(called)
    return short(called) if called.name == "watchfloor" and not is_found else "watchfloor"


def demo(console: Console, run: Run, folder: Path, *, is_kept: bool, seconds: float) -> None:
    """The demo's summary; `seconds` is what all of it took, `is_kept` whether the cloud lives on."""
    console.print()
    console.print(Rule(Text("what came out"), align="left"))
    console.print(_funnel(run))
    console.print(Rule(Text("top campaigns"), align="left"))
    for number, campaign in enumerate(run.campaigns[:_TOP_CAMPAIGNS], start=1):
        console.print(_campaign_card(number, campaign))
    console.print(Rule(Text("Jira issues and cases, read back from the sandbox"), align="left"))
    console.print(_ticket_table(run, is_kept))
    console.print(
        Rule(
            Text(f"time: {run.seconds:.1f} s from upload to end, {seconds:.1f} s with building and deploying"),
            align="left",
        )
    )
    console.print(_times(run))
    console.print(Rule(say(f"files in {short(folder)}"), align="left"))
    console.print(_files(folder))
    console.print(Rule(Text("how to go on"), align="left"))
    console.print(_next_steps(run, is_kept))


def runs(console: Console, done: list[Run], folder: Path | None) -> None:
    """The result of `watchfloor run`: one row a file."""
    table = Table(box=None, pad_edge=False)
    table.add_column("file")
    for name in ("alerts", "rejected", "batches", "clusters", "flows", "campaigns", "issues", "cases", "seconds"):
        table.add_column(name, justify="right")
    for run in done:
        raised = Counter(ticket["integration"] for ticket in run.tickets)
        summary = run.summary
        table.add_row(
            say(run.file.name),
            f"{summary['alerts']:,}",
            f"{summary['rejected']:,}",
            str(summary["batches"]),
            f"{summary['clusters']:,}",
            f"{summary['flows']:,}",
            _branch(summary["campaigns"]),
            str(raised["jira"]) if summary["jira"]["status"] == "done" else summary["jira"]["status"],
            str(raised["opensearch"] + raised["kibana"])
            if summary["case"]["status"] == "done"
            else summary["case"]["status"],
            f"{run.seconds:.1f}",
        )
    console.print(table)
    for problem in _problems(done):
        console.print(problem)
    if folder:
        console.print(say(f"The last run's output is in {short(folder)}"))


def campaign_list(console: Console, campaigns: list[dict[str, Any]]) -> None:
    if not campaigns:
        console.print("No campaigns yet.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    # These two share what a narrow terminal leaves.
    table.add_column("name")
    table.add_column("alerts", justify="right", no_wrap=True)
    table.add_column("clusters", justify="right", no_wrap=True)
    table.add_column("worst stage")
    for campaign in campaigns:
        worst = next((s["stage"] for s in reversed(campaign["stages"]) if s["alert_count"]), "Unknown")
        table.add_row(
            say(campaign["campaign_id"]),
            f"{campaign['score']:.1f}",
            say(campaign["status"]),
            say(campaign["name"]),
            f"{campaign['alert_count']:,}",
            str(campaign["cluster_count"]),
            say(worst, _STAGE_COLORS[worst]),
        )
    console.print(table)


def campaign(console: Console, found: dict[str, Any]) -> None:
    """All of one campaign that fits a screen or two; hosts and indicators defanged."""
    frame = found["timeframe"]
    console.print(say(found["name"], "bold"))
    console.print(
        say(
            f"{found['campaign_id']} · {found['status']} · score {found['score']:.1f} · {found['alert_count']:,} alerts in "
            f"{found['cluster_count']} clusters · {when(frame['start_time'])} to {when(frame['end_time'])}"
        )
    )
    if found.get("merged_into"):
        console.print(say(f"Lives on in campaign {found['merged_into']}", "yellow"))
    feedback = {key: value for key, value in found["feedback"].items() if value}
    if feedback:
        console.print(say("Feedback: " + ", ".join(f"{key} {value}" for key, value in feedback.items())))
    console.print(Rule(Text("stages"), align="left"))
    console.print(_stage_table(found, limit=20))
    console.print(Rule(Text("victims"), align="left"))
    console.print(_host_table(found["victims"]))
    console.print(Rule(Text("adversaries"), align="left"))
    console.print(_host_table(found["adversaries"]))
    console.print(Rule(Text("indicators, defanged"), align="left"))
    console.print(_indicators(found))
    console.print(Rule(Text("from cluster to cluster"), align="left"))
    console.print(_edges(found))
    console.print(Rule(Text("events"), align="left"))
    console.print(_events(found))


def cloud(console: Console, deployment: Deployment) -> None:
    """Where everything of a kept cloud is, and what can be done with it."""
    endpoint, twins = deployment.cloud.endpoint_url, deployment.cloud.twins
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("AWS endpoint", endpoint)
    table.add_row("alerts go to", f"s3://{deployment.bucket}/input/")
    for twin, url in twins.items():
        page = f"{url}/_twin_page" if twin == "opensearch" else url
        table.add_row(f"sandbox {twin}", page)
    console.print(table)
    console.print("\nIn another terminal:")
    for command in ("run ALERTS.json", "campaign list", "triage MY.LOG", "triage list"):
        console.print(say(f"  {program()} {command}"))
    console.print(
        f"  AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 aws --endpoint-url {endpoint} "
        f"s3 cp ALERTS.json s3://{deployment.bucket}/input/",
        highlight=False,
        soft_wrap=True,
    )
    console.print("\nCtrl-C stops it.")


def _funnel(run: Run) -> Group:
    summary = run.summary
    steps = [
        ("alerts", summary["alerts"]),
        ("clusters", summary["clusters"]),
        ("flows", summary["flows"]),
        ("campaigns", summary["campaigns"].get("created", 0) + summary["campaigns"].get("updated", 0)),
    ]
    widest = max(1, steps[0][1])
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, count in steps:
        width = max(1, round(48 * (count / widest) ** 0.4)) if count else 0
        table.add_row(f"{count:>9,}", name, Text("█" * width, style="cyan"))
    rejected = summary["rejected"]
    note = f"{rejected:,} rejected; rejected.jsonl says why" if rejected else "none rejected"
    return Group(table, Text(f"{'':>9}  {note}", style="yellow" if rejected else "dim"), *_problems([run]))


def _campaign_card(number: int, found: dict[str, Any]) -> Group:
    frame = found["timeframe"]
    header = say(f"{number}. {found['name']}", "bold")
    facts = say(
        f"   score {found['score']:.1f}, {found['alert_count']:,} alerts in {found['cluster_count']} clusters, "
        f"{when(frame['start_time'])} to {when(frame['end_time'])}, id {found['campaign_id']}"
    )
    hosts = [
        say(f"   {label}: {_names(found[kind])}") for label, kind in (("victims", "victims"), ("from", "adversaries"))
    ]
    return Group(header, facts, *hosts, Padding(_stage_table(found, _TECHNIQUES_A_STAGE), (0, 0, 1, 3)))


def _stage_table(found: dict[str, Any], limit: int) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column()
    for stage in found["stages"]:
        if not stage["alert_count"]:
            continue
        shown = stage["techniques"][:limit]
        more = len(stage["techniques"]) - len(shown)
        techniques = ", ".join(f"{t['id']} {t['name']} ({t['alert_count']:,})" for t in shown)
        table.add_row(
            say(stage["stage"], _STAGE_COLORS[stage["stage"]]),
            f"{stage['alert_count']:,}",
            say(techniques + (f" and {more} more" if more else "") or "no technique known", "" if shown else "dim"),
        )
    return table


def _ticket_table(run: Run, is_kept: bool) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for integration, label in _INTEGRATIONS.items():
        mine = [ticket for ticket in run.tickets if ticket["integration"] == integration]
        outcomes = Counter(ticket["outcome"] for ticket in mine)
        table.add_row(label, say(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) or "none"))
        for ticket in sorted(mine, key=_natural)[:_TICKETS]:
            name = f"{ticket['id']}: " if integration == "jira" else ""
            link = f"  {ticket['url']}" if is_kept else ""
            table.add_row("", say(f"{name}{ticket['title']} [{ticket['status']}]{link}", "dim"))
    return table


def _natural(ticket: dict[str, str]) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", ticket["id"])]


def _times(run: Run) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    longest = max(run.state_seconds.values(), default=1.0) or 1.0
    for name, seconds in run.state_seconds.items():
        bar = Text("▪" * max(1, round(30 * seconds / longest)), style="dim cyan")
        table.add_row(name, f"{seconds:>6.1f} s", bar)
    return table


def _files(folder: Path) -> Table:
    described = {
        "event.json": "every alert with its cluster, techniques and tactics",
        "cluster.json": "the clusters",
        "flow.json": "how clusters follow each other",
        "campaigns": "one document per campaign: victims, adversaries, stages, events, indicators",
        "attack_flow": "one STIX bundle per campaign, for Attack Flow Builder and CTI platforms",
        "navigator_layer.json": "open it in ATT&CK Navigator",
        "summary.json": "the run in numbers",
        "rejected.jsonl": "alerts that could not be used, with reasons",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, text in described.items():
        if (folder / name).exists():
            table.add_row(say(name), say(text, "dim"))
    return table


def _next_steps(run: Run, is_kept: bool) -> Table:
    worst = run.campaigns[0]["campaign_id"] if run.campaigns else "ID"
    steps = {
        f"{program()} campaign show {worst}": "the worst campaign in full",
        f"{program()} campaign list": "all of them",
        "make demo ALERTS=my-alerts.json": "your own alerts (docs/input-formats.md)",
    }
    if not is_kept:
        steps[f"{program()} up"] = "keep a cloud and its sandbox Jira and Kibana running, and look around in them"
    steps["docs/deploying.md"] = "the same application in your AWS account"
    table = Table(box=None, show_header=False, pad_edge=False)
    for command, text in steps.items():
        table.add_row(say(command, "bold"), say(text, "dim"))
    return table


def _host_table(hosts: list[dict[str, Any]]) -> Table | Text:
    if not hosts:
        return Text("none known", style="dim")
    table = Table(box=None, show_header=False, pad_edge=False)
    for host in hosts[:20]:
        told = ", ".join(f"{key} {value}" for key, value in host["features"].items())
        table.add_row(say(_host(host)), host["role"], host["side"], f"{host['alert_count']:,} alerts", say(told, "dim"))
    if len(hosts) > 20:
        table.add_row(f"and {len(hosts) - 20} more")
    return table


def _indicators(found: dict[str, Any]) -> Table | Text:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    for kind in KINDS:
        values = found["iocs"][kind]
        for number, ioc in enumerate(values[:5]):
            value = defang(ioc["value"]) if kind in ("ip", "domain", "url") else ioc["value"]
            table.add_row("" if number else kind.replace("_", " "), say(value[:120]), f"{ioc['alert_count']:,}")
        if len(values) > 5:
            table.add_row("", f"and {len(values) - 5} more")
    return table if table.row_count else Text("none found", style="dim")


def _edges(found: dict[str, Any]) -> Table | Text:
    clusters = {cluster["cluster_id"]: cluster for cluster in found["clusters"]}
    table = Table(box=None, show_header=False, pad_edge=False)
    for source, target, *confidence in found["edges"][:20]:
        table.add_row(
            say(_cluster(source, clusters)),
            "→",
            say(_cluster(target, clusters)),
            f"{confidence[0]:.2f}" if confidence and confidence[0] is not None else "",
        )
    if len(found["edges"]) > 20:
        table.add_row(f"and {len(found['edges']) - 20} more")
    return table if found["edges"] else Text("a single step", style="dim")


def _events(found: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for event in found["events"][:_EVENTS]:
        table.add_row(
            when(event["time"]),
            say(event["stage"], _STAGE_COLORS[event["stage"]]),
            say(f"{event['src']} → {event['dst']}"),
            say(event["name"][:80]),
            say(" ".join(event["techniques"]), "dim"),
        )
    more = len(found["events"]) - _EVENTS
    if more > 0:
        table.add_row(f"and {more} more", "", "", "--json shows all", "")
    return table


def _problems(done: Iterable[Run]) -> list[Text]:
    return [
        say(f"{run.file.name}: {name}: {run.summary[key].get('error') or run.summary[key].get('reason')}", "yellow")
        for run in done
        for key, name in (("campaigns", "campaigns"), ("jira", "Jira"), ("case", "cases"))
        if run.summary[key]["status"] != "done"
    ]


def _branch(outcome: dict[str, Any]) -> str:
    return str(outcome["created"] + outcome["updated"]) if outcome["status"] == "done" else outcome["status"]


def _cluster(cluster_id: str, clusters: dict[str, Any]) -> str:
    names = clusters.get(cluster_id, {}).get("names") or {cluster_id: 0}
    return f"{next(iter(names))[:50]} ({cluster_id[:8]})"


def _names(hosts: list[dict[str, Any]]) -> str:
    more = len(hosts) - _HOSTS
    return (", ".join(map(_host, hosts[:_HOSTS])) or "nobody known") + (f" and {more} more" if more > 0 else "")


def _host(host: dict[str, Any]) -> str:
    return defang(host["name"]) if host["side"] == "external" else host["name"]


def short(path: Path) -> str:
    """Relative where that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)


def when(time: float) -> str:
    try:
        return dt.datetime.fromtimestamp(time, dt.UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return f"{time:.0f} s"
