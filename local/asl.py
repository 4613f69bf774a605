"""Rules for Amazon States Language definitions in JSONPath.

:func:`problems` finds what Step Functions would refuse when a state machine is made, and what the local cloud cannot
run. :func:`lint` adds the rules of this project. On the command line::

    python -m local.asl statemachines/*.asl.yaml

prints ``file:state: problem`` and exits 1 when there is one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_COMMON = {"Type", "Comment", "InputPath", "OutputPath", "QueryLanguage"}
_MOVES_ON = {"Next", "End"}
_WORKS = _COMMON | _MOVES_ON | {"ResultPath", "Parameters", "ResultSelector", "Retry", "Catch"}
_FIELDS = {
    "Task": _WORKS
    | {"Resource", "TimeoutSeconds", "TimeoutSecondsPath", "HeartbeatSeconds", "HeartbeatSecondsPath", "Credentials"},
    "Parallel": _WORKS | {"Branches"},
    "Map": _WORKS
    | {"Iterator", "ItemProcessor", "ItemsPath", "ItemSelector", "MaxConcurrency", "MaxConcurrencyPath", "ItemReader"}
    | {"ItemBatcher", "ResultWriter", "Label", "ToleratedFailureCount", "ToleratedFailurePercentage"}
    | {"ToleratedFailureCountPath", "ToleratedFailurePercentagePath"},
    "Pass": _COMMON | _MOVES_ON | {"ResultPath", "Parameters", "Result"},
    "Choice": _COMMON | {"Choices", "Default"},
    "Wait": _COMMON | _MOVES_ON | {"Seconds", "SecondsPath", "Timestamp", "TimestampPath"},
    "Succeed": _COMMON,
    "Fail": {"Type", "Comment", "QueryLanguage", "Error", "ErrorPath", "Cause", "CausePath"},
}
_MACHINE_FIELDS = {"Comment", "StartAt", "States", "TimeoutSeconds", "Version", "QueryLanguage"}
_BRANCH_FIELDS = {"Comment", "StartAt", "States", "QueryLanguage", "ProcessorConfig"}
_RETRY_FIELDS = {"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy"}
_CATCH_FIELDS = {"ErrorEquals", "Next", "ResultPath", "Comment"}

_ORDER = ("Equals", "LessThan", "GreaterThan", "LessThanEquals", "GreaterThanEquals")
COMPARISONS = {
    *(
        f"{kind}{order}{path}"
        for kind in ("String", "Numeric", "Timestamp")
        for order in _ORDER
        for path in ("", "Path")
    ),
    *("BooleanEquals", "BooleanEqualsPath", "StringMatches"),
    *("IsPresent", "IsNull", "IsNumeric", "IsString", "IsBoolean", "IsTimestamp"),
}
_LOGIC = ("And", "Or", "Not")

# What AWS offers and the local cloud does not: better refused than done wrong in silence.
_NOT_LOCAL = {
    "ItemBatcher": "batches of items",
    "ResultWriter": "writing the results of a map to S3",
    "Credentials": "roles of other accounts",
    "Assign": "variables",
    "MaxConcurrencyPath": "a path for the concurrency",
    "ToleratedFailureCountPath": "a path for the tolerated failures",
    "ToleratedFailurePercentagePath": "a path for the tolerated failures",
}

_STEP = r"""(\.\*|\.[\w-]+|\.?\[\*\]|\.?\[\d+\]|\.?\['[^'\]]+'\]|\.?\["[^"\]]+"\])"""
_PATH = re.compile(rf"\$\$?{_STEP}*")
_REFERENCE_PATH = re.compile(r"\$(\.[\w-]+|\['[^'\]]+'\])*")
_SUBSTITUTION = re.compile(r"\$\{\w+\}")


@dataclass(frozen=True)
class Problem:
    """What is wrong, and in which state; an empty state is the machine itself."""

    state: str
    message: str

    def __str__(self) -> str:
        return f"{self.state or 'machine'}: {self.message}"


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML without two values under one key, the second of which would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(text: str) -> dict[str, Any]:
    """A definition from JSON or YAML.

    Raises
    ------
    ValueError
        When it is neither, or not an object.
    """
    try:
        definition = yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from None
    if not isinstance(definition, dict):
        raise ValueError("not an object")  # noqa: TRY004
    return definition


def problems(definition: dict[str, Any]) -> list[Problem]:
    """What Step Functions would refuse, and what the local cloud would get wrong."""
    return list(_Checker(definition).check())


def lint(definition: dict[str, Any]) -> list[Problem]:
    """The same, with the rules of this project."""
    return problems(definition) + list(_house_rules(definition))


class _Checker:
    def __init__(self, definition: dict[str, Any]) -> None:
        self._definition = definition
        self._names: set[str] = set()

    def check(self) -> Iterator[Problem]:
        for field in self._definition.keys() - _MACHINE_FIELDS:
            yield Problem("", f"the field {field} is not supported")
        yield from self._positive("", self._definition, "TimeoutSeconds")
        yield from self._states("", self._definition)

    def _states(self, owner: str, machine: dict[str, Any]) -> Iterator[Problem]:
        if machine.get("QueryLanguage", "JSONPath") != "JSONPath":
            yield Problem(owner, "the local cloud runs JSONPath only, not JSONata")
        states = machine.get("States")
        if not isinstance(states, dict) or not states:
            yield Problem(owner, "it has no States")
            return
        if machine.get("StartAt") not in states:
            yield Problem(owner, f"StartAt names {machine.get('StartAt')!r}, which is no state")
        for name, state in states.items():
            if name in self._names:
                yield Problem(name, "another state of this machine has the same name")
            self._names.add(name)
            if len(name) > 80:
                yield Problem(name, "the name is longer than 80 characters")
            if not isinstance(state, dict):
                yield Problem(name, "it is not an object")
                continue
            yield from self._state(name, state)
            for target in targets(state):
                if target not in states:
                    yield Problem(name, f"it leads to {target!r}, which is no state here")
        for name in states.keys() - _reachable(machine):
            yield Problem(name, "it is not reachable")

    def _state(self, name: str, state: dict[str, Any]) -> Iterator[Problem]:
        kind = state.get("Type")
        if kind not in _FIELDS:
            yield Problem(name, f"the Type {kind!r} does not exist")
            return
        for field in state.keys() - _FIELDS[kind] - _NOT_LOCAL.keys():
            yield Problem(name, f"the field {field} is not supported in a {kind} state")
        for field in state.keys() & _NOT_LOCAL.keys():
            yield Problem(name, f"the local cloud does not offer {field} ({_NOT_LOCAL[field]})")
        if state.get("QueryLanguage", "JSONPath") != "JSONPath":
            yield Problem(name, "the local cloud runs JSONPath only, not JSONata")
        if "Next" in _FIELDS[kind] and (("Next" in state) == (state.get("End") is True)):
            yield Problem(name, "it needs either Next or End: true")
        yield from self._paths(name, state)
        for field in ("TimeoutSeconds", "HeartbeatSeconds"):
            yield from self._positive(name, state, field)
        for index, retrier in enumerate(state.get("Retry", [])):
            yield from self._retrier(name, retrier, last=index == len(state["Retry"]) - 1)
        for index, catcher in enumerate(state.get("Catch", [])):
            yield from self._catcher(name, catcher, last=index == len(state["Catch"]) - 1)
        special = getattr(self, f"_{kind.lower()}", None)
        if special:
            yield from special(name, state)

    def _task(self, name: str, state: dict[str, Any]) -> Iterator[Problem]:
        if not isinstance(state.get("Resource"), str):
            yield Problem(name, "it has no Resource")
        heartbeat, timeout = state.get("HeartbeatSeconds"), state.get("TimeoutSeconds")
        if isinstance(heartbeat, int) and isinstance(timeout, int) and heartbeat >= timeout:
            yield Problem(name, "HeartbeatSeconds is not smaller than TimeoutSeconds")

    def _parallel(self, name: str, state: dict[str, Any]) -> Iterator[Problem]:
        if not state.get("Branches"):
            yield Problem(name, "it has no Branches")
        for branch in state.get("Branches") or []:
            yield from self._branch(name, branch)

    def _map(self, name: str, state: dict[str, Any]) -> Iterator[Problem]:
        processor = state.get("ItemProcessor") or state.get("Iterator")
        if not isinstance(processor, dict):
            yield Problem(name, "it has no ItemProcessor")
        else:
            yield from self._branch(name, processor)

    def _branch(self, name: str, branch: dict[str, Any]) -> Iterator[Problem]:
        for field in branch.keys() - _BRANCH_FIELDS:
            yield Problem(name, f"the field {field} is not supported in a branch")
        yield from self._states(name, branch)

    def _choice(self, name: str, state: dict[str, Any]) -> Iterator[Problem]:
        if not state.get("Choices"):
            yield Problem(name, "it has no Choices")
        for rule in state.get("Choices") or []:
            if "Next" not in rule:
                yield Problem(name, "a choice has no Next")
            yield from self._rule(name, rule, {"Next", "Comment"})

    def _rule(self, name: str, rule: dict[str, Any], allowed: set[str]) -> Iterator[Problem]:
        logic = [field for field in _LOGIC if field in rule]
        if logic:
            for field in rule.keys() - {logic[0]} - allowed:
                yield Problem(name, f"the field {field} is not supported beside {logic[0]}")
            inner = rule[logic[0]] if isinstance(rule[logic[0]], list) else [rule[logic[0]]]
            for part in inner:
                yield from self._rule(name, part, set())
            return
        comparisons = rule.keys() - {"Variable"} - allowed
        if len(comparisons) != 1 or not comparisons <= COMPARISONS:
            yield Problem(name, f"a choice needs exactly one comparison, not {sorted(comparisons) or 'none'}")
        if not isinstance(rule.get("Variable"), str) or not _PATH.fullmatch(rule["Variable"]):
            yield Problem(name, f"the Variable {rule.get('Variable')!r} is not a path the local cloud knows")

    def _wait(self, name: str, state: dict[str, Any]) -> Iterator[Problem]:
        if len(state.keys() & {"Seconds", "SecondsPath", "Timestamp", "TimestampPath"}) != 1:
            yield Problem(name, "it needs exactly one of Seconds, SecondsPath, Timestamp and TimestampPath")

    def _retrier(self, name: str, retrier: dict[str, Any], last: bool) -> Iterator[Problem]:
        for field in retrier.keys() - _RETRY_FIELDS - {"Comment"}:
            yield Problem(name, f"the field {field} is not supported in a Retry")
        yield from self._error_equals(name, retrier, last)
        for field in ("IntervalSeconds", "MaxDelaySeconds"):
            yield from self._positive(name, retrier, field)
        attempts, rate = retrier.get("MaxAttempts", 0), retrier.get("BackoffRate", 1)
        if not _is_substitution(attempts) and (not isinstance(attempts, int) or attempts < 0):
            yield Problem(name, f"MaxAttempts is {attempts!r}, it must be a whole number from 0")
        if not _is_substitution(rate) and (not isinstance(rate, int | float) or rate < 1):
            yield Problem(name, f"BackoffRate is {rate!r}, it must be a number from 1")
        if retrier.get("JitterStrategy", "NONE") not in ("NONE", "FULL"):
            yield Problem(name, "JitterStrategy must be NONE or FULL")

    def _catcher(self, name: str, catcher: dict[str, Any], last: bool) -> Iterator[Problem]:
        for field in catcher.keys() - _CATCH_FIELDS:
            yield Problem(name, f"the field {field} is not supported in a Catch")
        if "Next" not in catcher:
            yield Problem(name, "a Catch has no Next")
        yield from self._error_equals(name, catcher, last)
        yield from self._paths(name, catcher)

    def _error_equals(self, name: str, handler: dict[str, Any], last: bool) -> Iterator[Problem]:
        names = handler.get("ErrorEquals")
        if not isinstance(names, list) or not names:
            yield Problem(name, "a Retry or Catch has no ErrorEquals")
        elif "States.ALL" in names and (len(names) > 1 or not last):
            yield Problem(name, "States.ALL must stand alone, in the last Retry or Catch")

    def _positive(self, name: str, owner: dict[str, Any], field: str) -> Iterator[Problem]:
        value = owner.get(field, 1)
        if not _is_substitution(value) and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            yield Problem(name, f"{field} is {value!r}, it must be a whole number from 1")

    def _paths(self, name: str, state: dict[str, Any]) -> Iterator[Problem]:
        for field in ("InputPath", "OutputPath", "ItemsPath", "SecondsPath", "TimestampPath"):
            value = state.get(field)
            if value is not None and not (isinstance(value, str) and _PATH.fullmatch(value)):
                yield Problem(name, f"{field} {value!r} is not a path the local cloud knows")
        value = state.get("ResultPath")
        if value is not None and not (isinstance(value, str) and _REFERENCE_PATH.fullmatch(value)):
            yield Problem(name, f"ResultPath {value!r} is not a reference path")
        for field in ("Parameters", "ResultSelector", "ItemSelector"):
            yield from _template_problems(name, field, state.get(field))


def _template_problems(name: str, where: str, template: Any) -> Iterator[Problem]:
    if isinstance(template, list):
        for item in template:
            yield from _template_problems(name, where, item)
    elif isinstance(template, dict):
        for key, value in template.items():
            if not str(key).endswith(".$"):
                yield from _template_problems(name, f"{where}.{key}", value)
            elif not isinstance(value, str) or not (value.startswith("States.") or _PATH.fullmatch(value)):
                yield Problem(name, f"{where}.{key} is {value!r}, neither a path the local cloud knows nor a function")


def _house_rules(machine: dict[str, Any]) -> Iterator[Problem]:
    if not machine.get("Comment"):
        yield Problem("", "it has no Comment")
    for branch in _machines(machine):
        ends = _leads_to_end(branch)
        for name, state in branch["States"].items():
            if state.get("Type") == "Task":
                if "TimeoutSeconds" not in state and "TimeoutSecondsPath" not in state:
                    yield Problem(name, "a Task without TimeoutSeconds waits for a year")
                if not state.get("Retry"):
                    yield Problem(name, "a Task without Retry gives up on the first hiccup")
                if ".waitForTaskToken" in str(state.get("Resource")) and not state.keys() & {
                    "HeartbeatSeconds",
                    "HeartbeatSecondsPath",
                }:
                    yield Problem(name, "a wait for a callback without HeartbeatSeconds notices a lost one late")
            if name not in ends:
                yield Problem(name, "no end of the machine can be reached from it")
            for where, value in _literals(state.get("Parameters")):
                if isinstance(value, str) and value.startswith(("$.", "$$.", "States.")):
                    yield Problem(name, f"Parameters{where} is the text {value!r}: its key lacks the .$")


def _literals(template: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(template, dict):
        for key, value in template.items():
            if not str(key).endswith(".$"):
                yield from _literals(value, f"{where}.{key}")
    elif isinstance(template, list):
        for index, value in enumerate(template):
            yield from _literals(value, f"{where}[{index}]")
    else:
        yield where, template


def _machines(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The machine and every branch in it."""
    if not isinstance(machine, dict) or not isinstance(machine.get("States"), dict):
        return
    yield machine
    for state in machine["States"].values():
        for branch in [*(state.get("Branches") or []), state.get("ItemProcessor"), state.get("Iterator")]:
            yield from _machines(branch)


def targets(state: dict[str, Any]) -> list[str]:
    """The names of the states that a state can lead to."""
    found = [state.get("Next"), state.get("Default")]
    found += [rule.get("Next") for rule in state.get("Choices") or []]
    found += [catcher.get("Next") for catcher in state.get("Catch") or []]
    return [target for target in found if target is not None]


def _reachable(machine: dict[str, Any]) -> set[Any]:
    states = machine["States"]
    seen: set[Any] = set()
    left = [machine.get("StartAt")]
    while left:
        name = left.pop()
        if name in states and name not in seen:
            seen.add(name)
            left += targets(states[name]) if isinstance(states[name], dict) else []
    return seen


def _leads_to_end(machine: dict[str, Any]) -> set[str]:
    states = machine["States"]
    ends = {name for name, state in states.items() if state.get("End") or state.get("Type") in ("Succeed", "Fail")}
    while True:
        more = {name for name, state in states.items() if name not in ends and ends.intersection(targets(state))}
        if not more:
            return ends
        ends |= more


def _is_substitution(value: Any) -> bool:
    """Whether the value is left to DefinitionSubstitutions."""
    return isinstance(value, str) and bool(_SUBSTITUTION.fullmatch(value))


def main(paths: list[str]) -> int:
    if not paths:
        print("usage: python -m local.asl FILE...", file=sys.stderr)
        return 2
    found = 0
    for path in paths:
        try:
            wrong = lint(load(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            wrong = [Problem("", str(error))]
        for problem in wrong:
            print(f"{path}:{problem}")
        found += len(wrong)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
