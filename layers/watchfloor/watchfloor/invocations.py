"""What came of calling a function, and whether it is what a test expects."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchfloor.errors import ConflictError, InvalidInputError
from watchfloor.expectations import UnmetError, ValueCheck, json_problems
from watchfloor.redaction import Redactor

_SHOWN_CHARACTERS = 4_000
_MESSAGE_CHARACTERS = 2_000
_LOG_LINES = 50
_SHOWN = ("FunctionName", "Version", "Runtime", "MemorySize", "Timeout", "LastModified", "State")


@dataclass(frozen=True)
class Outcome:
    """Of one call.

    Attributes
    ----------
    text
        What it answered.
    function_error
        Handled or Unhandled, as Lambda says it; empty where it ended without an error.
    log
        The end of its log, as Lambda gives it: base64.
    """

    text: str
    milliseconds: float
    function_error: str = ""
    version: str | None = None
    log: str = ""

    @property
    def error(self) -> dict[str, str] | None:
        """The error's type and message, as runtimes tell them."""
        if not self.function_error:
            return None
        try:
            said = json.loads(self.text)
        except (ValueError, RecursionError):
            said = {}
        said = said if isinstance(said, dict) else {}
        return {
            "type": str(said.get("errorType") or self.function_error)[:200],
            "message": Redactor().start(str(said.get("errorMessage", "")), _MESSAGE_CHARACTERS),
        }


def check_event(body: bytes, name: str) -> bytes:
    """The event as it is; InvalidInputError where it is no JSON."""
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInputError(f"event_name: {name} is no JSON") from None
    return body


def about_function(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Of GetFunctionConfiguration; ConflictError where the function cannot be called now."""
    if configuration.get("State", "Active") not in ("Active", "Inactive"):
        raise ConflictError(
            f"{configuration['FunctionName']} is {configuration['State']}: {configuration.get('StateReason', '')}"
        )
    return {name: configuration[name] for name in _SHOWN if name in configuration}


def problems(
    outcome: Outcome, *, expect_error: str | None = None, max_ms: int | None = None, checks: Sequence[ValueCheck] = ()
) -> list[str]:
    """In which ways a call did not go as it should, without secrets."""
    found, error = [], outcome.error
    if expect_error and (error or {}).get("type") != expect_error:
        ended = f"with {error['type']}" if error else "without an error"
        found.append(f"it should end with {expect_error}, and ended {ended}")
    if error and not expect_error:
        found.append(f"it ended with {error['type']}: {error['message']}")
    if max_ms and outcome.milliseconds > max_ms:
        found.append(f"it should take at most {max_ms} ms, and took {outcome.milliseconds:.0f} ms")
    if checks:
        found += Redactor().lines(json_problems(checks, outcome.text))
    return found


def report(about: Mapping[str, Any], outcome: Outcome, found: Sequence[str]) -> dict[str, Any]:
    """The test's result, without secrets; UnmetError where there are problems."""
    well = f"{about['FunctionName']} answered as expected in {outcome.milliseconds:.0f} ms"
    log = base64.b64decode(outcome.log).decode("utf-8", "replace")
    result = {
        "findings": list(found) or [well],
        "function": about,
        "executed_version": outcome.version,
        "duration_ms": round(outcome.milliseconds),
        "error": outcome.error,
        "answer": Redactor().start(outcome.text, _SHOWN_CHARACTERS),
        "log_tail": Redactor().lines(log.splitlines()[-_LOG_LINES:]),
    }
    if found:
        raise UnmetError("; ".join(found), result)
    return result
