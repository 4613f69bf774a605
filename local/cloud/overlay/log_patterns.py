"""Filter patterns of CloudWatch Logs: terms, and conditions on JSON.

Known are terms, ``"phrases"``, ``-excluded`` and ``?any`` terms, and ``{ ... }`` with comparisons of ``$.a.b`` and
``$.a[0]`` joined by ``&&`` and ``||``. Space-delimited patterns and regular expressions match nothing and are logged.
"""

from __future__ import annotations

import functools
import json
import logging
import operator
import re
from collections.abc import Callable
from typing import Any

from local.cloud import anchors

logger = logging.getLogger("logs")

Matcher = Callable[[Any], bool]

_TOKEN = re.compile(
    r'\s*(?:(?P<path>\$(?:\.[\w-]+|\[\d+\]|\["[^"]+"\])*)|(?P<text>"(?:[^"\\]|\\.)*")|(?P<op>&&|\|\||!=|>=|<=|[=<>()])'
    r"|(?P<word>[^\s()=<>!&|]+))"
)
_TERM = re.compile(r'([-?]?)("(?:[^"\\]|\\.)*"|\S+)')
_ORDER = {"=": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}
_MISSING = object()


def install() -> None:
    anchors.replace("services.cloudwatch_logs:_subscription_pattern_matches", matches)
    anchors.replace(
        "services.cloudwatch_logs:_compile_filter_pattern",
        lambda pattern: lambda message: matches(pattern, message),
    )


def matches(pattern: str | None, message: str) -> bool:
    """Whether a log message matches a filter pattern."""
    try:
        return _compiled((pattern or "").strip())(message or "")
    except ValueError as error:
        logger.error("filter pattern %r: %s", pattern, error)
        return False


@functools.lru_cache(maxsize=100)
def _compiled(pattern: str) -> Matcher:
    if pattern.startswith("{"):
        condition = _Parser(pattern.removeprefix("{").removesuffix("}")).parse()
        return lambda message: _on_json(condition, message)
    if pattern.startswith(("[", "%")):
        raise ValueError("the local cloud knows neither space-delimited patterns nor regular expressions")
    terms = [(sign, _unquote(term)) for sign, term in _TERM.findall(pattern)]
    wanted = [term for sign, term in terms if sign == ""]
    excluded = [term for sign, term in terms if sign == "-"]
    optional = [term for sign, term in terms if sign == "?"]
    return lambda message: (
        all(term in message for term in wanted)
        and not any(term in message for term in excluded)
        and (not optional or any(term in message for term in optional))
    )


def _on_json(condition: Matcher, message: str) -> bool:
    try:
        document = json.loads(message)
    except ValueError:
        return False
    return isinstance(document, dict | list) and condition(document)


class _Parser:
    """``a && (b || c)``, where && binds more than ||."""

    def __init__(self, text: str) -> None:
        self._tokens = []
        position = 0
        text = text.strip()
        while position < len(text):
            found = _TOKEN.match(text, position)
            if not found:
                raise ValueError(f"not understood: {text[position:]!r}")
            self._tokens.append((found.lastgroup, found.group(found.lastgroup or 0)))
            position = found.end()
        self._tokens.append(("end", ""))

    def parse(self) -> Matcher:
        condition = self._either()
        if self._tokens[0][0] != "end":
            raise ValueError(f"not understood: {self._tokens[0][1]!r}")
        return condition

    def _take(self) -> tuple[str | None, str]:
        return self._tokens.pop(0)

    def _either(self) -> Matcher:
        parts = [self._both()]
        while self._tokens[0][1] == "||":
            self._take()
            parts.append(self._both())
        return lambda document: any(part(document) for part in parts)

    def _both(self) -> Matcher:
        parts = [self._single()]
        while self._tokens[0][1] == "&&":
            self._take()
            parts.append(self._single())
        return lambda document: all(part(document) for part in parts)

    def _single(self) -> Matcher:
        kind, text = self._take()
        if text == "(":
            inner = self._either()
            if self._take()[1] != ")":
                raise ValueError("a parenthesis is not closed")
            return inner
        if kind != "path":
            raise ValueError(f"a path was expected, not {text!r}")
        path = re.findall(r'\.([\w-]+)|\[(\d+)\]|\["([^"]+)"\]', text)
        kind, sign = self._take()
        if kind == "op" and sign in _ORDER:
            return _comparison(path, sign, *self._take())
        word = f"{sign} {self._take()[1]}".upper()
        known: dict[str, Callable[[Any], bool]] = {
            "IS NULL": lambda value: value is None,
            "IS TRUE": lambda value: value is True,
            "IS FALSE": lambda value: value is False,
            "NOT EXISTS": lambda value: value is _MISSING,
        }
        if word not in known:
            raise ValueError(f"not understood: {word!r}")
        return lambda document: known[word](_value(document, path))


def _comparison(path: list[tuple[str, str, str]], sign: str, kind: str | None, text: str) -> Matcher:
    compare = _ORDER[sign]
    try:
        number = float(text)
    except ValueError:
        number = None
    if number is not None and kind != "text":

        def numeric(document: Any) -> bool:
            value = _value(document, path)
            return isinstance(value, int | float) and not isinstance(value, bool) and compare(value, number)

        return numeric
    if sign not in ("=", "!="):
        raise ValueError(f"{text!r} is no number")
    pattern = re.compile(".*".join(map(re.escape, _unquote(text).split("*"))), re.DOTALL)

    def textual(document: Any) -> bool:
        value = _value(document, path)
        if value is _MISSING or isinstance(value, dict | list):
            return False
        shown = value if isinstance(value, str) else json.dumps(value)
        return (pattern.fullmatch(shown) is not None) == (sign == "=")

    return textual


def _value(document: Any, path: list[tuple[str, str, str]]) -> Any:
    for name, index, quoted in path:
        if index and isinstance(document, list) and int(index) < len(document):
            document = document[int(index)]
        elif isinstance(document, dict) and (name or quoted) in document:
            document = document[name or quoted]
        else:
            return _MISSING
    return document


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
