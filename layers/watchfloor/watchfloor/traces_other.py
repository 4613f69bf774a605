"""Traces of PHP, Rust and Elixir."""

from __future__ import annotations

import re
from dataclasses import replace

from watchfloor.stack_frames import CAUSE, OUTERMOST, Frame, Raised
from watchfloor.trace_headers import named

PHP_FRAME = re.compile(r"^\s{0,20}#\d{1,4} (?:(\[internal function\])|([^\s()][^()]{0,400})\((\d{1,9})\)): (.{1,400})$")
_RUST_FRAME = re.compile(r"^\s{0,8}\d{1,4}:\s{1,8}(?:0x[0-9a-f]{4,16} - )?([<\w][^\s]{0,300}(?: as [^\s]{1,200})?)$")
RUST_AT = re.compile(r"^\s{6,40}at ([^\s]{1,400}\.rs):(\d{1,9})(?::\d{1,9})?$")
RUST_PANIC = re.compile(r"^thread '([^']{0,100})'(?: \(\d{1,9}\))? panicked at (.{1,1500})$")
_RUST_QUOTED = re.compile(r"^'(.{0,1400})', \S{1,300}:\d")
_RUST_PLACE = re.compile(r"(\S{1,300}\.rs):(\d{1,9}):\d{1,9}:?$")
ELIXIR_FRAME = re.compile(
    r"^\s{1,20}(?:\(([\w]{1,60}) [\w.\-+]{1,40}\) )?((?:lib|src|test|deps|apps)?/?[\w./\-]{1,300}\.(?:exs?|"
    r"erl)):(\d{1,9}): (.{1,300})$"
)
_PHP_HEAD = re.compile(
    r"(?:Uncaught |Next |\(|^)(?!PHP )([A-Z][\w\\]{1,200})(?:\(code: [^)]{1,40}\))?:? (.{0,1500}?) (?:in|"
    r"at) ([^\s:]{1,400}):(\d{1,9})"
)


def php(lines: list[str]) -> list[Raised]:
    exceptions: list[Raised] = []
    span: list[str] = []
    calls: list[tuple[str, int | None, str]] = []
    for line in lines:
        found = PHP_FRAME.match(line)
        if found:
            calls.append((found[2] or found[1], int(found[3]) if found[3] else None, found[4]))
            continue
        if calls and _PHP_HEAD.search(line) and "Next " in line[:20]:
            exceptions.append(_php_raised(span, calls))
            span, calls = [line], []
            continue
        if not calls:
            span.append(line)
    if calls:
        exceptions.append(_php_raised(span, calls))
    # PHP prints the first exception first, like Python; `previous` is declared.
    ordered = list(reversed(exceptions))
    return [replace(raised, relation=CAUSE if index else OUTERMOST) for index, raised in enumerate(ordered)]


def _php_raised(span: list[str], calls: list[tuple[str, int | None, str]]) -> Raised:
    kind, message, file, line = "", next((text for text in reversed(span) if text.strip()), ""), "", None
    for text in span:
        found = _PHP_HEAD.search(text)
        if found:
            kind, message, file, line = found[1], found[2], found[3], int(found[4])
    frames: list[Frame] = []
    for called_file, called_line, call in calls:
        if file:
            frames.append(Frame(file, re.sub(r"\(.*$", "", call), line))
        file, line = called_file, called_line
    frames.append(Frame(file, "{main}", line))
    return Raised(kind, message.strip(), tuple(reversed(frames)))


def rust(lines: list[str]) -> list[Raised]:
    frames: list[Frame] = []
    kind, message = "panic", ""
    panicked: Frame | None = None
    for index, line in enumerate(lines):
        panic = RUST_PANIC.match(line)
        if panic and not panicked:
            # Before 1.73: 'message', file:line:column. Since then: file:line:column:, and the message below.
            quoted = _RUST_QUOTED.match(panic[2])
            message = quoted[1] if quoted else (lines[index + 1].strip() if index + 1 < len(lines) else "")
            at = _RUST_PLACE.search(panic[2])
            panicked = Frame(at[1], "", int(at[2])) if at else None
            continue
        found = _RUST_FRAME.match(line)
        if found:
            frames.append(Frame("", re.sub(r"::h[0-9a-f]{16}$", "", found[1])))
            continue
        at = RUST_AT.match(line)
        if at and frames:
            frames[-1] = replace(frames[-1], file=at[1], line=int(at[2]))
        elif not frames and not message and line.startswith("Error: "):
            kind, message = "Error", line[len("Error: ") :]
    if not frames and panicked:
        # Without RUST_BACKTRACE the file is all there is.
        frames = [panicked]
    return [Raised(kind, message, tuple(reversed(frames)))] if frames else []


def elixir(lines: list[str]) -> list[Raised]:
    frames: list[Frame] = []
    span: list[str] = []
    for line in lines:
        found = ELIXIR_FRAME.match(line)
        if found:
            frames.append(Frame(found[2], re.sub(r"\(.*\)$|/\d+$", "", found[4]), int(found[3]), found[1] or ""))
        elif not frames:
            span.append(line)
    for line in span:
        typed = re.search(r"\*\* \(([A-Z][\w.]{1,200})\) ?(.{0,1500})", line)
        if typed:
            return [Raised(typed[1], typed[2], tuple(reversed(frames)))]
    return [Raised(*named(span), tuple(reversed(frames)))] if frames else []
