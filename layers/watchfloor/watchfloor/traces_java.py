"""Traces of the Java virtual machine: Throwable.printStackTrace, and what loggers make of it."""

from __future__ import annotations

import re
from functools import lru_cache

from watchfloor.stack_frames import CAUSE, OUTERMOST, Frame, Raised
from watchfloor.trace_headers import named

FRAME = re.compile(
    r"^\s{0,40}at (?:[\w.@-]{0,80}/{1,2}){0,2}([\w$.<>\-]{1,400})\.([\w$<>\-]{1,200})"
    r"\((Native Method|Unknown Source|<generated>|[\w$.\-]{1,120}\.(?:java|kt|scala|groovy|clj|kts|sc)(?::-?\d{1,9})?|"
    r"[\w$]{1,80}:\d{1,9}|NO_SOURCE_FILE(?::\d{1,9})?|SourceFile(?::\d{1,9})?)\)"
)
_MAX_PRINTED = 2_000
_COMMON = re.compile(r"^\s{0,40}\.\.\. (\d{1,6}) (?:more|common frames omitted)")


@lru_cache(maxsize=2_048)
def _frame(line: str) -> Frame | None:
    found = FRAME.match(line)
    if not found:
        return None
    file, _, number = found[3].partition(":")
    return Frame(file, found[2], int(number) if number.lstrip("-").isdigit() else None, found[1])


def java(lines: list[str]) -> list[Raised]:
    printed: list[tuple[str, list[str], list[Frame], int]] = []
    span: list[str] = []
    current: list[Frame] | None = None
    relation = OUTERMOST
    skipping = False
    for line in lines:
        stripped = line.strip()
        frame = _frame(line)
        if frame:
            if skipping:
                continue
            if current is None:
                current = []
                printed.append((relation, span, current, 0))
                span = []
            if len(current) < _MAX_PRINTED:
                current.append(frame)
            continue
        common = _COMMON.match(line)
        if common:
            if current is None and span:
                current = []
                printed.append((relation, span, current, 0))
                span = []
            if printed and not skipping:
                relation_, span_, frames_, _ = printed[-1]
                printed[-1] = (relation_, span_, frames_, int(common[1]))
            current = None
            continue
        if stripped.startswith(("Caused by: ", "Wrapped by: ")):
            if span and current is None and not skipping and relation != OUTERMOST:
                printed.append((relation, span, [], 0))
            # Causes of a suppressed exception are indented.
            skipping = skipping and line[:1].isspace()
            current, span, relation = None, [stripped.split(": ", 1)[1]], CAUSE
            continue
        if stripped.startswith("Suppressed: "):
            current, skipping = None, True
            continue
        if current is not None:
            # A frame list that has ended: another trace is not this one's.
            if stripped and not line[:1].isspace():
                break
            continue
        span.append(line)
    else:
        if any(map(str.strip, span)) and current is None and printed and relation == CAUSE and not skipping:
            printed.append((relation, span, [], 0))
    if any(line.startswith("Wrapped by: ") for line in lines):
        # Logback's rootCauseFirst: the other way round.
        return [
            Raised(*named(span), tuple(reversed(found)), CAUSE if index else OUTERMOST)
            for index, (_, span, found, _) in enumerate(reversed(printed))
        ]
    exceptions: list[Raised] = []
    for relation, span, found_frames, common_count in printed:
        kind, message = named(span)
        outer = exceptions[-1].frames if exceptions else ()
        frames = (*outer[: min(common_count, len(outer))], *reversed(found_frames))
        exceptions.append(Raised(kind, message, frames, relation if exceptions else OUTERMOST))
    return exceptions
