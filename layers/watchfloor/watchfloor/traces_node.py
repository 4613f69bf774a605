"""Traces of V8 (Node, Chromium) and of Firefox and Safari."""

from __future__ import annotations

import re

from watchfloor.stack_frames import CAUSE, OUTERMOST, Frame, Raised
from watchfloor.trace_headers import header, named

FRAME = re.compile(
    r"^\s{0,40}at (?:async )?(?:(.{1,300}?) \()?((?:[A-Za-z]:[\\/]|[a-z][\w-]{1,30}:/{0,3}|/|\.{0,2}/?|<)(?:[^()]|"
    r"\([\w-]{1,30}\)){0,500}?)"
    r"(?::(\d{1,9}))?:(\d{1,9})\)?(?: \{)?$"
)
BARE = re.compile(
    r"^\s{0,40}at (?:async )?(.{1,300}?) \((<anonymous>|native|index \d{1,6}|unknown location)\)(?: \{)?$|"
    r"^\s{0,40}at (<anonymous>)$"
)
GECKO_FRAME = re.compile(r"^([\w$.<>/*\[\]]{0,200})@((?:https?|file|webpack)://?[^\s]{1,500}?):(\d{1,9}):(\d{1,9})$")
_CAUSE = re.compile(r"^\s{0,40}(?:\[(?:cause|errors)\]: (?:\[)?|[Cc]aused by: |\[\d{1,3}\]: )")
_CODE = re.compile(r"^\s{1,40}code: '?([A-Z][A-Z0-9_]{2,60}|[A-Z]\w{2,60}(?:Exception|Error))'?,?$")
# Prisma shows the call and its lines of code, then says what is wrong with it.
_EXCERPT = re.compile(r"^Invalid `[^`]{1,200}` invocation.{0,4000}\n→ \d{1,7} [^\n]{0,2000}\n(.{1,4000})$", re.DOTALL)
# console.error("what was done:", error) writes both into one line.
_PLAIN_ERROR = re.compile(r"\sError: (.*)", re.DOTALL)


def node(lines: list[str]) -> list[Raised]:
    found_all: list[tuple[str, list[str], list[Frame]]] = []
    span: list[str] = []
    relation = OUTERMOST
    current: list[Frame] | None = None
    codes: dict[int, str] = {}
    for line in lines:
        frame = _frame(line)
        if frame:
            if current is None:
                current = []
                found_all.append((relation, span, current))
                span = []
            current.append(frame)
            continue
        cause = _CAUSE.match(line)
        if cause:
            current, relation, span = None, CAUSE, [line[cause.end() :].strip()]
            continue
        if current is not None:
            stripped = line.strip()
            code = _CODE.match(line)
            if code:
                codes.setdefault(len(found_all) - 1, code[1])
            if stripped and not line[:1].isspace() and stripped[0] not in "{}])" and header(line):
                break
            continue
        span.append(line)
    else:
        if relation == CAUSE and span and current is None and header(span[0].rstrip("]}")):
            found_all.append((relation, span[:1], []))
    return [
        Raised(*_named(span), tuple(reversed(frames)), relation if index else OUTERMOST, codes.get(index, ""))
        for index, (relation, span, frames) in enumerate(found_all)
    ]


def _frame(line: str) -> Frame | None:
    found = FRAME.match(line)
    if found:
        return Frame(found[2], found[1] or "<anonymous>", int(found[3] or found[4]))
    bare = BARE.match(line)
    if bare:
        return Frame(bare[2] or "<anonymous>", bare[1] or "<anonymous>")
    gecko = GECKO_FRAME.match(line)
    return Frame(gecko[2], gecko[1] or "<anonymous>", int(gecko[3])) if gecko else None


def _named(span: list[str]) -> tuple[str, str]:
    # A crash shows the source and a caret before the error itself.
    at = next((index for index in range(len(span) - 1, -1, -1) if header(span[index])), None)
    first = next((index for index, line in enumerate(span) if header(line)), None)
    if first is not None and at is not None and any(set(line.strip()) == {"^"} for line in span[:at]):
        first = at
    kind, message = named(span[first:] if first is not None else span)
    excerpt = _EXCERPT.search(message)
    if excerpt:
        message = excerpt[1].strip()
    plain = _PLAIN_ERROR.search(message) if not kind else None
    return ("Error", plain[1].strip()) if plain else (kind, message)
