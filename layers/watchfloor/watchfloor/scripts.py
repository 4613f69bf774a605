"""What all ops scripts have in common: how they are asked, how they answer, what a plan is."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from decimal import Decimal
from typing import Any, Generic, Literal, NoReturn, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from watchfloor.errors import (
    AccessDeniedError,
    ConflictError,
    DeadlineError,
    InvalidInputError,
    NotFoundError,
    WatchfloorError,
)
from watchfloor.expectations import UnmetError

GROUPS = ("test", "debug", "oncall")
NAME = re.compile(rf"({'|'.join(GROUPS)})(-[a-z0-9]+)+")
MAX_NAME_CHARACTERS = 48
Risk = Literal["low", "medium", "high"]
# Fields of the event that are no parameters of the script.
CONTROLS = ("dry_run", "requested_by", "approval_id")
# A plan and an answer fit into one state of a state machine.
MAX_RESULT_CHARACTERS = 90_000

_STATUS_CODES: tuple[tuple[type[WatchfloorError], int], ...] = (
    (InvalidInputError, 400),
    (AccessDeniedError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (DeadlineError, 504),
)
_MASK = "***"
_MAX_SHOWN_CHARACTERS = 2_000
_MAX_MESSAGE_CHARACTERS = 2_000
_SECRET_KEYS = re.compile(r"(.*(password|passwd|passphrase|secretstring|secretkey|privatekey|apikey)|authorization)")


class Parameters(BaseModel):
    """Base of every script's parameters: unknown ones are refused, and nothing is converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


P = TypeVar("P", bound=Parameters)


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with the input; `parameter` is a dotted path, empty for the input as a whole."""

    parameter: str
    problem: str

    def __str__(self) -> str:
        return f"{self.parameter}: {self.problem}" if self.parameter else self.problem


class ViolationsError(InvalidInputError):
    """The input is not as the script wants it; every violation is named."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = violations


class PlanError(WatchfloorError):
    """The script cannot be planned: its next step depends on what a write would have answered."""


@dataclass(frozen=True)
class Request(Generic[P]):
    """A call of a script.

    Attributes
    ----------
    parameters
        As the script's model took them.
    given
        As they came.
    requested_by
        Who asks for it, as the caller says; `unknown` where nothing is said.
    approval_id
        The approval that a dangerous script needs, empty where there is none.
    """

    parameters: P
    given: dict[str, Any]
    dry_run: bool = False
    requested_by: str = "unknown"
    approval_id: str = ""

    @property
    def digest(self) -> str:
        return digest(self.given)


def parse_request(event: Any, model: type[P]) -> Request[P]:
    """`{parameters: {...}, dry_run?, requested_by?, approval_id?}`, or the parameters beside these.

    Raises
    ------
    ViolationsError
        With everything that is wrong.
    """
    if not isinstance(event, dict):
        raise ViolationsError([Violation("", "the input must be a JSON object")])
    controls = {key: event[key] for key in CONTROLS if event.get(key) is not None}
    given = {key: value for key, value in event.items() if key not in CONTROLS}
    violations = []
    if "parameters" in given:
        inner = given.pop("parameters")
        violations += [Violation(key, "stands outside of parameters, where nothing is read") for key in given]
        if not isinstance(inner, dict):
            violations.append(Violation("parameters", "must be an object"))
            inner = {}
        given = inner
    violations += _control_violations(controls)
    parameters = None
    try:
        parameters = model.model_validate_json(json.dumps(given))
    except ValidationError as error:
        violations += [_violation(problem) for problem in error.errors(include_url=False, include_input=False)]
    except (TypeError, ValueError):
        violations.append(Violation("parameters", "must be JSON"))
    if violations or parameters is None:
        raise ViolationsError(violations)
    return Request(parameters, given, **controls)


def _control_violations(controls: Mapping[str, Any]) -> Iterator[Violation]:
    if not isinstance(controls.get("dry_run", False), bool):
        yield Violation("dry_run", "must be true or false")
    for name, most in (("requested_by", 200), ("approval_id", 100)):
        value = controls.get(name, "-")
        if not (isinstance(value, str) and 0 < len(value.strip()) and len(value) <= most):
            yield Violation(name, f"must be a text of at most {most} characters")


def _violation(problem: Any) -> Violation:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return Violation(path, "is missing")
    if problem["type"] == "extra_forbidden":
        return Violation(path, "is no parameter of this script")
    message = str(problem["msg"]).removeprefix("Value error, ")
    return Violation(path, message[:1].lower() + message[1:])


def digest(parameters: Mapping[str, Any]) -> str:
    """The same for the same parameters, whatever their order."""
    text = json.dumps(parameters, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


# --- plans ----------------------------------------------------------------------------------------------------------


@dataclass
class Call:
    """A write call: planned, or made.

    Attributes
    ----------
    service, operation
        As AWS names them (`ecs`, `UpdateService`), or what a step that is no AWS call says of itself.
    parameters
        What it is called with, secrets masked.
    outcome
        planned, made, failed, or unknown (cut off before there was an answer).
    """

    service: str
    operation: str
    parameters: dict[str, Any]
    outcome: Literal["planned", "made", "failed", "unknown"] = "planned"

    def plan(self) -> dict[str, Any]:
        return {"service": self.service, "operation": self.operation, "parameters": self.parameters}

    def record(self) -> dict[str, Any]:
        return {**self.plan(), "outcome": self.outcome}


@dataclass(frozen=True, eq=False)
class Planned:
    """Stands for the answer to a write call that a dry run does not make.

    It can be taken apart and handed to later writes, where it is shown as what it stands for. Whoever wants to decide
    by it gets a PlanError, because a plan must not be made up.
    """

    call: str
    path: tuple[str, ...] = field(default=())

    def __getitem__(self, key: Any) -> Planned:
        return Planned(self.call, (*self.path, str(key)))

    def get(self, key: Any, default: Any = None) -> Planned:
        return self[key]

    def __str__(self) -> str:
        return f"<{'.'.join(self.path) or 'answer'} of {self.call}>"

    __repr__ = __str__

    def _undecided(self, *_: object) -> NoReturn:
        raise PlanError(f"a dry run does not know {self}; the script must not decide by it")

    __bool__ = __len__ = __iter__ = __contains__ = __eq__ = __int__ = __float__ = _undecided  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


def same_plan(planned: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    """Whether a call is the one that was planned; what only an earlier write could tell fits anything."""
    if (planned["service"], planned["operation"]) != (made["service"], made["operation"]):
        return False
    return _fits(planned["parameters"], made["parameters"])


def _fits(planned: Any, made: Any) -> bool:
    if isinstance(planned, str) and re.search(r"<[\w.]+ of [\w-]+:\w+>", planned):
        return isinstance(made, str)
    if isinstance(planned, dict) and isinstance(made, dict):
        return planned.keys() == made.keys() and all(_fits(planned[key], made[key]) for key in planned)
    if isinstance(planned, list) and isinstance(made, list):
        return len(planned) == len(made) and all(map(_fits, planned, made))
    return planned == made


# --- secrets --------------------------------------------------------------------------------------------------------


class Mask:
    """Takes secrets out of what is logged, recorded or answered: the parameters' secrets, and what keys name so."""

    def __init__(self, parameters: BaseModel | None = None) -> None:
        self._secrets = sorted(set(_secrets(parameters)), key=len, reverse=True)

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return text

    def content(self, value: Any) -> Any:
        """JSON without the parameters' secrets, and else as it is."""
        if isinstance(value, dict):
            return {key: self.content(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.content(item) for item in value]
        return self.text(value) if isinstance(value, str) else value

    def value(self, value: Any) -> Any:
        """A JSON value of the same shape to be looked at: what keys name a secret goes too, long texts are cut."""
        if isinstance(value, Mapping):
            return {
                str(key): _MASK if _is_secret(str(key)) and (isinstance(item, Planned) or item) else self.value(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item) for item in value]
        if isinstance(value, bytes | bytearray):
            value = value.decode("utf-8", "replace")
        if isinstance(value, str):
            text = self.text(value)
            more = len(text) - _MAX_SHOWN_CHARACTERS
            return text if more <= 0 else f"{text[:_MAX_SHOWN_CHARACTERS]}… ({more:,} characters more)"
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.value(orjson.loads(dump(value)))


def _is_secret(key: str) -> bool:
    return _SECRET_KEYS.fullmatch(re.sub(r"[^a-z]", "", key.lower())) is not None


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        # Shorter ones would blot out half of every text.
        if len(value.get_secret_value()) >= 4:
            yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _secrets(item)


# --- answers --------------------------------------------------------------------------------------------------------


def dump(value: Any) -> bytes:
    """JSON of what scripts and AWS deal in."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    if is_dataclass(value) and not isinstance(value, Planned | type):
        return asdict(value)
    return str(value)


@dataclass
class Answer:
    """What a script answers."""

    script: str
    status_code: int
    status: Literal["ok", "planned", "failed"]
    changed: bool
    content: dict[str, Any]
    duration_ms: int = 0

    @property
    def is_fault(self) -> bool:
        return self.status_code >= 500

    def body(self) -> dict[str, Any]:
        key = "error" if self.status == "failed" else "result"
        return {
            "script": self.script,
            "status": self.status,
            "changed": self.changed,
            key: self.content,
            "duration_ms": self.duration_ms,
        }

    def to_lambda(self) -> dict[str, Any]:
        return {"statusCode": self.status_code, "body": dump(self.body()).decode()}


def done(script: str, result: Any, *, changed: bool) -> Answer:
    return Answer(script, 200, "ok", changed, _bounded(result))


def planned(script: str, result: Any, calls: list[Call]) -> Answer:
    """202: `planned_calls` are the write calls that the real run would make, `plan` is what the script says of it."""
    content = {"planned_calls": [call.plan() for call in calls], "plan": _bounded(result)}
    return Answer(script, 202, "planned", False, content)


def failed(script: str, error: BaseException, calls: list[Call], mask: Mask, *, changed: bool) -> Answer:
    """400, 403, 404, 409, 504 by the error's class, 500 for all others; `calls` says what was done before."""
    kind = next((kind for kind, _ in _STATUS_CODES if isinstance(error, kind)), type(error))
    message = mask.text(str(error)) or kind.__name__
    content: dict[str, Any] = {"type": kind.__name__, "message": message[:_MAX_MESSAGE_CHARACTERS]}
    if isinstance(error, ViolationsError):
        content["violations"] = [{"parameter": item.parameter, "problem": item.problem} for item in error.violations]
    if isinstance(error, UnmetError):
        content["details"] = _bounded(error.details)
    if calls:
        content["calls"] = [call.record() for call in calls]
    return Answer(script, status_code(error), "failed", changed, content)


def status_code(error: BaseException) -> int:
    return next((code for kind, code in _STATUS_CODES if isinstance(error, kind)), 500)


def _bounded(result: Any) -> dict[str, Any]:
    """A result that Lambda and Step Functions take."""
    encoded = dump(result if isinstance(result, dict) else {"value": result})
    if len(encoded) <= MAX_RESULT_CHARACTERS:
        return orjson.loads(encoded)
    text = encoded[:MAX_RESULT_CHARACTERS].decode("utf-8", "ignore")
    return {"cut": f"the result has {len(encoded):,} bytes, these are the first", "text": text}
