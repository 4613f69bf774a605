"""Tracebacks as CPython's traceback module prints them, exception groups included."""

from __future__ import annotations

import re
from dataclasses import replace

from watchfloor.stack_frames import CAUSE, CONTEXT, MEMBER, OUTERMOST, Frame, Raised
from watchfloor.trace_headers import TYPE, header, is_random, named

FRAME = re.compile(r'^[\s|>]{0,60}File "([^"]{1,500})", line (\d{1,9})(?:, in (.{1,200}))?$')
_START = "Traceback (most recent call last)"
_LINKS = {
    "The above exception was the direct cause of the following exception": CAUSE,
    "During handling of the above exception, another exception occurred": CONTEXT,
}
_GROUP_EDGE = re.compile(r"^\s{0,200}\+[-+]{2,60}(?: (\d{1,6}|\.\.\.) -{2,60})?$")
_GROUP_BAR = re.compile(r"^\s{0,200}[|+] ?")
_MARKS = re.compile(r"^[\s~^]*$|^\s*(?:\[Previous line repeated|\.\.\.<\d+ lines>)|[│└├]")


def python(lines: list[str]) -> list[Raised]:
    blocks: list[Raised] = []
    links: list[str] = []
    frames: list[Frame] = []
    before: list[str] = []
    member_from: int | None = None
    index, pending, wants_type = 0, OUTERMOST, False
    while index < len(lines):
        raw = lines[index]
        index += 1
        if member_from is None and _GROUP_EDGE.match(raw) and blocks:
            member_from = len(blocks)
        line = _GROUP_BAR.sub("", raw, count=1) if "|" in raw[:200] or "+ Exception Group" in raw else raw
        if _GROUP_EDGE.match(raw):
            pending = OUTERMOST if member_from is None else MEMBER
            continue
        link = next((kind for words, kind in _LINKS.items() if words in line), None)
        if link:
            pending = link
            continue
        if _START in line:
            if frames and not wants_type:
                frames = []
            wants_type = True
            lead = line.split(_START)[0]
            if lead.strip():
                before.append(lead)
            continue
        found = FRAME.match(line)
        if found:
            wants_type = True
            source = ""
            if index < len(lines):
                after = _GROUP_BAR.sub("", lines[index], count=1) if "|" in lines[index][:200] else lines[index]
                # Lambda indents by no-break spaces.
                if after[:1].isspace() and not FRAME.match(after) and not _MARKS.match(after):
                    source = after.strip()
                    index += 1
            frames.append(Frame(found[1], found[3] or "<module>", int(found[2]), source=source))
            continue
        if not frames:
            before.append(line)
            continue
        if not line.strip() or line[0].isspace() or _MARKS.search(line):
            continue
        if not wants_type:
            continue
        head = header(line) or last_line(line)
        if head is None:
            continue
        words = [head[1]]
        while index < len(lines) and _continues_message(lines[index]):
            words.append(_GROUP_BAR.sub("", lines[index], count=1) if member_from is not None else lines[index])
            index += 1
        blocks.append(Raised(head[0], "\n".join(words).strip(), tuple(frames)))
        links.append(pending)
        frames, wants_type, pending = [], False, OUTERMOST
        before = []
    if frames:
        # Lambda prints the type before the trace; a trace cut short has none.
        kind, message = named(before)
        if not kind and blocks:
            return _order(blocks, links, member_from)
        blocks.append(Raised(kind, message, tuple(frames)))
        links.append(pending)
    return _order(blocks, links, member_from)


def last_line(line: str) -> tuple[str, str] | None:
    """Type and message of the line below the frames, where any name is an exception's."""
    found = re.match(rf"^({TYPE})(?:: (.*))?$", line)
    if not found or is_random(found[1]):
        return None
    if found[2] is None and (not found[1][0].isupper() or any(map(str.isdigit, found[1]))) and "." not in found[1]:
        return None
    return found[1], found[2] or ""


def _continues_message(line: str) -> bool:
    return bool(line.strip()) and not any(words in line for words in (*_LINKS, _START)) and not _GROUP_EDGE.match(line)


def _order(blocks: list[Raised], links: list[str], member_from: int | None) -> list[Raised]:
    """Python prints the first exception first; what links a block to the one printed before it stands in `links`."""
    if member_from is None:
        ordered = list(reversed(blocks))
        relations = [OUTERMOST, *reversed(links[1:])]
        merged: list[Raised] = []
        for raised, relation in zip(ordered, relations, strict=True):
            if merged and relation == OUTERMOST:
                break
            merged.append(replace(raised, relation=relation))
        return merged
    group = _order(blocks[:member_from], links[:member_from], None)[:1]
    return [*group, *(replace(raised, relation=MEMBER) for raised in blocks[member_from:])]
