"""Stack traces of many languages as one kind of value: exceptions, outermost first, each with its frames.

`parse` reads a text in which a trace may stand among other lines. Every line is cut to `MAX_LINE` and met by patterns
that are anchored and bounded, so the time is linear in the text whatever is in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from watchfloor import traces_dotnet, traces_go, traces_java, traces_node, traces_other, traces_python, traces_ruby
from watchfloor.stack_frames import (
    CAUSE,
    CONTEXT,
    DOTNET,
    ELIXIR,
    GO,
    JAVA,
    MEMBER,
    NODE,
    OUTERMOST,
    PHP,
    PYTHON,
    RUBY,
    RUST,
    Frame,
    Raised,
    bounded,
    placed,
)

MAX_LINE, MAX_LINES, MAX_EXCEPTIONS = 2_000, 4_000, 12

__all__ = [
    "CAUSE",
    "CONTEXT",
    "MEMBER",
    "OUTERMOST",
    "Frame",
    "Raised",
    "Trace",
    "language_of_line",
    "lines_of",
    "parse",
]


@dataclass(frozen=True, slots=True)
class Trace:
    """A parsed trace; `exceptions` is never empty."""

    language: str
    exceptions: tuple[Raised, ...]

    @property
    def main(self) -> Raised:
        """The exception that names the problem; see `main_of`."""
        return main_of(self.exceptions)


def main_of(exceptions: tuple[Raised, ...]) -> Raised:
    """The exception that names the problem: the root of the declared causes, of a group its first member.

    An exception in whose handling another came about is no declared cause: there the later one stands for itself.
    """
    main = exceptions[0]
    if len(exceptions) > 1 and exceptions[1].relation == MEMBER:
        return exceptions[1]
    for raised in exceptions[1:]:
        if raised.relation != CAUSE:
            break
        main = raised
    return main


_PARSERS = {
    PYTHON: traces_python.python,
    JAVA: traces_java.java,
    NODE: traces_node.node,
    GO: traces_go.go,
    DOTNET: traces_dotnet.dotnet,
    RUBY: traces_ruby.ruby,
    PHP: traces_other.php,
    RUST: traces_other.rust,
    ELIXIR: traces_other.elixir,
}
# In the order of trying: a line that several would take belongs to the first.
_FRAMES = (
    (PYTHON, traces_python.FRAME),
    (JAVA, traces_java.FRAME),
    (RUST, traces_other.RUST_AT),
    (RUST, traces_other.RUST_PANIC),
    (NODE, traces_node.FRAME),
    (NODE, traces_node.BARE),
    (DOTNET, traces_dotnet.FRAME),
    (RUBY, traces_ruby.FRAME),
    (GO, traces_go.FILE),
    (PHP, traces_other.PHP_FRAME),
    (ELIXIR, traces_other.ELIXIR_FRAME),
    (NODE, traces_node.GECKO_FRAME),
)
_ESCAPED = re.compile(r'\\n(?:\\t|\s{1,20})(?:at \S|File \\?"|from /)|Traceback \(most recent call last\)')


def lines_of(text: str) -> list[str]:
    """The text's lines, at most `MAX_LINES` of at most `MAX_LINE` characters.

    Lambda's Python runtime joins the lines of a trace by `\\r`, and some loggers escape line ends.
    """
    if "\n" not in text and "\r" not in text and "\\n" in text and _ESCAPED.search(text):
        text = text.replace("\\r\\n", "\n").replace("\\n", "\n").replace("\\t", "\t")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").split("\n", MAX_LINES)
    return [line[:MAX_LINE].rstrip() for line in lines[:MAX_LINES]]


@lru_cache(maxsize=2_048)
def language_of_line(line: str) -> str | None:
    """The language one of whose frames this line shows, or None."""
    for language, pattern in _FRAMES:
        if pattern.match(line):
            return language
    return None


def parse(text: str) -> Trace | None:
    """The first trace in a text, or None where there is no frame."""
    lines = lines_of(text)
    language = next((found for line in lines if (found := language_of_line(line))), None)
    if language is None:
        return None
    exceptions = _PARSERS[language](lines)
    if not exceptions:
        return None
    marked = []
    for raised in map(bounded, exceptions[:MAX_EXCEPTIONS]):
        marked.append(replace(raised, frames=tuple(placed(language, frame) for frame in raised.frames)))
    return Trace(language, tuple(_completed(marked)))


def _completed(exceptions: list[Raised]) -> list[Raised]:
    """A cause's trace starts where it was caught; the calls that led there stand in the trace around it."""
    done: list[Raised] = []
    for raised in exceptions:
        if done and raised.frames and raised.relation in (CAUSE, CONTEXT):
            first, outer = raised.frames[0], done[-1].frames
            at = [
                index
                for index, frame in enumerate(outer)
                if (frame.file, frame.function, frame.module) == (first.file, first.function, first.module)
            ]
            if at:
                raised = bounded(replace(raised, frames=outer[: at[-1]] + raised.frames))
        elif done and not raised.frames and raised.relation == CAUSE:
            raised = replace(raised, frames=done[-1].frames)
        done.append(raised)
    return done
