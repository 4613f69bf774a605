"""Text of somebody else (logs, pages, models, people) made safe to show: as Slack's mrkdwn, or plain in a mail.

What is shown is what was meant to be seen: no control, direction or zero-width characters, no terminal colours. It
cannot mention anybody, become a link, or leave the code span or block that it was put into.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import quote, urlsplit

from watchfloor.markup import length

MAX_URL_CHARACTERS = 1_000

# CSI, OSC and two-character sequences: https://ecma-international.org/publications-and-standards/standards/ecma-48/
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])|\x9b[0-?]*[ -/]*[@-~]")
_WWW = re.compile(r"\bwww\.", re.IGNORECASE)
_CODE_SPAN = re.compile(r"`([^`\n]+)`")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MAX_MARKS = 3
_FENCES = len("```\n\n```")
# Blank in every font though their category is that of a letter or a symbol.
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def visible(text: object, limit: int = 100_000) -> str:
    """All lines of a text, without what hides in it; URLs written so that nothing makes a link of them."""
    raw = _ANSI.sub("", str(text)[: limit * 4]).replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    kept: list[str] = []
    marks = 0
    for character in raw:
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if character == "\n" or (category[0] not in "CZ" and character not in _BLANKS and marks <= _MAX_MARKS):
            kept.append(character)
        elif category != "Cf" and marks <= _MAX_MARKS:
            kept.append("\n" if category in ("Zl", "Zp") else " ")
    return _WWW.sub("www[.]", "".join(kept).replace("://", "[:]//"))


def one_line(text: object, limit: int = 2_000) -> str:
    return shortened(" ".join(visible(text, limit).split()), limit)


def shortened(text: str, limit: int) -> str:
    """At most `limit` UTF-16 units, an ellipsis where something is missing."""
    return text if length(text) <= limit else _take(text, limit - 1) + "…"


def safe_url(url: object, limit: int = MAX_URL_CHARACTERS) -> str:
    """The address where it may be linked to (http or https, with a host), percent-encoded; otherwise nothing."""
    text = str(url or "").strip()
    try:
        parts = urlsplit(text)
        # A user in front of the host is there to make it look like another one.
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return ""
    encoded = quote(text, safe="!#$%&'()*+,/:;=?@[]~-._")
    is_plain = text.isprintable() and not set(text) & set(" \\")
    return encoded if is_web and is_plain and len(_link_target(encoded)) <= limit else ""


class Mrkdwn:
    """Writes foreign text as mrkdwn; remembers whether anything had to be shortened.

    https://docs.slack.dev/messaging/formatting-message-text/
    """

    def __init__(self) -> None:
        self.was_cut = False

    def prose(self, text: object, limit: int) -> str:
        """Sentences; what stands between single backticks becomes a code span of ours."""
        lines = [line.rstrip() for line in visible(text, limit).split("\n")]
        source = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
        written, position = "", 0
        for match in _CODE_SPAN.finditer(source):
            before = source[position : match.start()]
            written = self._add(written, before, limit)
            room = limit - length(written) - 2
            if self._escaped_length(match[1]) > room or not match[1].strip():
                written = self._add(written, f"'{match[1]}'", limit)
            else:
                written += f"`{self._escape(match[1])}`"
            position = match.end()
        return self._add(written, source[position:], limit)

    def code(self, text: object, limit: int = 200) -> str:
        """One line in a code span."""
        return f"`{self._add('', one_line(text, limit * 2), limit - 2) or ' '}`"

    def line(self, text: object, limit: int) -> str:
        """One line as it is."""
        return self._add("", one_line(text, limit * 2), limit)

    def block(self, lines: Iterable[object], limit: int, line_limit: int = 200) -> str:
        """Lines in a code block, at most `limit` in all; indentation stays."""
        return self.blocks(lines, limit, line_limit, most=1)[0]

    def blocks(self, lines: Iterable[object], limit: int, line_limit: int, most: int) -> list[str]:
        """Lines in as many code blocks as they need, at most so many."""
        pages: list[list[str]] = [[]]
        room = limit - _FENCES
        for line in self._lines(lines, min(line_limit, limit - _FENCES - 1)):
            if length(line) + 1 > room:
                if len(pages) == most:
                    self.was_cut = True
                    break
                pages.append([])
                room = limit - _FENCES
            pages[-1].append(line)
            room -= length(line) + 1
        return ["```\n" + ("\n".join(page) or " ") + "\n```" for page in pages]

    def _lines(self, texts: Iterable[object], limit: int) -> Iterator[str]:
        for text in texts:
            for line in visible(text, limit * 20).rstrip().split("\n"):
                yield self._add("", line.rstrip(), limit)

    def link(self, url: object, text: object, limit: int = 150, url_limit: int = MAX_URL_CHARACTERS) -> str:
        """A link, or its text where the address is none to link to."""
        label = self._add("", one_line(text, limit * 2).replace("|", "¦"), limit)
        address = safe_url(url, url_limit)
        return f"<{_link_target(address)}|{label or 'open'}>" if address else label

    def _add(self, written: str, text: str, limit: int) -> str:
        """`written` and the escaped text, cut between two characters."""
        escaped = self._escape(text)
        room = limit - length(written)
        if length(escaped) <= room:
            return written + escaped
        self.was_cut = True
        if written.endswith("…"):
            return written
        pieces, used = [], 1
        for character in text:
            piece = self._escape(character)
            used += length(piece)
            if used > room:
                break
            pieces.append(piece)
        return written + "".join(pieces).rstrip() + ("…" if room > 0 else "")

    @staticmethod
    def _escape(text: str) -> str:
        return "".join(_ESCAPES.get(character, character) for character in text.replace("`", "'"))

    @classmethod
    def _escaped_length(cls, text: str) -> int:
        return length(cls._escape(text))


def _link_target(address: str) -> str:
    return address.replace("&", "&amp;")


def _take(text: str, limit: int) -> str:
    return text.encode("utf-16-le")[: 2 * max(limit, 0)].decode("utf-16-le", "ignore")
