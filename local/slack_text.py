"""Slack's Block Kit on a terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any

from rich.style import Style
from rich.text import Text

from local.report import say

_FENCE = re.compile(r"```\n?(.*?)```", re.DOTALL)
_INLINE = re.compile(
    r"`(?P<code>[^`\n]+)`|(?<!\w)\*(?P<bold>[^*\n]+)\*(?!\w)|<!date\^[^|>]*\|(?P<date>[^>]*)>"
    r"|<(?P<url>(?:https?|mailto):[^|>]+)(?:\|(?P<label>[^>]*))?>"
)


def lines(blocks: Sequence[dict[str, Any]]) -> Iterator[Text]:
    """The message as a reader sees it, a line each; what can be pressed stands in brackets."""
    for block in blocks:
        kind = block["type"]
        if kind == "header":
            yield say(block["text"]["text"], "bold")
        elif kind == "section":
            yield from _mrkdwn(block["text"]["text"])
            yield Text()
        elif kind == "context":
            # Its elements stand beside each other.
            yield from _mrkdwn(" · ".join(element["text"] for element in block["elements"]), "dim")
        elif kind == "actions":
            buttons = [_label(element) for element in block["elements"]]
            yield Text("  ".join(buttons), style="reverse")
            yield Text()
        elif kind == "divider":
            yield Text("─" * 60, style="dim")


def _label(element: dict[str, Any]) -> str:
    if element["type"] == "button":
        return f"[ {element['text']['text']} ]"
    return f"[ {element['placeholder']['text']} ▾ ]"


def _mrkdwn(text: str, style: str = "") -> Iterator[Text]:
    for number, part in enumerate(_FENCE.split(text)):
        if number % 2:
            for line in part.rstrip("\n").split("\n"):
                yield say(f"    {html.unescape(line)}", "cyan")
        else:
            for line in part.strip("\n").split("\n") if part.strip("\n") else []:
                yield _line(line, style)


def _line(line: str, style: str) -> Text:
    out, end = Text(style=style), 0
    for found in _INLINE.finditer(line):
        out.append_text(say(html.unescape(line[end : found.start()])))
        end = found.end()
        if found["code"]:
            out.append_text(say(html.unescape(found["code"]), "cyan"))
        elif found["bold"]:
            out.append_text(say(html.unescape(found["bold"]), "bold"))
        elif found["url"]:
            url = html.unescape(found["url"])
            label = html.unescape(found["label"] or url)
            shown = say(label)
            shown.stylize(Style(underline=True, link=url if url.isprintable() else None))
            out.append_text(shown)
        else:
            out.append_text(say(html.unescape(found["date"])))
    out.append_text(say(html.unescape(line[end:])))
    return out
