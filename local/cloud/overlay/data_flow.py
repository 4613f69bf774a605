"""The data that goes through a state: paths, templates, choices, as Step Functions computes them from JSONPath.

MiniStack resolves a path that matches nothing to null; Step Functions fails the execution, and so does this.
"""

from __future__ import annotations

import copy
import json
import operator
import re
from datetime import datetime
from typing import Any

from ministack.services import stepfunctions

from local.cloud import anchors

# A state holds at most this much JSON, in UTF-8.
MAX_BYTES = 256 * 1024

_ExecutionError = stepfunctions._ExecutionError
_ORDER = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "GreaterThan": operator.gt,
    "LessThanEquals": operator.le,
    "GreaterThanEquals": operator.ge,
}
_COMPARISON = re.compile(r"(String|Numeric|Boolean|Timestamp)(\w+?)(Path)?")
_MISSING = object()


def install() -> None:
    # The intrinsic functions and the distributed map resolve their paths through these.
    anchors.replace("services.stepfunctions:_resolve_path", resolve)
    anchors.replace("services.stepfunctions:_resolve_ctx_path", lambda path, context: resolve(path[1:], context))
    intrinsic = anchors.replace(
        "services.stepfunctions:_exec_intrinsic", lambda node, data, context: _intrinsic(intrinsic, node, data, context)
    )


def resolve(path: str, data: Any, default: Any = _MISSING) -> Any:
    """The value at a path.

    Raises
    ------
    _ExecutionError
        ``States.Runtime`` when nothing is there and no default is given.
    """
    tokens = stepfunctions._parse_jsonpath_tokens(path) if path.startswith("$") else None
    if tokens is None:
        raise _ExecutionError("States.Runtime", f"Invalid path '{path}'")
    found, many = [data], False
    for kind, key in tokens:
        many = many or kind == "wildcard"
        found = [inner for value in found for inner in _step(kind, key, value)]
    if many:
        return found
    if found:
        return found[0]
    if default is _MISSING:
        raise _ExecutionError("States.Runtime", f"Invalid path '{path}': No results for path: {path}")
    return default


def _step(kind: str, key: Any, value: Any) -> list[Any]:
    if kind == "wildcard":
        return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
    if kind == "index":
        return [value[key]] if isinstance(value, list) and key < len(value) else []
    return [value[key]] if isinstance(value, dict) and key in value else []


def select(path: str | None, data: Any, context: dict[str, Any], default: Any = _MISSING) -> Any:
    """What a path of the state or, with ``$$``, of the context object selects; ``None`` selects an empty object."""
    if path is None:
        return {}
    if path.startswith("$$"):
        return resolve(path[1:], context, default)
    return resolve(path, data, default)


def fill(template: Any, data: Any, context: dict[str, Any]) -> Any:
    """A payload template with its paths and functions evaluated."""
    if isinstance(template, list):
        return [fill(item, data, context) for item in template]
    if not isinstance(template, dict):
        return template
    filled = {}
    for key, value in template.items():
        if key.endswith(".$"):
            filled[key[:-2]] = evaluate(value, data, context, field=key)
        else:
            filled[key] = fill(value, data, context)
    return filled


def evaluate(expression: str, data: Any, context: dict[str, Any], field: str = "") -> Any:
    """A path or an intrinsic function."""
    if not expression.startswith("States."):
        try:
            return select(expression, data, context)
        except _ExecutionError:
            raise _ExecutionError(
                "States.Runtime",
                f"An error occurred while executing the state '{context['State']['Name']}'. The JSONPath "
                f"'{expression}' specified for the field '{field}' could not be found in the input "
                f"'{dumps(data)[:1000]}'",
            ) from None
    try:
        return stepfunctions._evaluate_intrinsic(expression, data, context)
    except _ExecutionError:
        raise
    except Exception as error:
        raise _ExecutionError("States.IntrinsicFailure", f"{expression}: {error}") from error


def put(path: str | None, data: Any, result: Any) -> Any:
    """The input with a result at ResultPath."""
    if path is None:
        return data
    if path == "$":
        return result
    if not isinstance(data, dict):
        raise _ExecutionError(
            "States.ResultPathMatchFailure", f"Unable to apply ResultPath '{path}' to the input, which is no object"
        )
    output = copy.copy(data)
    place = output
    *parents, last = [key for _, key in stepfunctions._parse_jsonpath_tokens(path)]
    for key in parents:
        inner = place.get(key)
        place[key] = copy.copy(inner) if isinstance(inner, dict) else {}
        place = place[key]
    place[last] = result
    return output


def choose(state: dict[str, Any], data: Any, context: dict[str, Any]) -> str:
    """The next state of a Choice."""
    for rule in state["Choices"]:
        if holds(rule, data, context):
            return rule["Next"]
    if "Default" in state:
        return state["Default"]
    raise _ExecutionError("States.NoChoiceMatched", "There is no matching choice rule and no Default")


def holds(rule: dict[str, Any], data: Any, context: dict[str, Any]) -> bool:
    """Whether a choice rule is true."""
    if "And" in rule:
        return all(holds(part, data, context) for part in rule["And"])
    if "Or" in rule:
        return any(holds(part, data, context) for part in rule["Or"])
    if "Not" in rule:
        return not holds(rule["Not"], data, context)
    comparison = next(key for key in rule if key not in ("Variable", "Next", "Comment"))
    if comparison == "IsPresent":
        return (select(rule["Variable"], data, context, _MISSING_VALUE) is not _MISSING_VALUE) == rule[comparison]
    value, operand = select(rule["Variable"], data, context), rule[comparison]
    if comparison.startswith("Is"):
        return _is(comparison, value) == operand
    if comparison == "StringMatches":
        return isinstance(value, str) and re.fullmatch(_wildcards(operand), value, re.DOTALL) is not None
    matched = _COMPARISON.fullmatch(comparison)
    assert matched is not None, comparison
    kind, order, by_path = matched.groups()
    if by_path:
        operand = select(operand, data, context)
    left, right = _as(kind, value), _as(kind, operand)
    return left is not None and right is not None and _ORDER[order](left, right)


# Not the sentinel of resolve(), which would make it raise.
_MISSING_VALUE = object()


def _is(comparison: str, value: Any) -> bool:
    if comparison == "IsNull":
        return value is None
    return _as(comparison.removeprefix("Is"), value) is not None


def _as(kind: str, value: Any) -> Any:
    """The value when it is of the kind, else ``None``."""
    if kind == "Boolean":
        return value if isinstance(value, bool) else None
    if kind == "Numeric":
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if not isinstance(value, str):
        return None
    return value if kind == "String" else _timestamp(value)


def _timestamp(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def _wildcards(pattern: str) -> str:
    """StringMatches knows ``*`` and the escapes ``\\\\*`` and ``\\\\\\\\``."""
    parts = re.findall(r"\\.|\*|[^\\*]+", pattern)
    return "".join(".*" if part == "*" else re.escape(part[1:] if part[0] == "\\" else part) for part in parts)


def _intrinsic(original: Any, node: tuple[str, str, list[Any]], data: Any, context: Any) -> Any:
    """MiniStack's functions, with States.Format writing values as JSON and not as Python."""
    _, name, arguments = node
    if name != "States.Format":
        return original(node, data, context)
    template, *values = [stepfunctions._eval_intrinsic_arg(argument, data, context) for argument in arguments]
    texts = [("str", value if isinstance(value, str) else dumps(value)) for value in values]
    return original(("call", name, [("str", template), *texts]), data, context)


def check_size(name: str, value: Any) -> str:
    """The value as JSON.

    Raises
    ------
    _ExecutionError
        ``States.DataLimitExceeded`` when it is larger than a state can hold.
    """
    text = dumps(value)
    if len(text) > MAX_BYTES // 4 and len(text.encode()) > MAX_BYTES:
        raise _ExecutionError(
            "States.DataLimitExceeded",
            f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes service "
            "limit.",
        )
    return text


def dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
