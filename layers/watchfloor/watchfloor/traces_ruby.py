"""Backtraces of Ruby and Rails."""

from __future__ import annotations

import re
from dataclasses import replace

from watchfloor.stack_frames import CAUSE, OUTERMOST, Frame, Raised
from watchfloor.trace_headers import header, named

FRAME = re.compile(
    r"^\s{0,40}(?:\d{1,6}: )?(?:from )?((?:[A-Za-z]:)?[^\s:'\"`]{1,400}):(\d{1,9}):in [`']([^'`]{1,200})'(?::? (.{0,15"
    r"00}))?$"
)
_REVERSED = "Traceback (most recent call last)"
_TAIL = re.compile(r"^(.{0,1500}) \(([A-Z][\w:]{1,200})\)$")
_RAILS = re.compile(r"^([A-Z][\w:]{1,200}) \((.{0,1500})\):?$")
# A message that shows the code too goes on over further lines.
_RAILS_OPEN = re.compile(r"^([A-Z][\w:]{1,200}) \(([^()]{1,1500})$")


def ruby(lines: list[str]) -> list[Raised]:
    exceptions: list[Raised] = []
    span: list[str] = []
    frames: list[Frame] = []
    named: tuple[str, str] | None = None
    if any(_REVERSED in line for line in lines):
        # Ruby 2.5 to 2.7 print to a terminal the other way round.
        calls = [line for line in lines if FRAME.match(line)]
        lines = [*calls[-1:], *reversed(calls[:-1])]
    for line in lines:
        found = FRAME.match(line)
        if found is None:
            if frames and line.strip():
                if line.startswith(("Caused by:", "caused by:")) or _RAILS.match(line):
                    exceptions.append(Raised(*(named or _named(span)), _calls(frames)))
                    frames, named, span = [], None, [re.sub(r"^[Cc]aused by: ?", "", line)]
                continue
            if line.strip():
                span.append(line)
            continue
        frame = Frame(found[1], found[3], int(found[2]))
        tail = found[4]
        if tail and "from " not in line[:12]:
            if frames:
                exceptions.append(Raised(*(named or _named(span)), _calls(frames)))
                frames, span = [], []
            typed = _TAIL.match(tail)
            named = (typed[2], typed[1]) if typed else (header(tail) or ("", tail))
        frames.append(frame)
    if frames:
        exceptions.append(Raised(*(named or _named(span)), _calls(frames)))
    return [replace(raised, relation=CAUSE if index else OUTERMOST) for index, raised in enumerate(exceptions)]


def _calls(printed: list[Frame]) -> tuple[Frame, ...]:
    """Frames outermost first, without methods written in C: Ruby prints those with their caller's file and line."""
    kept = [
        frame
        for frame, caller in zip(printed, [*printed[1:], None], strict=True)
        if caller is None
        or (frame.file, frame.line) != (caller.file, caller.line)
        or frame.function.startswith("block ")
    ]
    return tuple(reversed(kept))


def _named(span: list[str]) -> tuple[str, str]:
    for line in reversed(span):
        if found := _RAILS.match(line.strip()):
            return found[1], found[2]
        if found := _TAIL.match(line.strip()):
            return found[2], found[1]
    opened = next((found for line in span if (found := _RAILS_OPEN.match(line.strip()))), None)
    return (opened[1], opened[2].strip()) if opened else named(span)
