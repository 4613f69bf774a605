"""Suites of requests with expectations, by which a service is tested from outside.

functions/scripts/test_integration.md shows one in full.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlencode, urlsplit

import yaml
from pydantic import Field, ValidationError, model_validator

from watchfloor.errors import AccessDeniedError, InvalidInputError
from watchfloor.expectations import MISSING, Expectation, Path, Strict, UnmetError, shown, value_at
from watchfloor.redaction import Redactor

MAX_BYTES = 256_000
MAX_REQUESTS = 50
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_][\w.-]{0,80})\}")
_WHOLE = re.compile(_REFERENCE.pattern + r"\Z")
_MAX_DEPTH = 30
_MAX_CAPTURED = 4_000
_BODY_CHARACTERS = 300
_MAX_PROBLEMS = 10
# Of a shorter text nobody could tell that it is the secret.
_LEAST_HIDDEN = 4

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
Title = Annotated[str, Field(min_length=1, max_length=120)]


class SecretReference(Strict):
    """A value in Secrets Manager; the value itself never stands in a suite."""

    secret: str = Field(pattern=r"^[A-Za-z0-9/_+=.@-]{1,200}$", description="The secret's name")
    key: str | None = Field(None, max_length=200, description="The key in it, where it holds a JSON object")


class Step(Strict):
    """One request, and what is expected of its answer."""

    name: Title
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: str = Field("/", max_length=2_000)
    query: dict[str, str | int | float | bool] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    json_body: Any = Field(None, alias="json")
    body: str | None = Field(None, max_length=100_000)
    follow_redirects: bool = False
    expect: Expectation = Field(default_factory=lambda: Expectation.model_validate({}))
    capture: dict[Name, Path] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.json_body is not None and self.body is not None:
            raise ValueError("give json or body, not both")
        if not self.path.startswith(("/", "${")):
            raise ValueError("path begins with /, because the site is the suite's base_url")
        return self

    @property
    def writes(self) -> bool:
        """Whether the request may change something at its target."""
        return self.method not in SAFE_METHODS


class Suite(Strict):
    """Requests to one service, in order."""

    base_url: str = Field(max_length=500, pattern=r"^https?://[^/?#\s]+[^?#\s]*$")
    description: str = Field("", max_length=2_000)
    variables: dict[Name, str | int | float | bool] = Field(default_factory=dict)
    secrets: dict[Name, SecretReference] = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    stop_at_failure: bool = True
    requests: list[Step] = Field(min_length=1, max_length=MAX_REQUESTS)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        known = set(self.variables) | set(self.secrets)
        if twice := set(self.variables) & set(self.secrets):
            raise ValueError(f"{', '.join(sorted(twice))} is a variable and a secret")
        titles = [step.name for step in self.requests]
        if len(set(titles)) < len(titles):
            raise ValueError("two requests have one name")
        for step in self.requests:
            used = set(references([step.path, step.query, step.headers, self.headers, step.json_body, step.body]))
            if unknown := used - known:
                raise ValueError(f"request {step.name}: {', '.join(sorted(unknown))} is not known at that point")
            if hidden := set(step.capture) & set(self.secrets):
                raise ValueError(f"request {step.name}: {', '.join(sorted(hidden))} is a secret's name")
            known |= set(step.capture)
        if set(references([self.base_url])):
            raise ValueError("base_url holds no references: where requests go is fixed")
        return self


class _Loader(yaml.SafeLoader):
    """YAML without aliases, by which a small document can be made to stand for an endless one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read")
        return super().compose_node(parent, index)


def read_suite(text: bytes, name: str) -> Suite:
    """A suite from YAML or JSON.

    Raises
    ------
    InvalidInputError
        With everything that is wrong.
    """
    if len(text) > MAX_BYTES:
        raise InvalidInputError(f"{name} has more than {MAX_BYTES:,} bytes")
    try:
        document = yaml.load(text, _Loader)  # a subclass of SafeLoader; JSON is YAML
        return Suite.model_validate_json(json.dumps(document))
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{name} is no YAML or JSON: {str(error)[:500]}") from None
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_input=False)[:20]
        ]
        raise InvalidInputError(f"{name} is no test suite: {'; '.join(problems)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{name} cannot be read: {str(error)[:200]}") from None


def references(value: Any) -> Iterator[str]:
    """Names that `${name}` in a value refers to."""
    if isinstance(value, str):
        yield from (found["name"] for found in _REFERENCE.finditer(value))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def filled(value: Any, values: Mapping[str, Any], depth: int = 0) -> Any:
    """The value with its references filled; a text that is nothing but a reference takes the value's own type."""
    if depth > _MAX_DEPTH:
        raise InvalidInputError("the body is nested too deeply")
    if isinstance(value, str):
        if whole := _WHOLE.match(value):
            return values[whole["name"]]
        return _REFERENCE.sub(lambda found: _text(values[found["name"]]), value)
    if isinstance(value, Mapping):
        return {key: filled(item, values, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, values, depth + 1) for item in value]
    return value


def step_url(suite: Suite, step: Step, values: Mapping[str, Any]) -> str:
    """The request's URL: on the suite's site, whatever the values hold."""
    path = _REFERENCE.sub(lambda found: quote(_text(values[found["name"]]), safe=""), step.path)
    query = urlencode({key: _text(filled(item, values)) for key, item in step.query.items()})
    url = suite.base_url.rstrip("/") + path + (("&" if "?" in path else "?") + query if query else "")
    if urlsplit(url).netloc != urlsplit(suite.base_url).netloc:
        raise InvalidInputError(f"request {step.name}: its path leads away from {suite.base_url}")
    return url


def step_headers(suite: Suite, step: Step, values: Mapping[str, Any]) -> dict[str, str]:
    own = {"Content-Type": "application/json"} if step.json_body is not None else {}
    return {name: _text(filled(value, values)) for name, value in {**own, **suite.headers, **step.headers}.items()}


def step_body(step: Step, values: Mapping[str, Any]) -> bytes | None:
    if step.json_body is not None:
        return json.dumps(filled(step.json_body, values)).encode()
    return None if step.body is None else _text(filled(step.body, values)).encode()


def captured(step: Step, body: str) -> tuple[dict[str, Any], list[str]]:
    """Values for later requests, and what could not be captured, in words."""
    if not step.capture:
        return {}, []
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}, [f"nothing can be captured: the body is no JSON, and begins with {shown(body[:120])}"]
    values, problems = {}, []
    for name, path in step.capture.items():
        value = value_at(document, path)
        if isinstance(value, dict | list) or value in (MISSING, None) or len(str(value)) > _MAX_CAPTURED:
            problems.append(f"{name} cannot be captured: {path} is {shown(value)}")
        else:
            values[name] = value
    return values, problems


def about(suite: Suite, step: Step) -> dict[str, str]:
    """What the plan and the record say of a request that may change something: no values, which may be secret."""
    return {"request": step.name, "url": suite.base_url.rstrip("/") + step.path}


def plan(suite: Suite, place: str) -> dict[str, Any]:
    """The requests as they would be sent, as far as that is known before."""
    steps = [{"name": step.name, "method": step.method, "url": about(suite, step)["url"]} for step in suite.requests]
    return {"findings": [f"{len(steps)} requests to {suite.base_url}"], "suite": place, "steps": steps}


def answered(
    step: Step, status: int, headers: Mapping[str, str], body: str, milliseconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What came of a request, and the values it captured; header names are lower case."""
    problems = list(step.expect.problems(status, headers, body, milliseconds))
    values: dict[str, Any] = {}
    if not problems:
        values, problems = captured(step, body)
    result = _result(step, problems, answered=status, duration_ms=round(milliseconds))
    return {**result, "body_start": body[:_BODY_CHARACTERS]} if problems else result, values


def unanswered(step: Step, problem: str) -> dict[str, Any]:
    """What came of a request that had no answer."""
    return _result(step, [problem])


def _result(step: Step, problems: list[str], **measured: int) -> dict[str, Any]:
    return {
        "name": step.name,
        "request": f"{step.method} {step.path}",
        "status": "failed" if problems else "passed",
        **measured,
        "problems": problems[:_MAX_PROBLEMS],
    }


def verdict(suite: Suite, place: str, results: Sequence[Mapping[str, Any]], secrets: Sequence[str]) -> dict[str, Any]:
    """The suite's result, without its secrets, which an answer may repeat, and without others.

    Raises
    ------
    UnmetError
        Where a request failed.
    """
    redactor = Redactor()
    steps: list[dict[str, Any]] = [_without(result, secrets, redactor) for result in results]
    steps += [{"name": step.name, "status": "not run"} for step in suite.requests[len(steps) :]]
    counts = {status: sum(step["status"] == status for step in steps) for status in ("passed", "failed", "not run")}
    problems = [f"{step['name']}: {problem}" for step in steps for problem in step.get("problems", [])]
    total = f"{counts['passed']} of {len(steps)} requests passed"
    result = {
        "findings": [total, *problems[:20]],
        "suite": place,
        "base_url": suite.base_url,
        "passed": counts["passed"],
        "failed": counts["failed"],
        "not_run": counts["not run"],
        "steps": steps,
    }
    if problems:
        raise UnmetError("; ".join([total, *problems[:5]]), result)
    return result


def _without(result: Mapping[str, Any], secrets: Sequence[str], redactor: Redactor) -> dict[str, Any]:
    # As they are, and as JSON has them.
    forms = {
        form: None
        for each in secrets
        for form in (each, json.dumps(each, ensure_ascii=False)[1:-1], json.dumps(each)[1:-1])
    }

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for form in forms:
                value = _hidden(value, form) if len(form) >= _LEAST_HIDDEN else value
            return redactor.text(value)
        return [clean(item) for item in value] if isinstance(value, list) else value

    return {key: clean(value) for key, value in result.items()}


def _hidden(text: str, secret: str) -> str:
    """The text without a secret, nor the beginning of one where what is shown of an answer ends within it."""
    text = text.replace(secret, "***")
    end = len(text.rstrip('"…'))
    for length in range(len(secret) - 1, _LEAST_HIDDEN - 1, -1):
        if text.endswith(secret[:length], 0, end):
            return f"{text[: end - length]}***{text[end:]}"
    return text


def check_secret(reference: SecretReference, prefix: str) -> None:
    """Refuse a secret that is not for suites."""
    if not reference.secret.startswith(prefix):
        raise AccessDeniedError(f"suites may use secrets whose names begin with {prefix}, not {reference.secret}")


def secret_value(reference: SecretReference, text: str) -> str:
    """What a suite takes of a secret."""
    if reference.key is None:
        return text
    try:
        value = json.loads(text)[reference.key]
    except (ValueError, KeyError, TypeError):
        raise InvalidInputError(f"the secret {reference.secret} holds no JSON object with {reference.key}") from None
    return _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
