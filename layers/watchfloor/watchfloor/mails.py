"""Mails to those on duty: plain text, made to be read on a phone."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from watchfloor.block_kit import times, utc
from watchfloor.foreign_text import one_line, safe_url, visible
from watchfloor.report_view import (
    CAUSE_TITLES,
    EARLIER,
    LINKS,
    OUR_URL_CHARACTERS,
    SIDES,
    STACK_OVERFLOW,
    ReportView,
    words,
)

# SNS: less than 100 characters, ASCII, one line. https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
MAX_SUBJECT_CHARACTERS = 99
# SNS takes 256 KiB for the whole request.
MAX_MAIL_BYTES = 200_000


def incident_mail(report: Mapping[str, Any], state: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """Subject (ASCII, one line, at most 99 characters) and plain text of the mail about an incident."""
    incident = ReportView.of(report, state)
    subject = subject_line(f"[{incident.verdict}] {incident.title}")
    return subject, _bounded("\n".join(_mail_lines(incident)), incident.links.get("report", ""))


def _mail_lines(incident: ReportView) -> Iterator[str]:
    data = incident.data
    yield incident.title
    for place in incident.place:
        yield one_line(place, 200)
    yield f"Seen {times(incident.count)}" + "".join(
        f", {word} {utc(data[key])}" for word, key in (("first", "first_seen"), ("last", "last_seen")) if data.get(key)
    )
    if incident.status != "open":
        by = f" by {one_line(data['by'], 80)}" if data.get("by") else ""
        yield f"Status: {one_line(incident.status, 40)}{by}"
    yield from _part(f"{CAUSE_TITLES[incident.verdict]} ({incident.verdict})", _mail_cause(incident))
    yield from _part("Next steps", [f"{n}. {_flat(step)}" for n, step in enumerate(incident.steps, 1)])
    yield from _part("Links", _mail_links(incident))
    happened = words(incident.answer.get("what_happened"))
    yield from _part("What happened", [visible(happened, 5_000)] if happened else [])
    frames = [f"  at {_flat(frame)}" for frame in incident.frames[:30]]
    yield from _part("The error", ([visible(incident.said, 5_000)] if incident.said else []) + frames)
    yield from _part(
        "Evidence", [f"- {_flat(f'{line}: {quote}' if line else quote)}" for line, quote in incident.quotes]
    )
    yield from _part("Log around it", [visible(line, 5_000).rstrip() for line in incident.context(21, in_full=True)])
    yield from _part("Around the same time", [_mail_row(row) for row in incident.facts])
    yield from _part("Earlier incidents like this", [_mail_row(row) for row in incident.evidence(EARLIER)])
    yield from _part("Stack Overflow", [_mail_row(row, with_text=False) for row in incident.evidence(STACK_OVERFLOW)])
    yield from _part("Missing", [f"- {_flat(row)}" for row in incident.missing])
    yield from _part("Why the verdict is no better one", [f"- {_flat(row)}" for row in incident.doubts])
    yield from _part("Limits reached", [f"- {_flat(row)}" for row in incident.limits])
    grouping = [f"Grouped by {_flat(incident.grouping)}"] if incident.grouping else []
    yield from _part("About this mail", [f"Fingerprint {incident.fingerprint}", *grouping])


def _mail_cause(incident: ReportView) -> list[str]:
    if incident.cause:
        side = SIDES.get(str(incident.answer.get("side")))
        return [visible(incident.cause, 5_000)] + ([f"It lies {side}."] if side else [])
    return ["No usable answer from a model." if incident.verdict == "NO_ANSWER" else "The evidence does not tell."]


def _mail_links(incident: ReportView) -> list[str]:
    urls = [(title, safe_url(incident.links.get(name), OUR_URL_CHARACTERS)) for name, title in LINKS]
    return [f"{title}: {url}" for title, url in urls if url]


def _mail_row(row: Mapping[str, Any], with_text: bool = True) -> str:
    source, url = _flat(row.get("source") or ""), safe_url(row.get("url"))
    text = _flat(words(row.get("text"))) if with_text or not source else ""
    return "- " + ": ".join(part for part in (source, text) if part) + (f"\n  {url}" if url else "")


def _part(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"\n{title.upper()}"
        yield from lines


def _flat(text: object) -> str:
    return one_line(text, 1_000)


def _bounded(text: str, url: str) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_MAIL_BYTES:
        return data.decode()
    end = f"\n\nShortened. The whole report: {safe_url(url, OUR_URL_CHARACTERS) or 'see the data bucket'}\n"
    return data[: MAX_MAIL_BYTES - len(end.encode())].decode("utf-8", "ignore") + end


def subject_line(text: str, limit: int = MAX_SUBJECT_CHARACTERS) -> str:
    """The text as SNS takes it for a subject: ASCII, one line, nothing that hides in it."""
    plain = unicodedata.normalize("NFKD", one_line(text)).encode("ascii", "ignore").decode()
    plain = " ".join("".join(c if c.isprintable() else " " for c in plain).split())
    return plain if len(plain) <= limit else plain[: limit - 3].rstrip() + "..."
