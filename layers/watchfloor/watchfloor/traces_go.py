"""Goroutine traces of panics, and the stacks of pkg/errors and zap."""

from __future__ import annotations

import re

from watchfloor.stack_frames import Frame, Raised

FILE = re.compile(
    r"^\s{0,20}((?:[A-Za-z]:)?[^\s:]{1,400}\.(?:go|s|c)):(\d{1,9})(?: \+0x[0-9a-f]{1,16}|"
    r" \(0x[0-9a-f]{1,16}\))?(?: fp=.{0,80})?$"
)
# gin's Recovery prints the file first, then the function without its package, and the source.
_RECOVERED = re.compile(r"^\t([\w.*()\[\]]{1,160}): (.{1,400})$")
CALL = re.compile(
    r"^\s{0,8}(?:created by )?([\w./\-~%@]{0,300}[\w)\]}](?:\.[\w.*()\[\]{}·\-]{1,200}?)?)(?:\([^)]{0,500}\)?|"
    r"\(\.\.\.\))?(?: in goroutine \d{1,12})?$"
)
_PANIC = re.compile(r"^(?:.{0,300}?\s)?(panic|fatal error|http: panic serving \S{1,80}): (.{1,1500})$")
_RUNTIME_ERROR = re.compile(
    r"^(?:runtime error|interface conversion|assignment to entry in nil map|(?:send on|close of) (?:closed|nil) channel)\b"
)
_GOROUTINE = re.compile(r"^goroutine \d{1,12}(?: gp=\S+ m=\S+.{0,40})? \[[^\]]{1,100}\]:$")
_WRAPPED = re.compile(r"^\(?\*?([\w./]{0,200}\b[A-Z]?\w*(?:Error|error|Err))\)?(?:\(0x[0-9a-f]+\))?[{:]?")


_PANICKING = (
    "panic",
    "runtime.gopanic",
    "runtime.sigpanic",
    "runtime.panicmem",
    "runtime.goPanicIndex",
    "runtime/debug.Stack",
)


def go(lines: list[str]) -> list[Raised]:
    frames: list[Frame] = []
    span: list[str] = []
    goroutines = 0
    for index, line in enumerate(lines):
        if _GOROUTINE.match(line):
            goroutines += 1
            if goroutines > 1 and frames:
                break
            continue
        file = FILE.match(line)
        below = _RECOVERED.match(lines[index + 1]) if file and index + 1 < len(lines) else None
        if file and below:
            if below[1] in ("gopanic", "panicmem", "sigpanic", "goPanicIndex", "panicdottypeE"):
                frames = []
            else:
                folder = file[1].rsplit("/", 1)[0]
                frames.append(Frame(file[1], below[1], int(file[2]), folder.rsplit("/", 1)[-1], source=below[2]))
            continue
        if file and index:
            call = CALL.match(lines[index - 1])
            if call:
                if span and span[-1] == lines[index - 1]:
                    span.pop()
                if lines[index - 1].lstrip().startswith("created by "):
                    continue
                if call[1] in _PANICKING:
                    # What stands above was the printing of the panic: the logger, the recovering handler.
                    frames = []
                    continue
                module, function = _name(call[1])
                frames.append(Frame(file[1], function, int(file[2]), module))
                continue
        source_of_frame = index and _RECOVERED.match(line) and FILE.match(lines[index - 1])
        if not frames and not source_of_frame:
            span.append(line)
    if not frames:
        return []
    return [Raised(*_named(span), tuple(reversed(frames)))]


def _name(name: str) -> tuple[str, str]:
    head, slash, last = name.rpartition("/")
    package, _, function = last.partition(".")
    return f"{head}{slash}{package}", function


def _named(span: list[str]) -> tuple[str, str]:
    for line in span:
        found = _PANIC.match(line)
        if found:
            message = re.sub(r" \[recovered\].*$", "", found[2])
            if _RUNTIME_ERROR.match(message):
                return "runtime error", message
            typed = _WRAPPED.match(message)
            return (
                typed[1] if typed and "." in typed[1] else "fatal error" if found[1] == "fatal error" else "panic"
            ), message
    if any("panic recovered:" in line for line in span):
        # gin prints the request, then the panic's value in the last line before the stack.
        return "panic", next((line.strip() for line in reversed(span) if line.strip()), "")
    return "", next((line.strip() for line in span if line.strip()), "")
