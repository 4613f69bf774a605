"""What a cluster's Jira issue or case says, and when there is to be one.

An issue of Jira and a case of Kibana or OpenSearch are both called a ticket here.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import quote

from watchfloor import attack
from watchfloor.markup import Foreign, Inline, Link, Section, clean, cut, length, to_markdown

MAX_TITLE_CHARACTERS = 160
MAX_DESCRIPTION_CHARACTERS = 30_000
MAX_ALERT_IDS = 100
MAX_CSV_ROWS = 1_000

# How much of each list is shown; the next smaller one where the description would be too long.
_SHOWN = (50, 20, 10, 5)
_ALERT_ID_CHARACTERS = 64
_HOST_CHARACTERS = 100
_CSV_FIELDS = ("id", "time", "time_utc", "src", "dst", "name", "techniques", "tactics")
_CSV_ATTRIBUTES = ("priority", "port", "url", "user_agent", "cert")
# Spreadsheets drop leading blanks and read full-width forms before they look for a formula.
# https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile(r"[\s\u00a0\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")

Cluster = Mapping[str, Any]
Description = TypeVar("Description", str, dict[str, Any])


@dataclass(frozen=True)
class Thresholds:
    """A cluster below either of them is not raised."""

    events: int = 3
    tactics: int = 1

    def met_by(self, cluster: Cluster) -> bool:
        return cluster["total_alert_count"] >= self.events and len(cluster["tactics"]) >= self.tactics


@dataclass(frozen=True)
class Ticket:
    """A ticket as its service holds it; `raw` is whatever the client needs to change it."""

    id: str
    url: str
    is_open: bool
    raw: Any = field(default=None, repr=False, compare=False)


def issue_is_open(status: str, category: str) -> bool:
    """Whether a Jira issue may still be written to.

    Workflows rename statuses, so Jira's status category (`new`, `indeterminate`, `done`) counts as well.
    """
    return _plain_status(status) in ("open", "in progress", "to do") or category in ("new", "indeterminate")


def case_is_open(status: str) -> bool:
    """Whether a case may still be written to; Kibana says `in-progress`."""
    return _plain_status(status) in ("open", "in progress")


def _plain_status(status: str) -> str:
    return status.casefold().replace("-", " ").strip()


def plain_id(cluster_id: str) -> str:
    """The cluster id where it is safe in labels, queries and document ids; otherwise a hash of it."""
    return cluster_id if _PLAIN_ID.fullmatch(cluster_id) else hashlib.sha256(cluster_id.encode()).hexdigest()[:32]


def label_of(cluster_id: str) -> str:
    """Jira label and case tag by which a cluster's tickets are found."""
    return f"watchfloor-cluster-{plain_id(cluster_id)}"


# --- a ticket to be written ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Draft:
    """What a cluster's ticket should say.

    Attributes
    ----------
    cluster
        One of `clusters` in enrich_alert_input.json.
    flow
        The flow it belongs to, if any; a campaign is a flow.
    console_url
        Where the console lives; empty without one.
    """

    cluster: Cluster
    flow: Mapping[str, Any] | None = None
    console_url: str = ""

    @property
    def cluster_id(self) -> str:
        return self.cluster["cluster_id"]

    @property
    def label(self) -> str:
        return label_of(self.cluster_id)

    @cached_property
    def title(self) -> str:
        """`Cluster <id>: <most severe tactic>, <n> alerts on <hosts>`, at most 160 characters."""
        count = self.cluster["total_alert_count"]
        worst = attack.most_severe(self.cluster["tactics"]) or "Unknown"
        hosts = [clean(host, 40) for host in self.hosts]
        more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
        subject = ", ".join(hosts[:3]) + more
        alerts = f"{count} alert{'' if count == 1 else 's'}"
        title = f"Cluster {clean(self.cluster_id, 40)}: {worst}, {alerts} on {subject or 'unknown hosts'}"
        return cut(title, MAX_TITLE_CHARACTERS)

    @property
    def hosts(self) -> list[str]:
        """Whom the cluster was against, most alerts first; whom it came from where nobody is known."""
        return _listed(self.cluster["dst"]) or _listed(self.cluster["src"])

    def description(self, write: Callable[[Sequence[Section]], Description]) -> Description:
        """The description as `write` renders it, at most 30,000 characters (of JSON, where it is no text)."""
        for shown in _SHOWN:
            text = write(self.sections(shown))
            if length(text if isinstance(text, str) else json.dumps(text)) <= MAX_DESCRIPTION_CHARACTERS:
                break
        return text

    @cached_property
    def fingerprint(self) -> str:
        """Changes when there is something new to say."""
        return hashlib.sha256(f"{self.title}\n{self.description(to_markdown)}".encode()).hexdigest()

    @property
    def campaign_url(self) -> str:
        if not (self.flow and self.console_url):
            return ""
        return f"{self.console_url.rstrip('/')}/campaigns/{quote(self.flow['flow_id'], safe='')}"

    def sections(self, shown: int = _SHOWN[0]) -> list[Section]:
        cluster = self.cluster
        sections = [
            Section("Summary", self._summary()),
            Section("Tactics", [[Foreign(tactic)] for tactic in cluster["tactics"][:shown]]),
            Section("Techniques", _techniques(cluster["techniques"], shown)),
            Section("Entities", self._entities(shown)),
            Section("Identifiers", _identifiers(cluster["alerts"], shown)),
            Section("Alerts", self._alerts(shown)),
        ]
        return [section for section in sections if section.items]

    def _summary(self) -> list[list[Inline]]:
        cluster = self.cluster
        start, end = cluster["start_time"], cluster["end_time"]
        total, recent = cluster["total_alert_count"], cluster["alert_count"]
        items: list[list[Inline]] = [
            ["Cluster ", Foreign(self.cluster_id)],
            [f"Most severe tactic: {attack.most_severe(cluster['tactics']) or 'unknown'}"],
            [f"Alerts: {total}" + (f", {recent} of them in the latest file" if recent != total else "")],
            [f"Timeframe: {_utc(start)} to {_utc(end)} ({_duration(end - start)})"],
        ]
        if self.flow:
            flow_id = self.flow["flow_id"]
            others = [other for other in self.flow["cluster_ids"] if other != self.cluster_id]
            campaign: Inline = Link(plain_id(flow_id), self.campaign_url) if self.campaign_url else Foreign(flow_id)
            items.append(["Campaign: ", campaign, f" (watchfloor campaign show {plain_id(flow_id)})"])
            if others:
                items.append(["Other clusters of the campaign: ", *_joined(others, 20, _ALERT_ID_CHARACTERS)])
        return items

    def _entities(self, shown: int) -> list[list[Inline]]:
        return [
            [f"{role}: ", *_joined(hosts, shown, _HOST_CHARACTERS)]
            for role, hosts in (("Sources", _listed(self.cluster["src"])), ("Targets", _listed(self.cluster["dst"])))
            if hosts
        ]

    def _alerts(self, shown: int) -> list[list[Inline]]:
        cluster = self.cluster
        names = sorted(cluster["names"].items(), key=lambda item: -item[1])[: min(shown, 20)]
        items: list[list[Inline]] = [[Foreign(name), f" ({count})"] for name, count in names]
        ids = [str(alert_id) for alert_id in cluster["alert_ids"][:MAX_ALERT_IDS]]
        # As one text: a list of its own for each would take more room than the ids.
        text = ", ".join(clean(alert_id, _ALERT_ID_CHARACTERS) for alert_id in ids)
        more = f" and {cluster['alert_count'] - len(ids)} more" if cluster["alert_count"] > len(ids) else ""
        items.append(["Alert ids: ", Foreign(text, length(text) + 1), more or "."])
        return items

    def csv(self) -> bytes:
        """The first 1,000 alerts as CSV, no cell of which a spreadsheet takes for a formula."""
        file = io.StringIO(newline="")
        writer = csv.writer(file)
        writer.writerow([*_CSV_FIELDS, *_CSV_ATTRIBUTES])
        for alert in self.cluster["alerts"][:MAX_CSV_ROWS]:
            attributes = alert.get("attributes") or {}
            row = {
                **alert,
                "time_utc": _utc(alert["time"]),
                "techniques": " ".join(alert["techniques"]),
                "tactics": ", ".join(alert["tactics"]),
            }
            cells = [row.get(name) for name in _CSV_FIELDS] + [attributes.get(name) for name in _CSV_ATTRIBUTES]
            writer.writerow([_cell(value) for value in cells])
        return file.getvalue().encode("utf-8", "replace")

    @property
    def csv_name(self) -> str:
        return f"watchfloor-alerts-{plain_id(self.cluster_id)}.csv"


def merge_sentence(cluster_id: str, into: str) -> str:
    """What the ticket of an absorbed cluster is told; also how the comment is recognised."""
    return f"Cluster {plain_id(cluster_id)} was merged into cluster {plain_id(into)}."


def merge_comment(cluster_id: str, into: str, survivor: Ticket | None) -> list[Section]:
    """Comment for the ticket of a cluster that another one absorbed."""
    items: list[list[Inline]] = [[merge_sentence(cluster_id, into)]]
    if survivor:
        items.append(["It goes on in ", Link(survivor.id, survivor.url), ". New alerts are reported there only."])
    return [Section("Cluster merged", items)]


# --- parts --------------------------------------------------------------------------------------------------------


def _techniques(ids: Sequence[str], shown: int) -> list[list[Inline]]:
    known = attack.techniques()
    items: list[list[Inline]] = [
        [Foreign(f"{technique_id} {known[technique_id].name}" if technique_id in known else technique_id)]
        for technique_id in ids[:shown]
    ]
    return items + ([[f"and {len(ids) - shown} more"]] if len(ids) > shown else [])


def _identifiers(alerts: Iterable[Mapping[str, Any]], shown: int) -> list[list[Inline]]:
    """Distinct values of the alerts' attributes (URLs, user agents, certificates, ports, users, hashes ...)."""
    values: dict[str, dict[str | int, None]] = {}
    for alert in alerts:
        for name, value in (alert.get("attributes") or {}).items():
            if name != "priority" and isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                values.setdefault(name, {})[value] = None
    order = sorted(values, key=lambda name: (name not in _CSV_ATTRIBUTES, name))[: min(shown, 12)]
    return [[Foreign(name, 60), ": ", *_joined(list(values[name]), min(shown, 10), 200)] for name in order]


def _joined(values: Sequence[object], shown: int, characters: int) -> list[Inline]:
    parts: list[Inline] = []
    for value in values[:shown]:
        parts += [Foreign(str(value), characters), ", "]
    parts.pop()
    return parts + ([f" and {len(values) - shown} more"] if len(values) > shown else [])


def _listed(hosts: str | Sequence[str]) -> list[str]:
    return [hosts] if isinstance(hosts, str) else list(hosts)


def _utc(seconds: float) -> str:
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"


def _duration(seconds: float) -> str:
    for unit, length_seconds in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length_seconds:
            return f"{seconds / length_seconds:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    text = str(value).replace("\0", "")
    return f"'{text}" if _FORMULA.match(text) else text
