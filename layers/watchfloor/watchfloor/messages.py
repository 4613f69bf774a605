"""What people are told in Slack: incidents, windows that ask back, approvals.

A message is made from a triage report, and from the state of its incident where that has moved on since. So it can be
written again at any time, with a new count or status, and nobody has to be asked anything again. The fields of both are
those that `report_view` names; the mail is in `mails`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchfloor.block_kit import (
    MAX_MESSAGE_CHARACTERS,
    MAX_OPTIONS,
    Json,
    button,
    compact,
    context,
    date,
    fallback,
    header,
    listed,
    metadata,
    plain,
    pretty,
    section,
    size_of,
    times,
    utc,
    view,
)
from watchfloor.foreign_text import Mrkdwn, one_line, safe_url, shortened
from watchfloor.markup import length
from watchfloor.report_view import (
    CAUSE_TITLES,
    DEPLOYMENT,
    EARLIER,
    LINKS,
    OUR_URL_CHARACTERS,
    SIDES,
    STACK_OVERFLOW,
    ReportView,
    ends_of,
    without_prefix,
    words,
)

ACKNOWLEDGE, SILENCE, MERGE, RESOLVE = (
    "incident_acknowledge",
    "incident_silence",
    "incident_merge",
    "incident_resolve",
)
MERGE_CHOSEN, RESOLVE_NOTED = "incident_merge_chosen", "incident_resolve_noted"
APPROVE, REFUSE = "approval_approve", "approval_refuse"
# What the select of times offers: value -> seconds.
SILENCES = {"1h": 3_600, "4h": 14_400, "24h": 86_400, "7d": 604_800}
_SILENCE_NAMES = {"1h": "for 1 hour", "4h": "for 4 hours", "24h": "for 24 hours", "7d": "for 7 days"}

_MARKS = {"acknowledged": "👀", "silenced": "🔕", "resolved": "✅", "merged": "🔀", "reopened": "🔁"}


@dataclass(frozen=True)
class _Detail:
    """How much of each part is shown."""

    prose: int
    quotes: int
    frames: int
    lines: int
    line: int
    items: int


# Room for what is said when it is decided, and for the script's answer.
_MAX_APPROVAL_CHARACTERS = 9_500

# Cause and next steps have to be on a phone's first screen; what is longer stands in full further down.
_TOP_CAUSE, _TOP_STEPS, _TOP_STEP, _TOP_NOTE = 300, 480, 130, 100
_MAX_STEPS = 8

# The next smaller one where a message would be too long.
_DETAILS = (
    _Detail(prose=1_500, quotes=6, frames=8, lines=9, line=200, items=5),
    _Detail(prose=700, quotes=4, frames=5, lines=7, line=140, items=4),
    _Detail(prose=300, quotes=2, frames=3, lines=5, line=100, items=3),
    _Detail(prose=120, quotes=1, frames=1, lines=3, line=80, items=1),
)


# --- an incident --------------------------------------------------------------------------------------------------


def incident_message(
    report: Mapping[str, Any], state: Mapping[str, Any] | None = None, *, buttons: bool = True
) -> Json:
    """The message about an incident, `{"text", "blocks"}`, within Slack's limits.

    Parameters
    ----------
    report, state
        See `report_view`; `state` goes before `report`.
    buttons
        Off for a webhook, which cannot take an answer.
    """
    incident = ReportView.of(report, state)
    for detail in _DETAILS:
        page = Mrkdwn()
        blocks = list(_incident_blocks(incident, page, detail, buttons))
        if size_of(blocks) <= MAX_MESSAGE_CHARACTERS:
            break
    while size_of(blocks) > MAX_MESSAGE_CHARACTERS:
        # What stands last of all but the fingerprint and the link to the whole report.
        del blocks[-3]
    return {"text": _notification(incident), "blocks": blocks}


def resolve_view(fingerprint: str, title: str, channel: str = "", message_ts: str = "") -> Json:
    """The window in which whoever resolves an incident says what did it."""
    note: Json = {"type": "plain_text_input", "action_id": "note", "multiline": True, "max_length": 1_000}
    return view(
        RESOLVE_NOTED,
        "Resolve incident",
        "Resolve",
        metadata(fingerprint, channel, message_ts),
        [
            section(Mrkdwn().line(title, 300)),
            {
                "type": "input",
                "block_id": "note",
                "optional": True,
                "label": plain("What resolved it?"),
                "hint": plain("Shown when this error comes back."),
                "element": note,
            },
        ],
    )


def merge_view(
    fingerprint: str,
    title: str,
    others: Sequence[tuple[str, str]],
    channel: str = "",
    message_ts: str = "",
) -> Json:
    """The window that asks which incident this one belongs to.

    Parameters
    ----------
    others
        Fingerprint and title of the incidents to choose from, best first; 100 of them are shown.
    """
    options = [
        {"text": plain(f"{one_line(name, 56)} ({other})", 75), "value": other}
        for other, name in others[:MAX_OPTIONS]
        if other != fingerprint
    ]
    about = metadata(fingerprint, channel, message_ts)
    if not options:
        return view("incident_merge_nothing", "Merge incident", "", about, [section("There is no other incident.")])
    return view(
        MERGE_CHOSEN,
        "Merge incident",
        "Merge",
        about,
        [
            section(f"{Mrkdwn().line(title, 300)}\nFrom now on its errors count for the incident that you choose."),
            {
                "type": "input",
                "block_id": "into",
                "label": plain("Belongs to"),
                "element": {
                    "type": "static_select",
                    "action_id": "into",
                    "placeholder": plain("Choose an incident"),
                    "options": options,
                },
            },
        ],
    )


def held_back_message(held: Mapping[str, Any]) -> Json:
    """What is said once when the limit of incidents per hour is reached.

    Parameters
    ----------
    held
        `limit`, `incidents` [{fingerprint, title, count, log_group}] that are not reported one by one, `until` (epoch
        seconds; when reporting goes on) and `links` {report}.
    """
    page = Mrkdwn()
    incidents = list(held.get("incidents") or [])
    limit, number = held.get("limit"), len(incidents)
    shown = incidents[:20]
    rows = [
        f"• {page.line(item.get('title') or item.get('fingerprint'), 150)} · {times(item.get('count', 1))}"
        + (f" · {page.code(item['log_group'], 100)}" if item.get("log_group") else "")
        for item in shown
    ]
    if number > len(shown):
        rows.append(f"and {number - len(shown):,} more")
    said = f"{number} new {'incident is' if number == 1 else 'incidents are'} held back"
    until = f" Reporting goes on {date(held['until'])}." if held.get("until") else ""
    link = (held.get("links") or {}).get("report")
    blocks = [
        header(f"⏸️ {said}"),
        section(
            f"The limit of {limit} new incidents an hour is reached. Their errors are counted and kept; no message and"
            f" no model call is made for each.{until}"
        ),
        *listed("Held back", rows, page),
        *(
            [context(page.link(link, "All of them", url_limit=OUR_URL_CHARACTERS))]
            if safe_url(link, OUR_URL_CHARACTERS)
            else []
        ),
    ]
    names = "; ".join(one_line(item.get("title") or item.get("fingerprint"), 60) for item in shown[:3])
    return {"text": fallback(f"⏸️ {said} (limit {limit} an hour): {names}"), "blocks": blocks}


# --- its blocks ---------------------------------------------------------------------------------------------------


def _incident_blocks(incident: ReportView, page: Mrkdwn, detail: _Detail, buttons: bool) -> Iterator[Json]:
    mark = _MARKS.get(incident.status, "🔴")
    yield header(f"{mark} {shortened(incident.title, 100)}")
    where = [page.code(place, 90) for place in incident.place[:1]] + [page.line(p, 20) for p in incident.place[1:]]
    if incident.spot:
        where.append(page.code(incident.spot, 90))
    if where:
        yield context(" · ".join(where))
    if status := _status(incident, page):
        yield section(status)
    top = Mrkdwn()
    yield section(_cause(incident, top))
    if steps := _steps(incident, top):
        yield section(steps)
    yield context(_seen(incident, page), *_own_links(incident, page))
    if buttons and (elements := _incident_buttons(incident)):
        yield {"type": "actions", "elements": elements}
    yield {"type": "divider"}
    if top.was_cut:
        yield from _in_full(incident, page, detail)
    yield from _explanation(incident, page, detail)
    yield from _around(incident, page, detail)
    yield from _small_print(incident, page, detail)


def _status(incident: ReportView, page: Mrkdwn) -> str:
    data, by = incident.data, ""
    if data.get("by"):
        by = f" by *{page.line(data['by'], 80)}*"
    note = f"\n{page.prose(data['note'], _TOP_NOTE)}" if data.get("note") else ""
    if incident.status == "acknowledged":
        return f"👀 Acknowledged{by}{note}"
    if incident.status == "silenced":
        until = f" until {date(data['until'])}" if data.get("until") else ""
        return f"🔕 Silenced{by}{until}{note}"
    if incident.status == "resolved":
        return f"✅ Resolved{by}{note}"
    if incident.status == "merged":
        into = f" into {page.code(data['into'], 80)}" if data.get("into") else ""
        return f"🔀 Merged{into}{by}{note}"
    if incident.status == "reopened":
        return f"🔁 *It is back.*{note}"
    return ""


def _cause(incident: ReportView, page: Mrkdwn) -> str:
    side = SIDES.get(str(incident.answer.get("side")), "")
    head = f"*{CAUSE_TITLES[incident.verdict]}* · `{incident.verdict}`" + (f" · {side}" if side else "")
    if incident.cause:
        return f"{head}\n{page.prose(incident.cause, _TOP_CAUSE)}"
    why = "No usable answer from a model." if incident.verdict == "NO_ANSWER" else "The evidence does not tell."
    return f"{head}\n{why} The error says:\n{page.block([incident.said or incident.title], _TOP_CAUSE, _TOP_CAUSE)}"


def _steps(incident: ReportView, page: Mrkdwn) -> str:
    steps = incident.steps
    if steps:
        room, shown = _TOP_STEPS, []
        for number, step in enumerate(steps[:_MAX_STEPS], 1):
            text = page.prose(step, _TOP_STEP)
            # Each ends with a line that is not full.
            room -= length(text) + 30
            if room < 0:
                page.was_cut = True
                break
            shown.append(f"{number}. {text}")
        return f"*Next step{'' if len(steps) == 1 else 's'}*\n" + "\n".join(shown)
    if earlier := _first_text([row for row in incident.evidence(EARLIER) if row.get("note")]):
        return f"*Next step*\nSee whether it helps again: {page.prose(earlier, _TOP_STEP)}"
    if deployed := _first_text(incident.evidence(DEPLOYMENT)):
        return f"*Next step*\nLook at what changed: {page.prose(deployed, _TOP_STEP)}"
    return ""


def _first_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first of the rows that says something."""
    said = (": ".join(str(row[key]) for key in ("source", "text") if row.get(key)) for row in rows if row.get("text"))
    return next(said, "")


def _in_full(incident: ReportView, page: Mrkdwn, detail: _Detail) -> Iterator[Json]:
    """What of cause and steps did not fit at the top."""
    if length(incident.cause) > _TOP_CAUSE:
        yield section(f"*The cause in full*\n{page.prose(incident.cause, detail.prose)}")
    at_the_top = _steps(incident, Mrkdwn())
    rows = [
        f"{number}. {page.prose(step, detail.prose // 3)}"
        for number, step in enumerate(incident.steps[:_MAX_STEPS], 1)
        if length(step) > _TOP_STEP or f"\n{number}. " not in at_the_top
    ]
    yield from listed("More on the next steps", rows, page)


def _seen(incident: ReportView, page: Mrkdwn) -> str:
    first, last = incident.data.get("first_seen"), incident.data.get("last_seen")
    parts = [f"*Seen {times(incident.count)}*"]
    if first:
        parts.append(f"first {date(first)}")
    if last and incident.count > 1 and utc(last) != utc(first):
        parts.append(f"last {date(last)}")
    days = incident.data.get("per_day") or {}
    if len(days) > 1:
        recent = sorted(days)[-7:]
        parts.append(", ".join(f"{page.line(day, 10)[5:]}: {int(days[day]):,}" for day in recent))
    return " · ".join(parts)


def _own_links(incident: ReportView, page: Mrkdwn) -> list[str]:
    return [
        page.link(incident.links[name], title, url_limit=OUR_URL_CHARACTERS)
        for name, title in LINKS
        if safe_url(incident.links.get(name), OUR_URL_CHARACTERS)
    ]


def _incident_buttons(incident: ReportView) -> list[Json]:
    value = incident.fingerprint
    if incident.status in ("resolved", "merged"):
        return []
    silences = {
        "type": "static_select",
        "action_id": SILENCE,
        "placeholder": plain("Silence …"),
        "options": [
            {"text": plain(_SILENCE_NAMES[name].capitalize()), "value": f"{value} {name}"} for name in SILENCES
        ],
    }
    first = [] if incident.status == "acknowledged" else [button(ACKNOWLEDGE, "Acknowledge", value, style="primary")]
    return [*first, silences, button(MERGE, "Merge …", value), button(RESOLVE, "Resolve …", value)]


def _explanation(incident: ReportView, page: Mrkdwn, detail: _Detail) -> Iterator[Json]:
    """What happened, the error itself, and what the answer is founded on."""
    if happened := words(incident.answer.get("what_happened")):
        yield section(f"*What happened*\n{page.prose(happened, detail.prose)}")
    frames = incident.frames
    # Without a cause the error's own words stand in its place.
    said = [incident.said] if incident.said and incident.cause else []
    if said or frames:
        page.was_cut |= len(frames) > detail.frames
        lines = said + [f"  at {frame}" for frame in frames[: detail.frames]]
        yield section(f"*The error*\n{page.block(lines, detail.prose + 300, detail.line * 2)}")
    quotes = incident.quotes
    if quotes:
        page.was_cut |= len(quotes) > detail.quotes
        rows = [
            "• " + (f"*{page.line(line, 40)}* " if line else "") + page.code(without_prefix(quote), detail.line)
            for line, quote in quotes[: detail.quotes]
        ]
        yield from listed("Evidence", rows, page)


def _around(incident: ReportView, page: Mrkdwn, detail: _Detail) -> Iterator[Json]:
    """Log lines, other facts, Stack Overflow, earlier incidents."""
    if lines := incident.context(detail.lines):
        yield section(f"*Log around it*\n{page.block(lines, 2_500, detail.line)}")
    if rows := _rows(incident.facts, page, detail):
        yield from listed("Around the same time", rows, page)
    if rows := _rows(incident.evidence(EARLIER), page, detail):
        yield from listed("Earlier incidents like this", rows, page)
    posts = incident.evidence(STACK_OVERFLOW)
    if posts:
        page.was_cut |= len(posts) > detail.items
        links = [
            f"• {page.link(post.get('url'), post.get('source') or post.get('text') or 'question')}"
            for post in posts[: detail.items]
        ]
        yield from listed("Stack Overflow", links, page)
    if links := _answer_links(incident, page, detail):
        yield from listed("See also", links, page)


def _rows(evidence: Sequence[Mapping[str, Any]], page: Mrkdwn, detail: _Detail) -> list[str]:
    page.was_cut |= len(evidence) > detail.items
    rows = []
    for row in evidence[: detail.items]:
        source = page.link(row.get("url"), row["source"]) if row.get("source") else ""
        said = ends_of(without_prefix(words(row.get("text"))))
        text = page.prose(" ".join(said.split()), 300 if detail.prose > 300 else 120)
        rows.append("• " + ": ".join(part for part in (source, text) if part))
    return rows


def _answer_links(incident: ReportView, page: Mrkdwn, detail: _Detail) -> list[str]:
    """The answer's links; only those that the evidence has, since a model may make addresses up."""
    known = {str(row.get("url")) for row in incident.facts + incident.evidence(EARLIER) if row.get("url")}
    links = []
    for link in incident.answer.get("links") or []:
        url = str(link.get("url") if isinstance(link, Mapping) else link)
        title = words(link) if isinstance(link, Mapping) else url
        if url in known:
            links.append(f"• {page.link(url, title or url)}")
    return links[: detail.items]


def _small_print(incident: ReportView, page: Mrkdwn, detail: _Detail) -> Iterator[Json]:
    """What is missing, which limits were reached, how it was grouped."""
    parts = (
        ("⚠️", "Missing", incident.missing),
        ("⛔", "Limit reached", incident.limits),
        ("🔎", "Why the verdict is no better one", incident.doubts),
    )
    for mark, title, rows in parts:
        if rows:
            page.was_cut |= len(rows) > detail.items + 3
            text = "\n".join(f"• {page.prose(row, 200)}" for row in rows[: detail.items + 3])
            yield context(f"{mark} *{title}*\n{text}")
    generation = incident.data.get("generation")
    about = [f"Fingerprint {page.code(incident.fingerprint, 80)}"]
    if generation and str(generation) != "1":
        about.append(f"incident {page.line(generation, 20)} of this kind")
    if incident.grouping:
        about.append(f"grouped by {page.prose(incident.grouping, 200)}")
    if incident.data.get("model"):
        about.append(f"explained by {page.line(incident.data['model'], 60)}")
    yield context(" · ".join(about))
    if page.was_cut:
        # An address of more than 1,000 characters is at the top already, and is not repeated.
        yield context(f"✂️ Shortened. Everything is in {page.link(incident.links.get('report'), 'the whole report')}.")


def _notification(incident: ReportView) -> str:
    """What a phone shows before it is unlocked."""
    place = one_line(incident.place[0], 80) if incident.place else ""
    parts = [f"{_MARKS.get(incident.status, '🔴')} {shortened(incident.title, 150)}"]
    if place and place not in incident.title:
        parts.append(place)
    parts.append(f"seen {times(incident.count)}")
    if incident.cause:
        parts.append(f"{CAUSE_TITLES[incident.verdict]}: {one_line(incident.cause, 200)}")
    return fallback(" · ".join(parts))


# --- approvals ----------------------------------------------------------------------------------------------------


def approval_message(approval: Mapping[str, Any]) -> Json:
    """Asks whether a script may run.

    Parameters
    ----------
    approval
        `id`, `script`, `requested_by`, `reason`, `parameters` (secrets masked), `plan` (write calls, each text or
        {service, operation, parameters, resource}), `risk`, `expires_at` (epoch seconds), `links` {document}. What is
        longer than about 9,000 characters can only be refused there, since nobody would see what they approve; the
        message names the command that shows all of it.
    """
    page = Mrkdwn()
    script, approval_id = one_line(approval.get("script"), 80), one_line(approval.get("id"), 200)
    confirm = {
        "title": plain(f"Run {script}?", 100),
        "text": plain(f"Makes the plan's {_calls(approval)} at once.", 300),
        "confirm": plain("Run it"),
        "deny": plain("Not yet"),
        "style": "danger",
    }
    refusal = {
        "title": plain(f"Refuse {script}?", 100),
        "text": plain("The script does not run; whoever asked is told.", 300),
        "confirm": plain("Refuse"),
        "deny": plain("Not yet"),
    }
    blocks = list(_approval_blocks(approval, page, f"🙋 Run {script}?"))
    blocks.append(
        context(f"Expires {date(approval['expires_at'])}" if approval.get("expires_at") else "Does not expire")
    )
    approve = button(APPROVE, "Approve and run", approval_id, style="primary", confirm=confirm)
    refuse = button(REFUSE, "Refuse", approval_id, style="danger", confirm=refusal)
    # Who approves has to have seen all of it.
    if page.was_cut or size_of(blocks) > _MAX_APPROVAL_CHARACTERS:
        command = Mrkdwn().code(f"watchfloor script approve {approval_id}")
        blocks[2:-1] = [
            section(
                "⚠️ *This is too much to be shown here, so it cannot be approved here.* Ask for less at once, or look at all"
                f" of it and approve it with {command}, with `--stack` and the stack's name."
            )
        ]
        elements = [refuse]
    else:
        elements = [approve, refuse]
    blocks.append({"type": "actions", "elements": elements})
    text = f"🙋 {script} waits for approval, asked for by {one_line(approval.get('requested_by'), 80)}"
    return {"text": fallback(text), "blocks": blocks}


_DECISIONS = {
    "approved": ("✅", "Approved"),
    "refused": ("⛔", "Refused"),
    "expired": ("⌛", "Expired, nobody decided"),
}


def decided_message(approval: Mapping[str, Any]) -> Json:
    """What takes the place of `approval_message` once it is decided.

    Parameters
    ----------
    approval
        As for `approval_message`, and `decision` (approved, refused or expired), `by`, `at` (epoch seconds), and after
        the run `result`: text, or the script's answer {status, changed, result | error}.
    """
    page = Mrkdwn()
    mark, word = _DECISIONS.get(str(approval.get("decision")), ("❔", one_line(approval.get("decision"), 40)))
    script = one_line(approval.get("script"), 80)
    by = f" by *{page.line(approval['by'], 80)}*" if approval.get("by") else ""
    at = f" {date(approval['at'])}" if approval.get("at") else ""
    blocks = [*_approval_blocks(approval, page, f"{mark} {script}: {word.lower()}")]
    if size_of(blocks) > _MAX_APPROVAL_CHARACTERS:
        del blocks[2:]
    blocks.append(section(f"{word}{by}{at}."))
    result = approval.get("result")
    if result is not None:
        room = 2_000 if size_of(blocks) < 5_000 else 800
        blocks.append(section(f"*Result*\n{page.block([pretty(result)], room, 300)}"))
    outcome = f", {one_line(result['status'], 40)}" if isinstance(result, Mapping) and result.get("status") else ""
    who = f" by {one_line(approval['by'], 80)}" if approval.get("by") else ""
    return {"text": fallback(f"{mark} {script}: {word.lower()}{who}{outcome}"), "blocks": blocks}


def _approval_blocks(approval: Mapping[str, Any], page: Mrkdwn, title: str) -> Iterator[Json]:
    yield header(title)
    asked = f"Asked for by *{page.line(approval.get('requested_by') or 'nobody named', 200)}*"
    risk = f" · risk *{page.line(approval['risk'], 200)}*" if approval.get("risk") else ""
    # One that is cut is no reason to forbid the approval, as a plan is.
    reason = f"\n{Mrkdwn().prose(approval['reason'], 500)}" if approval.get("reason") else ""
    yield section(f"{asked}{risk}{reason}")
    if approval.get("parameters"):
        lines = [f"{name} = {compact(value)}" for name, value in approval["parameters"].items()]
        yield section(f"*Parameters*\n{page.block(lines, 2_500, 2_400)}")
    plan = [_call(call) for call in approval.get("plan") or []]
    yield section(f"*What it would do* ({_calls(approval)})" if plan else "*It would write nothing.*")
    if plan:
        for part in page.blocks(plan, 2_900, 2_800, most=4):
            yield section(part)
    document = (approval.get("links") or {}).get("document")
    if safe_url(document):
        yield context(page.link(document, "The script's document"))


def _calls(approval: Mapping[str, Any]) -> str:
    number = len(approval.get("plan") or [])
    return f"{number} write call{'' if number == 1 else 's'}"


def _call(call: object) -> str:
    """`ecs.UpdateService(cluster="prod", …)`, or whatever was given instead."""
    if not isinstance(call, Mapping):
        return str(call)
    name = ".".join(str(call[key]) for key in ("service", "operation") if call.get(key))
    if not name:
        return compact(call)
    parameters = call.get("parameters") or {}
    resource = f" on {call['resource']}" if call.get("resource") else ""
    given = ", ".join(f"{key}={compact(value)}" for key, value in parameters.items())
    return f"{name}({given}){resource}"
