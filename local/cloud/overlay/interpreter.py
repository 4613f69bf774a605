"""The run of an execution: states, retries, callbacks, branches, history and limits, as on Step Functions.

MiniStack's own interpreter swallows errors of callbacks, reuses task tokens, lets branches share their context and
knows neither heartbeats, time limits of executions nor the limits on data and history. This one takes its place;
MiniStack keeps the executions, the intrinsic functions and the calls of other services.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any

from ministack.core.responses import get_region, now_iso
from ministack.services import stepfunctions

from local.cloud import anchors
from local.cloud.overlay import data_flow, integrations, task_tokens

# The last event of a history is the one that says it is full.
MAX_EVENTS = 25_000
# Errors that end an execution whatever its machine says.
_TERMINAL = ("States.Runtime",)
_NOT_IN_ALL = ("States.DataLimitExceeded", *_TERMINAL)
_MAX_CAUSE = 32_768
_RESULT_FIELDS = ("ResultSelector", "ResultPath", "OutputPath")

_ExecutionError = stepfunctions._ExecutionError
_current: contextvars.ContextVar[_Frame] = contextvars.ContextVar("frame")


class _Cancelled(BaseException):
    """The execution, or the Parallel or Map around a branch, has ended."""


class _HistoryFull(BaseException):
    """The execution has as many events as a history can hold."""


def install() -> None:
    anchors.replace("services.stepfunctions:_run_execution", run)
    anchors.replace("services.stepfunctions:_run_sub_machine", _run_sub_machine)
    anchors.replace("services.stepfunctions:_fail_execution", fail)
    stop = anchors.replace("services.stepfunctions:_stop_execution", lambda request: _stop(stop, request))


class Scope:
    """What is cancelled together: an execution, or a branch with all that it started."""

    def __init__(self, parent: Scope | None = None) -> None:
        self._event = threading.Event()
        self._reactions: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._leave = parent._react(self.cancel) if parent else None

    def cancel(self) -> None:
        with self._lock:
            self._event.set()
            reactions, self._reactions = self._reactions, []
        for reaction in reactions:
            reaction()

    def close(self) -> None:
        if self._leave:
            self._leave()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        if self._event.is_set():
            raise _Cancelled

    def sleep(self, seconds: float) -> None:
        if self._event.wait(max(0.0, seconds)):
            raise _Cancelled

    @contextlib.contextmanager
    def on_cancel(self, reaction: Callable[[], None]) -> Iterator[None]:
        leave = self._react(reaction)
        try:
            yield
        finally:
            leave()

    def _react(self, reaction: Callable[[], None]) -> Callable[[], None]:
        with self._lock:
            if not self._event.is_set():
                self._reactions.append(reaction)
                return lambda: self._forget(reaction)
        reaction()
        return lambda: None

    def _forget(self, reaction: Callable[[], None]) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._reactions.remove(reaction)


_scopes: dict[str, Scope] = {}
_history_lock = threading.Lock()
_end_lock = threading.Lock()


class _Frame:
    """One line of states: the machine, or a branch or an item in it."""

    def __init__(self, execution: dict[str, Any], scope: Scope, context: dict[str, Any]) -> None:
        self.execution = execution
        self.scope = scope
        self.context = context
        self.last_event = 0
        # What a redriven execution did before, as far as it is not done again.
        self.earlier: list[dict[str, Any]] = []

    def branch(self, scope: Scope, **context: Any) -> _Frame:
        inner = _Frame(self.execution, scope, {**self.context, **context})
        inner.last_event = self.last_event
        return inner

    def record(self, event_type: str, details_name: str = "", **details: Any) -> None:
        """Add an event to the history."""
        events = self.execution["events"]
        with _history_lock:
            if len(events) >= MAX_EVENTS - 1:
                raise _HistoryFull
            event = {
                "id": len(events) + 1,
                "previousEventId": self.last_event,
                "type": event_type,
                "timestamp": now_iso(),
            }
            if details_name:
                event[details_name] = details
            events.append(event)
        self.last_event = event["id"]

    def walk(self, machine: dict[str, Any], data: Any) -> Any:
        """Run the states of a machine and return the output of the last."""
        name, data, self.earlier = _left_off(machine, data, self.earlier)
        while name:
            self.scope.check()
            data, name = self._state(name, machine["States"][name], data)
            self.earlier = []
        return data

    def _state(self, name: str, state: dict[str, Any], data: Any) -> tuple[Any, str | None]:
        kind = state["Type"]
        self.context["State"] = {"Name": name, "EnteredTime": now_iso(), "RetryCount": 0}
        text = data_flow.check_size(name, data)
        self.record(f"{kind}StateEntered", "stateEnteredEventDetails", name=name, input=text)
        if kind == "Fail":
            raise _ExecutionError(*(self._fail_text(state, field, data) for field in ("Error", "Cause")))
        following = None if state.get("End") else state.get("Next")
        if kind in ("Task", "Parallel", "Map"):
            output, following = self._attempts(state, data, following)
        else:
            chosen = data_flow.select(state.get("InputPath", "$"), data, self.context)
            if kind == "Pass":
                output = self._result(state, data, state.get("Result", self._fill(state, "Parameters", chosen)))
            else:
                if kind == "Choice":
                    following = data_flow.choose(state, chosen, self.context)
                elif kind == "Wait":
                    self._wait(state, chosen)
                output = data_flow.select(state.get("OutputPath", "$"), chosen, self.context)
        text = data_flow.check_size(name, output)
        self.record(f"{kind}StateExited", "stateExitedEventDetails", name=name, output=text)
        return output, following

    def _attempts(self, state: dict[str, Any], data: Any, following: str | None) -> tuple[Any, str | None]:
        """A state under its Retry and Catch."""
        attempt = {"Task": self._task, "Parallel": self._parallel, "Map": self._map}[state["Type"]]
        counts: dict[int, int] = {}
        entered = self.context["State"]
        while True:
            self.context["State"] = entered | {"RetryCount": sum(counts.values())}
            try:
                chosen = data_flow.select(state.get("InputPath", "$"), data, self.context)
                result = attempt(state, chosen)
                return self._result(state, data, self._fill(state, "ResultSelector", result)), following
            except _ExecutionError as error:
                delay = _next_delay(state.get("Retry", []), error.error, counts)
                if delay is not None:
                    self.scope.sleep(delay * stepfunctions._SFN_WAIT_SCALE)
                    continue
                for catcher in state.get("Catch", []):
                    if matches(catcher["ErrorEquals"], error.error):
                        caught = {"Error": error.error, "Cause": error.cause}
                        return data_flow.put(catcher.get("ResultPath", "$"), data, caught), catcher["Next"]
                raise

    def _task(self, state: dict[str, Any], chosen: Any) -> Any:
        timeout = self._seconds(state, "TimeoutSeconds", chosen)
        if not state["Resource"].endswith(".waitForTaskToken"):
            return self._call(state, chosen, timeout, None)
        # A token of its own for every attempt: an answer to an earlier one must not end this one.
        token = task_tokens.issue(self.execution, self._seconds(state, "HeartbeatSeconds", chosen))
        self.context["Task"] = {"Token": token.text}
        try:
            return self._call(state, chosen, timeout, token)
        finally:
            task_tokens.close(token)

    def _call(self, state: dict[str, Any], chosen: Any, timeout: float | None, token: task_tokens.Token | None) -> Any:
        """One call of a service, with its events, up to the end of what it waits for."""
        parameters = self._fill(state, "Parameters", chosen)
        call = integrations.call_for(state["Resource"], parameters, self.execution)
        text = data_flow.check_size(call.resource, parameters)
        self.record(call.event("Scheduled"), call.details("Scheduled"), **call.scheduled(text, get_region(), timeout))
        self.record(call.event("Started"), *([call.details("Started")] if call.integration else []), **call.named())
        deadline = time.monotonic() + timeout if timeout else None
        try:
            result = self._within(deadline, call.run, call.follow.stop if call.follow else None)
            if call.submits:
                self.record(
                    "TaskSubmitted", "taskSubmittedEventDetails", **call.named(), output=data_flow.dumps(result)
                )
            if token is not None:
                result = self._answer(token, deadline)
            elif call.follow is not None:
                result = self._follow(call.follow, result, deadline)
            output = data_flow.check_size(call.resource, result)
        except _ExecutionError as error:
            error.cause = (error.cause or "")[:_MAX_CAUSE]
            end = "TimedOut" if error.error in ("States.Timeout", "States.HeartbeatTimeout") else "Failed"
            self.record(call.event(end), call.details(end), **call.named(), error=error.error, cause=error.cause)
            raise
        self.record(call.event("Succeeded"), call.details("Succeeded"), **call.named(), output=output)
        return result

    def _within(
        self, deadline: float | None, call: Callable[[], Any], undo: Callable[[Any], None] | None = None
    ) -> Any:
        """Run a call, and leave it behind when the time is up or the execution ends; then undo what it started."""
        outcome: dict[str, Any] = {}
        finished = threading.Event()

        def work() -> None:
            try:
                outcome["result"] = call()
            except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
                outcome["error"] = error
            finally:
                finished.set()
            if undo and "result" in outcome and self.scope.cancelled:
                undo(outcome["result"])

        threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True).start()
        with self.scope.on_cancel(finished.set):
            in_time = finished.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        if undo and "result" in outcome and self.scope.cancelled:
            undo(outcome["result"])
        self.scope.check()
        if not in_time:
            raise _ExecutionError("States.Timeout", "")
        if "error" in outcome:
            raise outcome["error"]
        return outcome["result"]

    def _answer(self, token: task_tokens.Token, deadline: float | None) -> Any:
        """Wait for SendTaskSuccess or SendTaskFailure, or for a heartbeat that does not come."""
        with self.scope.on_cancel(token.wake):
            error = token.wait(deadline)
        self.scope.check()
        if error is not None:
            raise _ExecutionError(*error)
        return token.output

    def _follow(self, follow: integrations.Follow, result: Any, deadline: float | None) -> Any:
        """Wait for what a .sync task started, and stop it when nobody waits any more."""
        with self.scope.on_cancel(lambda: follow.stop(result)):
            while True:
                self.scope.check()
                done, output = follow.look(result)
                if done:
                    return output
                if deadline is not None and time.monotonic() >= deadline:
                    follow.stop(result)
                    raise _ExecutionError("States.Timeout", "")
                self.scope.sleep(0.02)

    def _parallel(self, state: dict[str, Any], chosen: Any) -> Any:
        data = self._fill(state, "Parameters", chosen)
        branches = state["Branches"]
        # A retry runs all of them again, a redrive those that did not succeed.
        earlier, self.earlier = self.earlier, []
        self.record("ParallelStateStarted")

        def walk(index: int, scope: Scope) -> Any:
            frame = self.branch(scope)
            frame.earlier = earlier
            return frame.walk(branches[index], data)

        results = self._side_by_side(len(branches), 0, walk, "Parallel")
        self.record("ParallelStateSucceeded")
        return results

    def _map(self, state: dict[str, Any], chosen: Any) -> Any:
        processor = state.get("ItemProcessor") or state["Iterator"]
        if (processor.get("ProcessorConfig") or {}).get("Mode") == "DISTRIBUTED":
            _current.set(self)
            # MiniStack would apply these itself, to the input as it stands here.
            plain = {field: value for field, value in state.items() if field not in _RESULT_FIELDS}
            return stepfunctions._run_distributed_map(plain, chosen, chosen, processor, self.execution, self.context)[0]
        items = data_flow.select(state.get("ItemsPath", "$"), chosen, self.context)
        if not isinstance(items, list):
            raise _ExecutionError("States.Runtime", f"The items of a Map must be a list, not {data_flow.dumps(items)}")
        template = state.get("ItemSelector", state.get("Parameters"))
        name = self.context["State"]["Name"]
        self.record("MapStateStarted", "mapStateStartedEventDetails", length=len(items))

        def iterate(index: int, scope: Scope) -> Any:
            frame = self.branch(scope, Map={"Item": {"Index": index, "Value": items[index]}})
            details = {"name": name, "index": index}
            frame.record("MapIterationStarted", "mapIterationStartedEventDetails", **details)
            data = items[index] if template is None else data_flow.fill(template, chosen, frame.context)
            try:
                output = frame.walk(processor, data)
            except _ExecutionError:
                frame.record("MapIterationFailed", "mapIterationFailedEventDetails", **details)
                raise
            frame.record("MapIterationSucceeded", "mapIterationSucceededEventDetails", **details)
            return output

        results = self._side_by_side(len(items), state.get("MaxConcurrency", 0), iterate, "Map")
        self.record("MapStateSucceeded")
        return results

    def _side_by_side(self, count: int, concurrency: int, work: Callable[[int, Scope], Any], kind: str) -> list[Any]:
        """Run branches or items at once; the first that fails ends the others."""
        scope = Scope(self.scope)
        try:
            with ThreadPoolExecutor(concurrency or min(max(count, 1), 40)) as pool:
                futures = [pool.submit(contextvars.copy_context().run, work, index, scope) for index in range(count)]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                failed = next((future for future in futures if future in done and future.exception()), None)
                if failed is not None:
                    scope.cancel()
                    for future in futures:
                        future.cancel()
                else:
                    return [future.result() for future in futures]
            self.scope.check()
            error = failed.exception()
            assert error is not None
            if isinstance(error, _ExecutionError):
                self.record(f"{kind}StateFailed", f"{kind.lower()}StateFailedEventDetails", error=error.error)
            raise error
        finally:
            scope.close()

    def _result(self, state: dict[str, Any], data: Any, result: Any) -> Any:
        return data_flow.select(
            state.get("OutputPath", "$"), data_flow.put(state.get("ResultPath", "$"), data, result), self.context
        )

    def _fill(self, state: dict[str, Any], field: str, data: Any) -> Any:
        return data_flow.fill(state[field], data, self.context) if field in state else data

    def _fail_text(self, state: dict[str, Any], field: str, data: Any) -> str:
        if f"{field}Path" not in state:
            return state.get(field, "")
        value = data_flow.evaluate(state[f"{field}Path"], data, self.context, field=f"{field}Path")
        if not isinstance(value, str):
            raise _ExecutionError("States.Runtime", f"The value of {field}Path is no string: {data_flow.dumps(value)}")
        return value

    def _seconds(self, state: dict[str, Any], field: str, data: Any) -> float | None:
        if f"{field}Path" in state:
            return data_flow.select(state[f"{field}Path"], data, self.context)
        return state.get(field)

    def _wait(self, state: dict[str, Any], data: Any) -> None:
        until = state.get("Timestamp")
        if "TimestampPath" in state:
            until = data_flow.select(state["TimestampPath"], data, self.context)
        if until is None:
            seconds = self._seconds(state, "Seconds", data)
        else:
            moment = data_flow._timestamp(str(until))
            if moment is None:
                raise _ExecutionError("States.Runtime", f"The Timestamp {until!r} is no ISO 8601 time")
            seconds = moment.timestamp() - time.time()
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):
            raise _ExecutionError("States.Runtime", f"The Seconds of a Wait must be a number, not {seconds!r}")
        self.scope.sleep(seconds * stepfunctions._SFN_WAIT_SCALE)


def run(execution_arn: str, earlier: list[dict[str, Any]] | None = None) -> None:
    """Run an execution to its end, in the calling thread; one that is redriven goes on where `earlier` ends."""
    execution = stepfunctions._executions[execution_arn]
    scope = _scopes[execution_arn] = Scope()
    # Whoever stops the execution from now on finds its scope.
    if execution["status"] != "RUNNING":
        del _scopes[execution_arn]
        return
    machine = stepfunctions._state_machines[execution["stateMachineArn"]]
    definition = json.loads(machine["definition"])
    data = json.loads(execution["input"])
    context = {
        "Execution": {
            "Id": execution_arn,
            "Input": data,
            "Name": execution["name"],
            "RoleArn": machine["roleArn"],
            "StartTime": execution["startDate"],
            "RedriveCount": execution.get("redriveCount", 0),
        },
        "StateMachine": {"Id": execution["stateMachineArn"], "Name": machine["name"]},
    }
    execution["events"][0]["previousEventId"] = 0
    timer = None
    if "TimeoutSeconds" in definition:
        timer = threading.Timer(
            definition["TimeoutSeconds"], contextvars.copy_context().run, args=(_time_out, execution, scope)
        )
        timer.daemon = True
        timer.start()
    try:
        frame = _Frame(execution, scope, context)
        frame.earlier, frame.last_event = earlier or [], len(earlier or [])
        text = data_flow.dumps(frame.walk(definition, data))
        _end(execution, "SUCCEEDED", "ExecutionSucceeded", "executionSucceededEventDetails", {"output": text}, text)
    except _ExecutionError as error:
        fail(execution, error.error, error.cause)
    except _HistoryFull:
        fail(
            execution,
            "States.Runtime",
            f"The execution reached the maximum number of history events ({MAX_EVENTS}).",
        )
    except _Cancelled:
        pass
    except Exception as error:  # noqa: BLE001 - a mistake here must end the execution too
        stepfunctions.logger.exception("execution %s", execution_arn)
        fail(execution, "States.Runtime", f"{type(error).__name__}: {error}")
    finally:
        if timer is not None:
            timer.cancel()
        scope.cancel()
        _scopes.pop(execution_arn, None)


def _left_off(
    machine: dict[str, Any], data: Any, earlier: list[dict[str, Any]]
) -> tuple[str | None, Any, list[dict[str, Any]]]:
    """Where a machine or branch is to start: the state with its input and what was done in it; no state where all is
    done, with the output."""
    name, since = machine["StartAt"], 0
    for index, event in enumerate(earlier):
        entered, left = event.get("stateEnteredEventDetails", {}), event.get("stateExitedEventDetails", {})
        if entered.get("name") in machine["States"]:
            name, data, since = entered["name"], json.loads(entered["input"]), index + 1
        elif left.get("name") in machine["States"]:
            state = machine["States"][left["name"]]
            if state.get("End") or state["Type"] == "Succeed":
                return None, json.loads(left["output"]), []
    return name, data, earlier[since:]


def fail(execution: dict[str, Any], error: str, cause: str) -> None:
    """End an execution as FAILED."""
    details = {"error": error, "cause": cause}
    _end(execution, "FAILED", "ExecutionFailed", "executionFailedEventDetails", details)


def _time_out(execution: dict[str, Any], scope: Scope) -> None:
    _end(execution, "TIMED_OUT", "ExecutionTimedOut", "executionTimedOutEventDetails", {"error": "States.Timeout"})
    scope.cancel()


def _stop(original: Callable[..., Any], request: dict[str, Any]) -> Any:
    with _end_lock:
        response = original(request)
    scope = _scopes.get(request.get("executionArn", ""))
    if scope is not None:
        scope.cancel()
    return response


def _end(
    execution: dict[str, Any],
    status: str,
    event_type: str,
    details_name: str,
    details: dict[str, Any],
    output: str | None = None,
) -> None:
    with _end_lock:
        if execution["status"] != "RUNNING":
            return
        events = execution["events"]
        with _history_lock:
            events.append(
                {
                    "id": len(events) + 1,
                    "previousEventId": len(events),
                    "type": event_type,
                    "timestamp": now_iso(),
                    details_name: details,
                }
            )
        execution.update(stopDate=now_iso(), output=output, error=details.get("error"), cause=details.get("cause"))
        execution["status"] = status
        stepfunctions._emit_execution_status_event(execution)


def _run_sub_machine(
    states: dict[str, Any], start_at: str, data: Any, execution: dict[str, Any], context: dict[str, Any]
) -> Any:
    """One child of a distributed map, which MiniStack starts; its history is its own."""
    outer = _current.get()
    scope = Scope(outer.scope)
    try:
        return _Frame(execution, scope, dict(context)).walk({"StartAt": start_at, "States": states}, data)
    except (_HistoryFull, _Cancelled) as error:
        raise _ExecutionError("States.Runtime", type(error).__name__.strip("_")) from error
    finally:
        scope.close()


def matches(names: list[str], error: str) -> bool:
    """Whether an ErrorEquals list speaks of this error."""
    if error in _TERMINAL:
        return False
    if error in names:
        return True
    if "States.Timeout" in names and error == "States.HeartbeatTimeout":
        return True
    if error in _NOT_IN_ALL:
        return False
    return "States.ALL" in names or ("States.TaskFailed" in names and error != "States.Timeout")


def _next_delay(retriers: list[dict[str, Any]], error: str, counts: dict[int, int]) -> float | None:
    """How long to wait before the next attempt; ``None`` when there is none."""
    for index, retrier in enumerate(retriers):
        if not matches(retrier["ErrorEquals"], error):
            continue
        count = counts.get(index, 0)
        if count >= retrier.get("MaxAttempts", 3):
            return None
        counts[index] = count + 1
        delay = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** count
        delay = min(delay, retrier.get("MaxDelaySeconds", delay))
        return random.uniform(0, delay) if retrier.get("JitterStrategy") == "FULL" else delay
    return None
