"""The pieces of Slack's Block Kit that messages are made of, within Slack's limits.

https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from typing import Any

from watchfloor.foreign_text import Mrkdwn, one_line
from watchfloor.markup import length

Json = dict[str, Any]

MAX_MESSAGE_CHARACTERS = 13_000
MAX_SECTION_CHARACTERS = 3_000
MAX_HEADER_CHARACTERS = 150
MAX_OPTIONS = 100


def header(text: str) -> Json:
    return {"type": "header", "text": plain(text, MAX_HEADER_CHARACTERS)}


def section(text: str) -> Json:
    return {"type": "section", "text": _mrkdwn(text)}


def context(*texts: str) -> Json:
    return {"type": "context", "elements": [_mrkdwn(text) for text in texts]}


def listed(title: str, rows: Sequence[str], page: Mrkdwn) -> Iterator[Json]:
    """One section with as many of the rows as it holds."""
    text = f"*{title}*"
    for row in rows:
        if length(text) + length(row) >= MAX_SECTION_CHARACTERS:
            page.was_cut = True
            break
        text += f"\n{row}"
    if rows:
        yield section(text)


def _mrkdwn(text: str) -> Json:
    # Verbatim: Slack makes no links, mentions or channels of what looks like some.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def plain(text: str, limit: int = 75) -> Json:
    return {"type": "plain_text", "text": one_line(text, limit), "emoji": False}


def button(action_id: str, text: str, value: str, **more: Any) -> Json:
    return {"type": "button", "action_id": action_id, "text": plain(text), "value": value, **more}


def view(callback_id: str, title: str, submit: str, about: str, blocks: list[Json]) -> Json:
    """A modal window; without a word on its button to submit, it only tells something."""
    window: Json = {
        "type": "modal",
        "callback_id": callback_id,
        "title": plain(title, 24),
        "close": plain("Cancel", 24),
        "private_metadata": about,
        "blocks": blocks,
    }
    return {**window, "submit": plain(submit, 24)} if submit else window


def metadata(value: str, channel: str, message_ts: str) -> str:
    """What a window is about, and the message whose button opened it; comes back when it is submitted."""
    return json.dumps({"value": value, "channel": channel, "message_ts": message_ts})


def fallback(text: str) -> str:
    """The text beside the blocks is mrkdwn as well."""
    return Mrkdwn().line(text, 600)


def size_of(blocks: Sequence[Json]) -> int:
    return length(json.dumps(blocks, ensure_ascii=False, separators=(",", ":")))


def times(count: Any) -> str:
    number = int(count or 1)
    return "once" if number == 1 else f"{number:,} times"


def _moment(value: object) -> dt.datetime | None:
    try:
        if isinstance(value, str) and not value.replace(".", "", 1).isdigit():
            moment = dt.datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        return dt.datetime.fromtimestamp(float(str(value)), dt.UTC)
    except (ValueError, OverflowError, OSError):
        return None


def date(value: object) -> str:
    """A time as each reader's own clock has it."""
    moment = _moment(value)
    if moment is None:
        return Mrkdwn().line(value, 40)
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} {{time}}|{utc(value)}>"


def utc(value: object) -> str:
    moment = _moment(value)
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC") if moment else one_line(value, 40)


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def pretty(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, default=str)
