"""Traces of .NET: Exception.ToString."""

from __future__ import annotations

import re

from watchfloor.stack_frames import CAUSE, OUTERMOST, Frame, Raised
from watchfloor.trace_headers import named

# The runtime translates "at" and "line" into the machine's language.
_AT = r"(?:at|bei|à|en|em|in|w|v|в|konum:|위치:|場所|在|於)"
FRAME = re.compile(
    rf"^\s{{0,40}}{_AT} (?=[^\s(]*[.:])([^\s(][^(]{{0,400}}?)\(([^()]{{0,500}}(?:\([^()]{{0,100}}\)[^()]{{0,200}}){{0,"
    rf"4}})\)"
    r"(?: (?:in|dans|en|em|w|v|в|位置|位於|場所|파일) (.{1,400}):\s?(?:line|Zeile|ligne|línea|riga|linha|wiersz|řádek|"
    r"строка|"
    r"行号|行|줄)\s?(\d{1,9}))?\.?$"
)
_INNER_END = re.compile(
    r"--- (?:End of inner exception|Ende der internen|Fin de la trace de la pile d'exception interne|"
    r"Fin del seguimiento de la pila de la excepción interna)"
)
_INNER = re.compile(r"\s{0,4}---> (?:\(Inner Exception #\d{1,3}\) )?")


def dotnet(lines: list[str]) -> list[Raised]:
    heads: list[list[str]] = []
    frames: list[list[Frame]] = []
    open_heads: list[int] = []
    span: list[str] = []
    for line in lines:
        stripped = line.strip()
        if _INNER_END.match(stripped):
            if len(open_heads) > 1:
                open_heads.pop()
            continue
        if stripped.startswith(("--- ", "<---")):
            continue
        found = FRAME.match(line)
        if found:
            if span or not heads:
                _heads(span, heads, frames, open_heads)
                span = []
            module, _, function = found[1].rpartition(".")
            if open_heads:
                frames[open_heads[-1]].append(
                    Frame(found[3] or "", function, int(found[4]) if found[4] else None, module)
                )
            continue
        if frames and any(frames):
            if "---> " in line:
                span.append(line)
            elif stripped and not line[:1].isspace():
                break
            continue
        span.append(line)
    return [
        Raised(*named(head), tuple(reversed(calls)), CAUSE if index else OUTERMOST)
        for index, (head, calls) in enumerate(zip(heads, frames, strict=True))
    ]


def _heads(span: list[str], heads: list[list[str]], frames: list[list[Frame]], open_heads: list[int]) -> None:
    if heads and "---> " in span[0]:
        # A further inner exception of an AggregateException, after the stack of the first: left out.
        return
    for part in _INNER.split("\n".join(span)):
        if part.strip() or not heads:
            heads.append(part.split("\n"))
            frames.append([])
            open_heads.append(len(heads) - 1)
