"""What a test expects of an answer, and in which ways an answer may fall short of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from watchfloor.errors import ConflictError

Scalar = bool | int | float | str | None
_STEP = re.compile(
    r"""\.(?P<name>[A-Za-z_][\w-]*)|\[(?P<index>-?\d{1,6})\]|\[(?P<quote>["'])(?P<key>.*?)(?P=quote)\]"""
)
_SHOWN_CHARACTERS = 200
_MATCHED_CHARACTERS = 20_000


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = _Missing()


class UnmetError(ConflictError):
    """The target is not as the test expects it; `details` is the test's whole result."""

    def __init__(self, message: str, details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.details = details


def path_steps(path: str) -> list[str | int]:
    """`$.items[0]["a b"]` taken apart.

    Raises
    ------
    ValueError
        It is no such path.
    """
    if not path.startswith("$"):
        raise ValueError(f"{path[:80]!r} is no path: it begins with $")
    steps: list[str | int] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if not found:
            raise ValueError(f"{path[:80]!r} is no path such as $.items[0].name, from {path[at : at + 20]!r} on")
        steps.append(int(found["index"]) if found["index"] else found["name"] or found["key"])
        at = found.end()
    return steps


def value_at(document: Any, path: str) -> Any:
    """The value at a path, MISSING where there is none."""
    for step in path_steps(path):
        document = _inside(document, step)
    return document


def _inside(document: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return document.get(step, MISSING) if isinstance(document, dict) else MISSING
    fits = isinstance(document, list) and -len(document) <= step < len(document)
    return document[step] if fits else MISSING


def _path(text: str) -> str:
    path_steps(text)
    return text


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    return text


Path = Annotated[str, Field(max_length=300), AfterValidator(_path)]
Pattern = Annotated[str, Field(max_length=300), AfterValidator(_pattern)]


class Strict(BaseModel):
    """Foreign input: unknown fields are refused, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ValueCheck(Strict):
    """What stands at a path of a JSON answer."""

    path: Path = Field(description="Where: $.items[0].name")
    exists: bool | None = Field(None, description="Whether there is anything")
    equals: Scalar | list[Any] | dict[str, Any] = Field(None, description="The very value")
    one_of: list[Scalar] | None = Field(None, description="One of these values")
    contains: Scalar = Field(None, description="A part of the text, or an item of the list")
    matches: Pattern | None = Field(None, description="A regular expression that is found in the text")
    at_least: float | None = Field(None, description="A number not below this")
    at_most: float | None = Field(None, description="A number not above this")
    length: int | None = Field(None, ge=0, description="How many items or characters")
    type: Literal["string", "number", "boolean", "object", "array", "null"] | None = Field(None, description="Its type")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set - {"path"}:
            raise ValueError("a check says what it expects, for example equals")
        return self

    def problem(self, document: Any) -> str | None:
        """What is not as expected, in words."""
        value = value_at(document, self.path)
        given = self.model_fields_set
        if self.exists is False or value is MISSING:
            fits = (self.exists is False) == (value is MISSING)
            wanted = "nothing" if self.exists is False else "a value"
            return None if fits else f"{self.path} should hold {wanted}, and holds {shown(value)}"
        tests: tuple[tuple[str, Any, bool], ...] = (
            ("equals", self.equals, same(value, self.equals)),
            ("one_of", self.one_of, any(same(value, item) for item in self.one_of or [])),
            ("contains", self.contains, _contains(value, self.contains)),
            ("matches", self.matches, _matches(value, self.matches)),
            ("at_least", self.at_least, _is_number(value) and value >= (self.at_least or 0)),
            ("at_most", self.at_most, _is_number(value) and value <= (self.at_most or 0)),
            ("length", self.length, isinstance(value, str | list | dict) and len(value) == self.length),
            ("type", self.type, type_name(value) == self.type),
        )
        for name, expected, holds in tests:
            if name in given and not holds:
                return f"{self.path} should be {_WORDS[name]} {shown(expected)}, and is {shown(value)}"
        return None


_WORDS = {
    "equals": "equal to",
    "one_of": "one of",
    "contains": "something that contains",
    "matches": "text that matches",
    "at_least": "at least",
    "at_most": "at most",
    "length": "of the length",
    "type": "of the type",
}


class Expectation(Strict):
    """What is expected of an HTTP answer."""

    status: int | list[int] = Field(200, description="The status, or those that will do")
    max_ms: int | None = Field(None, ge=1, le=60_000, description="Milliseconds that the answer may take")
    headers: dict[str, str] = Field({}, description="Headers that must be there, and what they contain")
    body_contains: list[str] | str | None = Field(None, description="Text that must stand in the body")
    json_checks: list[ValueCheck] = Field([], alias="json", max_length=50, description="Checks of a JSON body")

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    def problems(self, status: int, headers: Mapping[str, str], body: str, milliseconds: float) -> Iterator[str]:
        """Everything that is not as expected, in words; header names are lower case."""
        statuses = self.status if isinstance(self.status, list) else [self.status]
        if status not in statuses:
            yield f"the status should be {' or '.join(map(str, statuses))}, and is {status}"
        if self.max_ms is not None and milliseconds > self.max_ms:
            yield f"the answer should take at most {self.max_ms} ms, and took {milliseconds:.0f} ms"
        for name, wanted in self.headers.items():
            if wanted.casefold() not in (value := headers.get(name.lower(), "")).casefold() or not value:
                yield f"the header {name} should contain {shown(wanted)}, and is {shown(value or MISSING)}"
        wanted_texts = [self.body_contains] if isinstance(self.body_contains, str) else self.body_contains or []
        for wanted in wanted_texts:
            if wanted not in body:
                yield f"the body should contain {shown(wanted)}, and begins with {shown(body[:120])}"
        if self.json_checks:
            yield from json_problems(self.json_checks, body)


def json_problems(checks: Sequence[ValueCheck], body: str) -> Iterator[str]:
    """What is not as expected of a JSON text."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        yield f"the body should be JSON, and begins with {shown(body[:120])}"
        return
    yield from filter(None, (check.problem(document) for check in checks))


def same(value: Any, wanted: Any) -> bool:
    """Equal as JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(same, value, wanted))
    if isinstance(value, dict) and isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(same(value[key], wanted[key]) for key in value)
    return type_name(value) == type_name(wanted) and value == wanted


def shown(value: Any) -> str:
    """A value as a message shows it, cut."""
    text = repr(value) if value is MISSING else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def type_name(value: Any) -> str:
    """JSON's name of a value's type."""
    if value is None:
        return "null"
    for name, kinds in (("boolean", bool), ("number", (int, float)), ("string", str), ("array", list)):
        if isinstance(value, kinds):  # type: ignore[arg-type]
            return name
    return "object"


def _is_number(value: Any) -> bool:
    return type_name(value) == "number"


def _contains(value: Any, part: Any) -> bool:
    if isinstance(value, str):
        return isinstance(part, str) and part in value
    return isinstance(value, list) and any(same(item, part) for item in value)


def _matches(value: Any, pattern: str | None) -> bool:
    return isinstance(value, str) and re.search(pattern or "", value[:_MATCHED_CHARACTERS]) is not None
