"""Whether and how an execution of a state machine is run again; executions are as DescribeExecution shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from watchfloor.errors import ConflictError
from watchfloor.redaction import Redactor

MAX_RERUNS = 20
_CAUSE_CHARACTERS = 1_000
_NAME_CHARACTERS = 80


def check_rerun(execution: Mapping[str, Any], *, force: bool) -> None:
    """Refuse what nobody needs."""
    if not force and execution["status"] == "RUNNING":
        raise ConflictError("the execution is still running; stop it first, or set force to run another beside it")
    if not force and execution["status"] == "SUCCEEDED":
        raise ConflictError("the execution succeeded; set force to run it again all the same")


def is_redriven(execution: Mapping[str, Any], mode: Literal["auto", "redrive", "restart"]) -> bool:
    """Whether it goes on from where it failed; otherwise it begins anew, for which its input must be known."""
    is_possible = execution.get("redriveStatus") == "REDRIVABLE"
    if mode == "redrive" and not is_possible:
        why = execution.get("redriveStatusReason") or execution.get("redriveStatus")
        raise ConflictError(f"the execution cannot be redriven: {why}")
    if mode != "restart" and is_possible:
        return True
    if not execution.get("inputDetails", {}).get("included", True):
        raise ConflictError("Step Functions does not give the execution's input, so it cannot be used again")
    return False


def next_rerun(execution_arn: str, find: Callable[[str], Mapping[str, Any] | None], *, force: bool) -> str:
    """ARN of the next execution with the same input, unless an earlier one runs or succeeded; `find` knows them."""
    prefix, _, name = execution_arn.rpartition(":")
    for number in range(1, MAX_RERUNS + 1):
        suffix = f"-rerun-{number}"
        again = f"{name[: _NAME_CHARACTERS - len(suffix)]}{suffix}"
        earlier = find(f"{prefix}:{again}")
        if earlier is None:
            return f"{prefix}:{again}"
        if earlier["status"] in ("RUNNING", "SUCCEEDED") and not force:
            raise ConflictError(
                f"it was run again already: {again} {earlier['status'].lower()}; set force to do it once more"
            )
    raise ConflictError(f"it was run again {MAX_RERUNS} times already")


def outcome(execution: Mapping[str, Any]) -> dict[str, Any]:
    """How it stands; the cause, which may be anything that a task said, without secrets."""
    cause = Redactor().start(execution.get("cause") or "", _CAUSE_CHARACTERS)
    return {"status": execution["status"], "error": execution.get("error"), "cause": cause}
