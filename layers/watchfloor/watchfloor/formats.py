"""Other products' alert formats, each read by a declarative mapping (YAML) instead of code.

docs/input-formats.md explains the language; the folder mappings/ holds the built-in ones.
"""

import datetime
import hashlib
import math
import pathlib
import re
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Self

import orjson
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from watchfloor.errors import InvalidInputError

_TECHNIQUE_IN_TEXT = re.compile(r"\bT[0-9]{4}(?:[./][0-9]{3})?\b", re.ASCII | re.IGNORECASE)
_SECONDS_IN = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
# What products write where they know no host; taken as a name it would tie unrelated alerts together.
_NO_HOST = frozenset({"", "-", "n/a", "none", "null", "unknown", "undefined"})


class Path:
    """A dotted path into a record: `a.b` finds {"a": {"b": 1}}, {"a.b": 1} and every item of {"a": [{"b": 1}]}."""

    def __init__(self, text: str) -> None:
        parts = text.split(".")
        if not all(parts):
            raise ValueError(f"{text!r} is no dotted path")
        self.text = text
        self.length = len(parts)
        # For each part: the keys that may stand there, the longest first, and the part that comes after each.
        self._keys = [
            [(".".join(parts[start:end]), end) for end in range(len(parts), start, -1)] for start in range(len(parts))
        ]

    def values(self, record: Any) -> list[Any]:
        """Every value there that is not null, lists opened."""
        found: list[Any] = []
        self._collect(record, 0, found)
        return found

    def _collect(self, node: Any, start: int, found: list[Any]) -> None:
        if type(node) is dict:
            if start == self.length:
                found.append(node)
                return
            for key, end in self._keys[start]:
                if key in node:
                    self._collect(node[key], end, found)
        elif type(node) is list:
            for item in node:
                self._collect(item, start, found)
        elif start == self.length and node is not None:
            found.append(node)


def _path(text: object) -> Path:
    if not isinstance(text, str) or not text:
        raise ValueError("a path is text such as source.ip")
    return Path(text)


def _pattern(text: object) -> re.Pattern[str]:
    try:
        return re.compile(str(text))
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None


def _list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _text_keys(value: object) -> object:
    return {str(key).casefold(): item for key, item in value.items()} if isinstance(value, dict) else value


PathField = Annotated[Path, BeforeValidator(_path)]
Pattern = Annotated[re.Pattern[str], BeforeValidator(_pattern)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Condition(_Strict):
    """A value at `path` exists and, where these are given, is `equals`, is one of `in`, matches `matches`."""

    path: PathField
    equals: bool | int | float | str | None = None
    one_of: list[bool | int | float | str] | None = Field(None, alias="in")
    matches: Pattern | None = None

    def met_in(self, roots: list[Any]) -> bool:
        """Whether a value in the record (the first root) or in its also_in members meets the condition."""
        return any(self._holds(value) for root in roots for value in self.path.values(root))

    def _holds(self, value: Any) -> bool:
        return (
            (self.equals is None or value == self.equals)
            and (self.one_of is None or value in self.one_of)
            and (self.matches is None or (isinstance(value, str) and self.matches.search(value) is not None))
        )


class Conditions(_Strict):
    """All conditions of `all` hold, and one of `any` if there are any."""

    all: list[Condition] = []
    any: list[Condition] = []

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.all and not self.any:
            raise ValueError("give at least one condition under all or any")
        return self


class Source(_Strict):
    """Where a value comes from and how it is read; a plain text is a path.

    Attributes
    ----------
    path
        Where it lies.
    hash
        "record", instead of a path: 32 hex digits of the record's SHA-256, for products without ids.
    pattern
        A regular expression; its first group, or its match, is the value. No match, no value.
    values
        A table, its keys in any case; what is not in it has no value.
    when
        A condition on the record; unless it holds, there is no value.
    unit, format
        For times: a number of that unit since 1970, or text of that strptime format (UTC when it has no zone).
    """

    path: PathField | None = None
    hash: Literal["record"] | None = None
    pattern: Pattern | None = None
    values: Annotated[dict[str, int | float | str], BeforeValidator(_text_keys)] | None = None
    unit: Literal["seconds", "milliseconds", "microseconds", "nanoseconds"] | None = None
    format: str | None = None
    when: Condition | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_path(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.hash is None):
            raise ValueError("give either path or hash")
        return self

    def read(self, roots: list[Any]) -> Iterator[Any]:
        """The scalar values that the source has in a record (its first root) or in its also_in members."""
        if self.when is not None and not self.when.met_in(roots):
            return
        if self.path is None:
            yield hashlib.sha256(orjson.dumps(roots[0], option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
            return
        for root in roots:
            for value in self.path.values(root):
                if not isinstance(value, dict):
                    made = self._make(value)
                    if made is not None:
                        yield made

    def _make(self, value: Any) -> Any:
        if self.pattern is not None:
            match = self.pattern.search(str(value))
            if not match:
                return None
            value = match[1] if self.pattern.groups else match[0]
        if self.values is not None:
            value = self.values.get(str(value).casefold())
        if self.unit is not None:
            number = _number(value)
            return None if number is None else number * _SECONDS_IN[self.unit]
        if self.format is not None:
            try:
                moment = datetime.datetime.strptime(str(value), self.format)
                return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()
            except (ValueError, OverflowError):
                return None
        return value


Sources = Annotated[list[Source], BeforeValidator(_list), Field(min_length=1)]
Optional = Annotated[list[Source], BeforeValidator(_list)]


class Fields(_Strict):
    """Where the fields of an alert come from; of several sources the first with a value counts, for tech all."""

    id: Sources
    time: Sources
    src: Sources
    dst: Optional = []
    name: Sources
    tech: Optional = []
    attributes: dict[str, Sources] = {}


class Mapping(_Strict):
    """How one product's records become alerts.

    Attributes
    ----------
    match
        The records that this mapping reads.
    only
        Which of them are alerts; the others are counted and left out.
    records
        Where records lie in a document that wraps them, such as hits.hits.
    also_in
        Members of a record in which every path is looked up too, such as _source.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")
    title: str = ""
    match: Conditions
    only: Conditions | None = None
    records: Annotated[list[PathField], BeforeValidator(_list)] = []
    also_in: Annotated[list[PathField], BeforeValidator(_list)] = []
    fields_: Fields = Field(alias="fields")

    def matches(self, record: dict[str, Any]) -> bool:
        """Whether the record is in this mapping's format."""
        return self._meets(record, self.match)

    def is_alert(self, record: dict[str, Any]) -> bool:
        """Whether a record of this format is an alert, and not another event of the same log."""
        return self.only is None or self._meets(record, self.only)

    def apply(self, record: dict[str, Any]) -> dict[str, Any]:
        """The record in the form of the input format, for `alerts.read_alert` to judge.

        Hosts, ports and the like that are no such thing are left out rather than held against the alert.
        """
        roots = self._roots(record)
        fields = self.fields_
        alert_id = _first(fields.id, roots)
        return {
            "id": alert_id if type(alert_id) is int else _text(alert_id),
            "time": _first(fields.time, roots),
            "src": _host(fields.src, roots),
            "dst": _host(fields.dst, roots),
            "name": _text(_first(fields.name, roots)),
            "tech": _techniques(fields.tech, roots),
            "other_attributes_dict": {
                name: _ATTRIBUTE.get(name, _same)(_first(sources, roots)) for name, sources in fields.attributes.items()
            },
        }

    def _roots(self, record: dict[str, Any]) -> list[Any]:
        return (
            [record, *(value for path in self.also_in for value in path.values(record))] if self.also_in else [record]
        )

    def _meets(self, record: dict[str, Any], conditions: Conditions) -> bool:
        roots = self._roots(record)
        return all(condition.met_in(roots) for condition in conditions.all) and (
            not conditions.any or any(condition.met_in(roots) for condition in conditions.any)
        )


def _first(sources: list[Source], roots: list[Any]) -> Any:
    return next((value for source in sources for value in source.read(roots) if value != ""), None)


def _host(sources: list[Source], roots: list[Any]) -> str | None:
    for source in sources:
        for value in source.read(roots):
            text = str(value).strip()
            if text.casefold() not in _NO_HOST:
                return text
    return None


def _techniques(sources: list[Source], roots: list[Any]) -> list[str]:
    """Every id in the texts; a text without one is passed on, so that it is counted as unknown."""
    found: list[str] = []
    for source in sources:
        for value in source.read(roots):
            text = str(value)
            found += _TECHNIQUE_IN_TEXT.findall(text) or ([text] if text else [])
    return found


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _port(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() and 0 <= number <= 65_535 else None


_ATTRIBUTE = {"priority": _number, "port": _port, "url": _text, "user_agent": _text, "cert": _text}


def load_mapping(text: str) -> Mapping:
    """Read a mapping from YAML (or JSON).

    Raises
    ------
    InvalidInputError
        Naming every mistake and where it is.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInputError(f"The mapping is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise InvalidInputError("The mapping is not a YAML mapping with name, match and fields.")
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(map(str, mistake['loc'])) or 'mapping'}: {mistake['msg'].removeprefix('Value error, ')}"
            for mistake in error.errors()
        )
        raise InvalidInputError(f"The mapping {content.get('name', 'without a name')!r} is wrong: {mistakes}") from None


@cache
def builtin_mappings() -> tuple[Mapping, ...]:
    """The mappings of this package, in the order in which they are tried."""
    folder = pathlib.Path(__file__).with_name("mappings")
    return tuple(load_mapping(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yaml")))
