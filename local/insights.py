"""The query language of CloudWatch Logs Insights, as far as the scripts and people's daily queries use it.

Known are the commands fields, display, filter, parse, stats (with `by` and `bin()`), sort, limit and dedup, and the
expressions in them; what is not known is refused, never skipped.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
"""

from __future__ import annotations

import datetime as dt
import json
import math
import operator
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Row = dict[str, Any]
Expression = Callable[[Row], Any]

DEFAULT_LIMIT = 10_000
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<regex>/(?:\\.|[^/\\\n])+/[a-z]*)
    | (?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<number>\d+(?:\.\d+)?(?![\w.]))
    | (?P<span>\d+(?:ms|s|m|h|d|w)\b)
    | (?P<field>`[^`]+`|[@\w][\w@]*(?:\.[\w@-]+)*)
    | (?P<op>=~|!=|<=|>=|==|[-+*/%^=<>(),\[\]])
    )""",
    re.VERBOSE,
)
_WORDS = {"and", "or", "not", "like", "in", "as", "by", "asc", "desc"}
_SPANS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_ORDER = {"=": operator.eq, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le}
_ORDER |= {">": operator.gt, ">=": operator.ge}
_SUMS = {"+": operator.add, "-": operator.sub}
_PRODUCTS = {"*": operator.mul, "/": operator.truediv, "%": operator.mod, "^": operator.pow}
_LAMBDA_NUMBERS = {
    "Duration": "@duration",
    "Billed Duration": "@billedDuration",
    "Memory Size": "@memorySize",
    "Max Memory Used": "@maxMemoryUsed",
    "Init Duration": "@initDuration",
}
_REPORT_PART = re.compile(r"(Init Duration|Billed Duration|Duration|Memory Size|Max Memory Used): ([\d.]+) (ms|MB)")
_REQUEST_ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_LAMBDA_TYPE = re.compile(r"(START|END|REPORT|INIT_START)\b")
_MAX_FIELDS = 200


class QueryError(ValueError):
    """The query cannot be run; the message says where it went wrong."""


class Query:
    """A query, ready to run.

    Raises
    ------
    QueryError
        It is malformed, or uses what is not known here.
    """

    def __init__(self, text: str) -> None:
        self.limit = DEFAULT_LIMIT
        self._steps: list[Callable[[list[Row]], list[Row]]] = []
        self._shown: list[str] | None = None
        self._aggregates = False
        for stage in _stages(text):
            name, _, rest = stage.partition(" ")
            command = _COMMANDS.get(name.lower())
            if command is None:
                raise QueryError(f"unknown command: {name}")
            command(self, rest.strip())
        if not self._steps and self._shown is None:
            raise QueryError("the query has no command")

    def run(self, records: Iterable[Row]) -> list[Row]:
        """Rows of fields that are there, in their order; `@ptr` goes along unless rows were aggregated.

        Parameters
        ----------
        records
            `{"@timestamp": milliseconds, "@message", "@logStream", "@log", "@ptr"}`
        """
        rows = [discovered(record) for record in records]
        for step in self._steps:
            rows = step(rows)
        shown = self._shown or ["@timestamp", "@message"]
        if not self._aggregates:
            shown = [*shown, "@ptr"]
        return [{name: row[name] for name in shown if row.get(name) is not None} for row in rows[: self.limit]]

    def _fields(self, text: str) -> None:
        chosen = [_named(parser, text) for parser in _split(text)]
        self._derive(chosen)
        self._shown = [*(self._shown or []), *(name for name, _ in chosen)]

    def _display(self, text: str) -> None:
        chosen = [_named(parser, text) for parser in _split(text)]
        self._derive(chosen)
        self._shown = [name for name, _ in chosen]

    def _derive(self, chosen: list[tuple[str, Expression]]) -> None:
        self._steps.append(
            lambda rows: [
                row | {name: value for name, find in chosen if (value := find(row)) is not None} for row in rows
            ]
        )

    def _filter(self, text: str) -> None:
        parser = _Parser(text)
        condition = parser.whole()
        self._steps.append(lambda rows: [row for row in rows if _truth(condition(row))])

    def _parse(self, text: str) -> None:
        parser = _Parser(text)
        kind, first = parser.peek()
        field = "@message"
        if kind == "field":
            parser.take()
            field = first.strip("`")
        kind, pattern = parser.take()
        if kind == "regex":
            compiled = _regex(pattern)
            names = list(compiled.groupindex)
            if not names:
                raise QueryError("a regular expression of parse needs named groups")
        elif kind == "text":
            pieces = [re.escape(piece) for piece in _unquoted(pattern).split("*")]
            body = "".join(piece + ("(.*?)" if index < len(pieces) - 1 else "") for index, piece in enumerate(pieces))
            compiled = re.compile(body + ("$" if pieces[-1] == "" else ""), re.DOTALL)
            parser.expect("as")
            names = [parser.take()[1].strip("`")]
            while parser.accept(","):
                names.append(parser.take()[1].strip("`"))
            if len(names) != compiled.groups:
                raise QueryError("parse needs as many names as the pattern has *")
        else:
            raise QueryError("parse needs a pattern")
        parser.end()

        def step(rows: list[Row]) -> list[Row]:
            done = []
            for row in rows:
                found = compiled.search(_shown_value(row.get(field)) or "")
                values = zip(names, found.groups(), strict=False) if found else ()
                done.append(row | {name: value for name, value in values if value is not None})
            return done

        self._steps.append(step)

    def _stats(self, text: str) -> None:
        parts = re.split(r"\bby\b", text, maxsplit=1)
        aggregates = [_aggregate(parser, text) for parser in _split(parts[0])]
        keys = [_named(parser, parts[1]) for parser in _split(parts[1])] if len(parts) > 1 else []

        def step(rows: list[Row]) -> list[Row]:
            groups: dict[tuple[Any, ...], list[Row]] = {}
            for row in rows:
                values = tuple(find(row) for _, find in keys)
                if None not in values:
                    groups.setdefault(values, []).append(row)
            if not keys and not groups:
                groups[()] = []
            done = []
            for values, group in groups.items():
                row = dict(zip((name for name, _ in keys), values, strict=True))
                done.append(row | {name: value for name, find in aggregates if (value := find(group)) is not None})
            return done

        self._steps.append(step)
        self._shown = [*(name for name, _ in keys), *(name for name, _ in aggregates)]
        self._aggregates = True

    def _sort(self, text: str) -> None:
        keys = []
        for parser in _split(text):
            find = parser.expression()
            keys.append((find, parser.accept("desc")))
            parser.accept("asc")
            parser.end()

        def step(rows: list[Row]) -> list[Row]:
            for find, descending in reversed(keys):
                rows = _sorted(rows, find, descending)
            return rows

        self._steps.append(step)

    def _limit(self, text: str) -> None:
        if not text.isdigit() or not 1 <= int(text) <= DEFAULT_LIMIT:
            raise QueryError(f"limit must be a number from 1 to {DEFAULT_LIMIT}")
        self.limit = int(text)

    def _dedup(self, text: str) -> None:
        finds = [_named(parser, text)[1] for parser in _split(text)]

        def step(rows: list[Row]) -> list[Row]:
            seen: dict[tuple[str, ...], Row] = {}
            for row in rows:
                seen.setdefault(tuple(str(find(row)) for find in finds), row)
            return list(seen.values())

        self._steps.append(step)


_COMMANDS: dict[str, Callable[[Query, str], None]] = {
    "fields": Query._fields,
    "display": Query._display,
    "filter": Query._filter,
    "parse": Query._parse,
    "stats": Query._stats,
    "sort": Query._sort,
    "limit": Query._limit,
    "head": Query._limit,
    "dedup": Query._dedup,
}


def discovered(record: Row) -> Row:
    """The record with the fields that Insights finds in JSON and in Lambda's own lines."""
    message = record["@message"].rstrip("\n")
    row = record | {"@message": message}
    start = message.find("{")
    if start >= 0 and message.endswith("}"):
        try:
            # What a line says of itself does not take the place of the system's own fields.
            row = dict(_flat(json.loads(message[start:]))) | row
        except ValueError:
            pass
    if "/aws/lambda/" in record.get("@log", ""):
        row |= _of_lambda(message)
    return row


def _of_lambda(message: str) -> Row:
    found: Row = {}
    if request_id := _REQUEST_ID.search(message[:300]):
        found["@requestId"] = request_id.group()
    if kind := _LAMBDA_TYPE.match(message):
        found["@type"] = kind.group(1)
    if found.get("@type") == "REPORT":
        for name, number, unit in _REPORT_PART.findall(message):
            found[_LAMBDA_NUMBERS[name]] = float(number) * (1_000_000 if unit == "MB" else 1)
    return found


def _flat(value: Any, prefix: str = "", room: list[int] | None = None) -> Iterator[tuple[str, Any]]:
    room = room if room is not None else [_MAX_FIELDS]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        name = f"{prefix}{key}"
        if isinstance(item, dict | list):
            yield from _flat(item, f"{name}.", room)
        elif item is not None and room[0] > 0:
            room[0] -= 1
            yield name, item


# --- reading --------------------------------------------------------------------------------------------------------


def _stages(text: str) -> list[str]:
    """The commands of a query: split at `|` that stands in no text and no regular expression; `#` begins a comment."""
    stages, part, quote = [""], 0, ""
    while part < len(text):
        character = text[part]
        if quote:
            stages[-1] += character
            if character == "\\":
                part += 1
                stages[-1] += text[part : part + 1]
            elif character == quote:
                quote = ""
        elif character == "|":
            stages.append("")
        elif character == "#":
            part = text.find("\n", part) if "\n" in text[part:] else len(text)
            continue
        else:
            begins_regex = character == "/" and re.search(r"(like|=~|parse|parse\s+[@\w.`]+)\s*$", stages[-1])
            if character in "\"'`" or begins_regex:
                quote = character
            stages[-1] += character
        part += 1
    cleaned = [" ".join(stage.split("\n")).strip() for stage in stages]
    if any(not stage for stage in cleaned[1:]):
        raise QueryError("a command is empty")
    return [stage for stage in cleaned if stage]


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        at = 0
        text = text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found or found.lastgroup is None:
                raise QueryError(f"unexpected symbol at: {text[at : at + 30]}")
            kind, value = found.lastgroup, found.group(found.lastgroup)
            if kind == "regex" and not self._wants_regex():
                kind, value = "op", "/"
                at = found.start("regex") + 1
            else:
                at = found.end()
            if kind == "field" and value.lower() in _WORDS:
                kind, value = "word", value.lower()
            self._tokens.append((kind, value))
        self._at = 0

    def _wants_regex(self) -> bool:
        before = self._tokens[-1] if self._tokens else ("", "")
        return before in (("word", "like"), ("op", "=~"), ("", "")) or (
            before[0] == "field" and len(self._tokens) == 1 and self._text.rstrip().endswith(("/", "/i"))
        )

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self._at += 1
        return token

    def accept(self, value: str) -> bool:
        if self.peek()[1] == value and self.peek()[0] in ("op", "word"):
            self._at += 1
            return True
        return False

    def expect(self, value: str) -> None:
        if not self.accept(value):
            raise QueryError(f"{value!r} was expected, not {self.peek()[1]!r}")

    def end(self) -> None:
        if self.peek()[0] != "end":
            raise QueryError(f"unexpected: {self.peek()[1]}")

    def whole(self) -> Expression:
        expression = self.expression()
        self.end()
        return expression

    def expression(self) -> Expression:
        parts = [self._both()]
        while self.accept("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda row: any(_truth(part(row)) for part in parts)

    def _both(self) -> Expression:
        parts = [self._negation()]
        while self.accept("and"):
            parts.append(self._negation())
        return parts[0] if len(parts) == 1 else lambda row: all(_truth(part(row)) for part in parts)

    def _negation(self) -> Expression:
        if self.accept("not"):
            inner = self._negation()
            return lambda row: not _truth(inner(row))
        return self._comparison()

    def _comparison(self) -> Expression:
        left = self._sum()
        kind, sign = self.peek()
        if kind == "op" and sign in _ORDER:
            self.take()
            right = self._sum()
            return lambda row: _compared(sign, left(row), right(row))
        denied = self.accept("not")
        if self.accept("like") or self.accept("=~"):
            test = self._pattern()
        elif self.accept("in"):
            test = self._list()
        elif denied:
            raise QueryError("like or in was expected after not")
        else:
            return left
        return lambda row: (value := left(row)) is not None and test(value) != denied

    def _pattern(self) -> Callable[[Any], bool]:
        kind, value = self.take()
        if kind == "regex":
            compiled = _regex(value)
            return lambda actual: compiled.search(_shown_value(actual) or "") is not None
        if kind != "text":
            raise QueryError("like needs a text or a regular expression")
        wanted = _unquoted(value)
        if "%" in wanted:
            compiled = re.compile(".*".join(map(re.escape, wanted.split("%"))), re.DOTALL)
            return lambda actual: compiled.fullmatch(_shown_value(actual) or "") is not None
        return lambda actual: wanted in (_shown_value(actual) or "")

    def _list(self) -> Callable[[Any], bool]:
        self.expect("[")
        items = [self._sum()]
        while self.accept(","):
            items.append(self._sum())
        self.expect("]")
        return lambda actual: any(_compared("=", actual, item({})) for item in items)

    def _sum(self) -> Expression:
        return self._chain(_SUMS, self._product)

    def _product(self) -> Expression:
        return self._chain(_PRODUCTS, self._single)

    def _chain(self, signs: dict[str, Callable[[float, float], float]], inner: Callable[[], Expression]) -> Expression:
        value = inner()
        while self.peek()[0] == "op" and self.peek()[1] in signs:
            sign = self.take()[1]
            value = _arithmetic(signs[sign], value, inner())
        return value

    def _single(self) -> Expression:
        kind, value = self.take()
        if kind == "number":
            number = float(value)
            return lambda row: number
        if kind == "span":
            span = re.fullmatch(r"(\d+)(\w+)", value)
            assert span
            milliseconds = int(span[1]) * _SPANS[span[2]]
            return lambda row: milliseconds
        if kind == "text":
            text = _unquoted(value)
            return lambda row: text
        if (kind, value) == ("op", "-"):
            inner = self._single()
            return _arithmetic(operator.sub, lambda row: 0, inner)
        if (kind, value) == ("op", "("):
            inner = self.expression()
            self.expect(")")
            return inner
        if kind == "field":
            if self.accept("("):
                return self._call(value)
            name = value.strip("`")
            return lambda row: row.get(name)
        raise QueryError(f"unexpected: {value or 'end of the command'}")

    def _call(self, name: str) -> Expression:
        arguments: list[Expression] = []
        if not self.accept(")"):
            arguments.append(self.expression())
            while self.accept(","):
                arguments.append(self.expression())
            self.expect(")")
        if name == "bin" and len(arguments) == 1:
            return lambda row: int(row["@timestamp"] // arguments[0]({}) * arguments[0]({}))
        function = _FUNCTIONS.get(name.lower())
        if function is None:
            raise QueryError(f"unknown function: {name}")
        return lambda row: function(*(argument(row) for argument in arguments))


def _split(text: str) -> list[_Parser]:
    """One parser for each part between commas outside of parentheses."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'`":
            quote = character
        elif character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    if not all(part.strip() for part in parts):
        raise QueryError(f"something is missing in: {text}")
    parsers = [_Parser(part) for part in parts]
    for parser, part in zip(parsers, parts, strict=True):
        parser._text = part.strip()
    return parsers


def _named(parser: _Parser, _text: str) -> tuple[str, Expression]:
    """An expression and its name: after `as`, or as it is written."""
    written = parser._text
    expression = parser.expression()
    name = written.strip("`")
    if parser.accept("as"):
        name = parser.take()[1].strip("`")
    parser.end()
    return name, expression


def _aggregate(parser: _Parser, _text: str) -> tuple[str, Callable[[list[Row]], Any]]:
    written = parser._text
    kind, function = parser.take()
    if kind != "field" or not parser.accept("("):
        raise QueryError(f"stats needs functions, not {written}")
    arguments: list[Expression] = []
    if parser.accept("*"):
        parser.expect(")")
    elif not parser.accept(")"):
        arguments.append(parser.expression())
        while parser.accept(","):
            arguments.append(parser.expression())
        parser.expect(")")
    name = written
    if parser.accept("as"):
        name = parser.take()[1].strip("`")
    parser.end()
    known = _AGGREGATES.get(function.lower())
    if known is None:
        raise QueryError(f"unknown function of stats: {function}")
    return name, lambda rows: known(rows, *arguments)


# --- values ---------------------------------------------------------------------------------------------------------


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _truth(value: Any) -> bool:
    return value not in (None, False, "", 0)


def _shown_value(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value)


def shown(name: str, value: Any) -> str:
    """A value as GetQueryResults shows it."""
    if name in ("@timestamp", "@ingestionTime") or name.startswith("bin("):
        moment = dt.datetime.fromtimestamp(value / 1000, dt.UTC)
        return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03d}"
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return _shown_value(value) or ""


def _compared(sign: str, left: Any, right: Any) -> bool:
    if left is None or right is None:
        return sign == "!=" and left is not right
    one, other = _number(left), _number(right)
    if one is not None and other is not None:
        return _ORDER[sign](one, other)
    return bool(_ORDER[sign](str(_shown_value(left)), str(_shown_value(right))))


def _arithmetic(function: Callable[[float, float], float], left: Expression, right: Expression) -> Expression:
    def value(row: Row) -> float | None:
        one, other = _number(left(row)), _number(right(row))
        if one is None or other is None:
            return None
        try:
            return function(one, other)
        except (ZeroDivisionError, OverflowError):
            return None

    return value


def _sorted(rows: list[Row], find: Expression, descending: bool) -> list[Row]:
    return sorted(rows, key=lambda row: _rank(find(row)), reverse=descending)


def _rank(value: Any) -> tuple[int, float, str]:
    number = _number(value)
    if value is None:
        return (0, 0, "")
    return (1, number, "") if number is not None else (2, 0, str(value))


def _regex(text: str) -> re.Pattern[str]:
    body, _, flags = text[1:].rpartition("/")
    # Insights writes named groups as (?<name>...), Python as (?P<name>...).
    body = re.sub(r"\(\?<(?![=!])", "(?P<", body.replace("\\/", "/"))
    try:
        return re.compile(body, re.IGNORECASE if "i" in flags else 0)
    except re.error as error:
        raise QueryError(f"regular expression {text}: {error}") from None


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def _numbers(rows: list[Row], find: Expression) -> list[float]:
    return [number for row in rows if (number := _number(find(row))) is not None]


def _percentile(rows: list[Row], find: Expression, share: Expression) -> float | None:
    numbers = sorted(_numbers(rows, find))
    if not numbers:
        return None
    return numbers[max(0, math.ceil(share({}) / 100 * len(numbers)) - 1)]


def _edge(pick: Callable[..., Any]) -> Callable[[list[Row], Expression], Any]:
    def value(rows: list[Row], find: Expression) -> Any:
        some = [row for row in rows if find(row) is not None]
        return find(pick(some, key=lambda row: row["@timestamp"])) if some else None

    return value


_AGGREGATES: dict[str, Callable[..., Any]] = {
    "count": lambda rows, find=None: sum(find is None or find(row) is not None for row in rows),
    "count_distinct": lambda rows, find: len({_shown_value(find(row)) for row in rows} - {None}),
    "sum": lambda rows, find: sum(_numbers(rows, find)),
    "avg": lambda rows, find: statistics.fmean(found) if (found := _numbers(rows, find)) else None,
    "min": lambda rows, find: min((find(row) for row in rows if find(row) is not None), key=_rank, default=None),
    "max": lambda rows, find: max((find(row) for row in rows if find(row) is not None), key=_rank, default=None),
    "stddev": lambda rows, find: statistics.pstdev(found) if (found := _numbers(rows, find)) else None,
    "pct": _percentile,
    "median": lambda rows, find: _percentile(rows, find, lambda row: 50),
    "earliest": _edge(min),
    "latest": _edge(max),
}


def _text(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda value, *rest: None if value is None else function(_shown_value(value), *rest)


def _of_number(function: Callable[[float], Any]) -> Callable[..., Any]:
    return lambda value: None if (number := _number(value)) is None else function(number)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "ispresent": lambda value: value is not None,
    "isempty": lambda value: value in (None, ""),
    "isblank": lambda value: value is None or not str(value).strip(),
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "strcontains": lambda value, part: int(str(part) in (_shown_value(value) or "")),
    "strlen": _text(len),
    "tolower": _text(str.lower),
    "toupper": _text(str.upper),
    "trim": _text(str.strip),
    "replace": _text(lambda value, old, new: value.replace(old, new)),
    "substr": _text(lambda value, start, length=1e9: value[int(start) : int(start + length)]),
    "concat": lambda *values: "".join(_shown_value(value) or "" for value in values),
    "abs": _of_number(abs),
    "ceil": _of_number(math.ceil),
    "floor": _of_number(math.floor),
    "tomillis": lambda value: value,
    "frommillis": lambda value: value,
    "greatest": lambda *values: max((v for v in map(_number, values) if v is not None), default=None),
    "least": lambda *values: min((v for v in map(_number, values) if v is not None), default=None),
}
