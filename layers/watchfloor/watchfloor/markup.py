"""One small document, written for Jira Cloud (ADF), Jira Data Center (wiki markup) and Kibana (Markdown).

Text that comes from alerts is foreign: an attacker may have written it. It is kept apart from our own words until it
is written, and then cannot become markup, a mention, an image or a link.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MAX_FOREIGN_CHARACTERS = 200

# The characters that Jira's renderer lets a backslash escape; any other backslash stays in the text.
# https://docs.atlassian.com/atlassian-renderer/5.0/apidocs/com/atlassian/renderer/v2/components/BackslashEscapeRendererComponent.html
_WIKI_SPECIAL = re.compile(r"[-#*_+?^~|%{}\[\]()!@]")
_BACKTICKS = re.compile(r"`+")
_WWW = re.compile(r"\bwww\.", re.IGNORECASE)


@dataclass(frozen=True)
class Foreign:
    """Text of somebody else, shown as it is, up to a number of characters."""

    text: str
    limit: int = MAX_FOREIGN_CHARACTERS

    def __str__(self) -> str:
        return clean(self.text, self.limit) or " "


@dataclass(frozen=True)
class Link:
    """A link of ours: both text and address are under our control."""

    text: str
    url: str


Inline = str | Foreign | Link


@dataclass(frozen=True)
class Section:
    """A heading with a list below it."""

    title: str
    items: Sequence[Sequence[Inline]]


def clean(text: object, limit: int = MAX_FOREIGN_CHARACTERS) -> str:
    """One line of printable text: no control, direction or zero-width characters, no URL a page would make a link of."""
    line = str(text)[: limit * 4]
    if not line.isprintable():
        line = "".join(" " if _is_hidden(character) else character for character in line)
    line = _WWW.sub("www[.]", " ".join(line.split()).replace("://", "[:]//"))
    return cut(line, limit)


def length(text: str) -> int:
    """UTF-16 code units: what Jira (Java) and Kibana (JavaScript) count as characters."""
    return len(text.encode("utf-16-le")) // 2


def cut(text: str, limit: int) -> str:
    if length(text) <= limit:
        return text
    return text.encode("utf-16-le")[: 2 * (limit - 1)].decode("utf-16-le", "ignore") + "…"


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


# --- Markdown -----------------------------------------------------------------------------------------------------


def to_markdown(sections: Sequence[Section]) -> str:
    """CommonMark; foreign text in code spans, where nothing has a meaning."""
    return "\n\n".join(
        f"### {section.title}\n\n" + "\n".join(f"- {_join(item, _markdown)}" for item in section.items)
        for section in sections
    )


def _markdown(part: Inline) -> str:
    if isinstance(part, Foreign):
        text = str(part)
        fence = "`" * (max((len(run) for run in _BACKTICKS.findall(text)), default=0) + 1)
        padding = " " if text.startswith("`") or text.endswith("`") else ""
        return f"{fence}{padding}{text}{padding}{fence}"
    if isinstance(part, Link):
        return f"[{part.text}]({part.url})"
    return part


# --- Jira wiki markup ---------------------------------------------------------------------------------------------


def to_wiki(sections: Sequence[Section]) -> str:
    """Wiki markup of Jira Data Center; foreign text escaped, and never at the start of a line."""
    return "\n\n".join(
        f"h3. {section.title}\n" + "\n".join(f"* {_join(item, _wiki)}" for item in section.items)
        for section in sections
    )


def _wiki(part: Inline) -> str:
    if isinstance(part, Foreign):
        # A backslash would undo the escape after it, so it goes in as an entity.
        text = str(part).replace("&", "&amp;").replace("\\", "&#92;")
        return _WIKI_SPECIAL.sub(r"\\\g<0>", text)
    if isinstance(part, Link):
        return f"[{part.text}|{part.url}]"
    return part


# --- Atlassian Document Format ------------------------------------------------------------------------------------


def to_adf(sections: Sequence[Section]) -> dict[str, Any]:
    """Atlassian Document Format; foreign text in text nodes, which are never parsed.

    https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/
    """
    content: list[dict[str, Any]] = []
    for section in sections:
        heading = {"type": "heading", "attrs": {"level": 3}, "content": [{"type": "text", "text": section.title}]}
        items = [
            {"type": "listItem", "content": [{"type": "paragraph", "content": [_adf(part) for part in item]}]}
            for item in section.items
        ]
        content += [heading, {"type": "bulletList", "content": items}]
    return {"type": "doc", "version": 1, "content": content}


def _adf(part: Inline) -> dict[str, Any]:
    if isinstance(part, Foreign):
        return {"type": "text", "text": str(part), "marks": [{"type": "code"}]}
    if isinstance(part, Link):
        return {"type": "text", "text": part.text, "marks": [{"type": "link", "attrs": {"href": part.url}}]}
    return {"type": "text", "text": part}


def _join(item: Sequence[Inline], write: Callable[[Inline], str]) -> str:
    return "".join(write(part) for part in item)
