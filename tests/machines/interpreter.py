"""moto's Step Functions made to behave as AWS's where it does not, and not to wait in real time.

Every correction names what moto does instead; AWS's behaviour is in the API reference of the call and in
https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import moto.s3.urls as s3_urls
import pytest
from moto.core.base_backend import BaseBackend
from moto.core.exceptions import AWSError
from moto.core.responses import ActionResult, EmptyResult
from moto.s3.models import S3Backend
from moto.stepfunctions.exceptions import InvalidName, InvalidToken
from moto.stepfunctions.parser import models as parser_models
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.component.common.error_name.error_equals_decl import ErrorEqualsDecl
from moto.stepfunctions.parser.asl.component.common.error_name.error_name import ErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.choice.comparison.variable import NoSuchVariable, Variable
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_callback,
    state_task_service_sfn,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service import StateTaskService
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (
    StateTaskServiceCallback,
)
from moto.stepfunctions.parser.asl.component.state.fail import state_fail
from moto.stepfunctions.parser.asl.eval.callback.callback import (
    CallbackConsumerTimeout,
    CallbackEndpoint,
    HeartbeatEndpoint,
    HeartbeatTimeoutError,
)
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils.boto_client import boto_client_for
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication, Execution
from moto.stepfunctions.parser.models import StepFunctionsParserBackend
from moto.stepfunctions.responses import StepFunctionResponse

_moto_urls: Any = BaseBackend.urls  # type: ignore[misc]
_urls_of: dict[type[BaseBackend], dict[str, Any]] = {}
_parse = cache(AmazonStateLanguageParser.parse)
_FATAL = {"States.Runtime", "States.DataLimitExceeded"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")


class TaskTimedOut(AWSError):
    TYPE = "TaskTimedOut"
    STATUS = 400


class Interpreter:
    """Corrections for as long as the test runs.

    Attributes
    ----------
    waits
        Seconds that retries would have waited, in order.
    heartbeat_seconds
        Stands for every HeartbeatSeconds of the definitions.
    cut_short
        So many waits, those that begin next, miss their heartbeats.
    """

    def __init__(self, on_end: Callable[[Execution], None]) -> None:
        self.waits: list[float] = []
        self.heartbeat_seconds = 60.0
        self.cut_short = 0
        self._on_end = on_end

    def apply(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(retrier_decl, "time", SimpleNamespace(sleep=self.waits.append))
        # moto puts its URLs together for every request (those of S3 by a reload), and makes a client for every call.
        patch.setattr(S3Backend, "_url_module", s3_urls)
        patch.setattr(BaseBackend, "urls", property(_urls))
        for module in (lambda_eval_utils, state_task_service_sfn):
            patch.setattr(
                module, "boto_client_for", lambda region, service, state_credentials: _client(service, region)
            )
        # moto asks every half second whether a child execution ended.
        patch.setattr(state_task_service_callback, "_DELAY_SECONDS_SYNC_CONDITION_CHECK", 0.02)
        patch.setattr(AmazonStateLanguageParser, "parse", staticmethod(_parse))
        self._correct_tokens(patch)
        self._correct_ends(patch)
        _correct_child_executions(patch)
        _correct_calls(patch)
        _correct_errors(patch)
        # moto lets no Fail state pass on an error of Step Functions' own, such as States.Timeout.
        patch.setattr(state_fail, "CustomErrorName", ErrorName)

    def _correct_tokens(self, patch: pytest.MonkeyPatch) -> None:
        interrupt_all, notify = CallbackEndpoint.interrupt_all, CallbackEndpoint.notify
        evaluate, from_error = StateTaskServiceCallback._eval_execution, StateTaskService._from_error

        def with_own_token(task: StateTaskServiceCallback, env: Environment) -> None:
            """moto gives a retry the token of the try before."""
            context = env.states.context_object
            data: Any = context.context_object_data
            if "Task" in data and data["State"]["RetryCount"]:
                env.callback_pool_manager.add(context.update_task_token())
            evaluate(task, env)

        def setup_heartbeat_endpoint(endpoint: CallbackEndpoint, heartbeat_seconds: int) -> HeartbeatEndpoint:
            """moto loses an answer that comes before the function that got the token has returned."""
            seconds = 0.2 if self.cut_short else self.heartbeat_seconds
            self.cut_short = max(0, self.cut_short - 1)
            heartbeats = endpoint._heartbeat_endpoint = HeartbeatEndpoint(seconds)  # type: ignore[arg-type]
            if endpoint.get_outcome() is not None:
                heartbeats.notify()
            return heartbeats

        def answer_once(endpoint: CallbackEndpoint, outcome: Any) -> None:
            """moto takes any number of answers to one token."""
            if endpoint.get_outcome() is not None:
                raise TaskTimedOut("Provided task does not exist anymore")
            notify(endpoint, outcome)

        def end_wait(endpoint: CallbackEndpoint) -> None:
            """moto takes answers to a wait that is over."""
            endpoint.report(CallbackConsumerTimeout())
            interrupt_all(endpoint)

        def name_heartbeat_timeout(task: StateTaskService, env: Any, ex: Exception) -> Any:
            """moto says States.Timeout where a heartbeat was missed."""
            event: Any = from_error(task, env, ex)
            if isinstance(ex, HeartbeatTimeoutError):
                event.error_name = StatesErrorName(StatesErrorNameType.StatesHeartbeatTimeout)
            return event

        patch.setattr(StateTaskServiceCallback, "_eval_execution", with_own_token)
        patch.setattr(CallbackEndpoint, "setup_heartbeat_endpoint", setup_heartbeat_endpoint)
        patch.setattr(CallbackEndpoint, "notify", answer_once)
        patch.setattr(CallbackEndpoint, "interrupt_all", end_wait)
        patch.setattr(StateTaskService, "_from_error", name_heartbeat_timeout)
        # moto cannot raise these three.
        patch.setattr(parser_models, "InvalidToken", InvalidToken)
        for name in ("TaskDoesNotExist", "TaskTimedOut"):
            patch.setattr(parser_models, name, lambda: TaskTimedOut("Provided task does not exist anymore"))

    def _correct_ends(self, patch: pytest.MonkeyPatch) -> None:
        terminated = BaseExecutionWorkerCommunication.terminated

        def end(worker: BaseExecutionWorkerCommunication) -> None:
            if worker.execution.exec_status == ExecutionStatus.RUNNING:
                terminated(worker)
                self._on_end(worker.execution)

        def stop(
            execution: Execution, stop_date: datetime.datetime, error: str | None = None, cause: str | None = None
        ) -> None:
            """moto goes on waiting for callbacks and calls the execution RUNNING all the while."""
            if execution.exec_status != ExecutionStatus.RUNNING:
                return
            execution.exec_status = ExecutionStatus.ABORTED
            execution.stop_date = stop_date
            env = execution.exec_worker.env  # type: ignore[union-attr]
            if env is not None:
                env.set_stop(stop_date=stop_date, cause=cause, error=error)
                for endpoint in list(env.callback_pool_manager._pool.values()):
                    endpoint.interrupt_all()
            for child in _children(execution):
                child.stop(stop_date, None, None)
            self._on_end(execution)

        patch.setattr(BaseExecutionWorkerCommunication, "terminated", end)
        patch.setattr(Execution, "stop", stop)


def _urls(backend: BaseBackend) -> dict[str, Any]:
    kind = type(backend)
    if kind not in _urls_of:
        _urls_of[kind] = _moto_urls.__get__(backend)
    return _urls_of[kind]


@cache
def _client(service: str, region: str) -> Any:
    return boto_client_for(region, service)


def _children(execution: Execution) -> list[Execution]:
    """Executions that wait-for-me tasks (.sync) of this one started; AWS stops them with it."""
    machines = execution.state_machine.backend.state_machines  # type: ignore[attr-defined]
    started_by = f'"AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID":"{execution.exec_arn}"'
    return [child for machine in machines for child in machine.executions if started_by in child.execution_input]


def _correct_errors(patch: pytest.MonkeyPatch) -> None:
    matches, value_of = ErrorEqualsDecl._eval_body, Variable._eval_body

    def all_but_the_fatal(declared: ErrorEqualsDecl, env: Environment) -> None:
        """moto lets States.ALL catch what ends the execution on AWS."""
        name = env.stack[-1].error_name
        matches(declared, env)
        if name in _FATAL and name not in [error.error_name for error in declared.error_names]:
            env.stack[-1] = False

    def there_is_a_value(variable: Variable, env: Environment) -> None:
        """moto calls a comparison false where there is nothing to compare."""
        value_of(variable, env)
        if isinstance(env.stack[-1], NoSuchVariable):
            raise ValueError(f"Invalid path '{variable.string_sampler.literal_value}'")  # noqa: TRY004

    patch.setattr(ErrorEqualsDecl, "_eval_body", all_but_the_fatal)
    # None of our definitions asks by IsPresent.
    patch.setattr(Variable, "_eval_body", there_is_a_value)


def _correct_child_executions(patch: pytest.MonkeyPatch) -> None:
    """moto calls StartExecution with Step Functions' spelling of its arguments, and reads the API's of its answers."""
    service = state_task_service_sfn.StateTaskServiceSfn
    normalise_parameters = service._normalise_parameters

    def to_api(task: Any, parameters: dict[str, Any], *more: Any, **named: Any) -> None:
        normalise_parameters(task, parameters, *more, **named)
        for name in list(parameters):
            parameters[name[0].lower() + name[1:]] = parameters.pop(name)

    def from_api(task: Any, response: dict[str, Any], *_: Any, **named: Any) -> None:
        for name in list(response):
            response[name[0].upper() + name[1:]] = response.pop(name)

    patch.setattr(service, "_normalise_parameters", to_api)
    patch.setattr(service, "_normalise_response", from_api)


def _correct_calls(patch: pytest.MonkeyPatch) -> None:
    start_execution = StepFunctionsParserBackend.start_execution

    def start_named(
        backend: StepFunctionsParserBackend, state_machine_arn: str, name: str, *args: Any, **more: Any
    ) -> Any:
        """moto takes names of any length."""
        if not _NAME.fullmatch(name):
            raise InvalidName(f"Invalid Name: '{name}'")
        return start_execution(backend, state_machine_arn, name, *args, **more)

    def send_task_failure(response: StepFunctionResponse) -> EmptyResult:
        """moto drops the cause."""
        token, error, cause = (response._get_param(name) for name in ("taskToken", "error", "cause"))
        response.stepfunction_backend.send_task_failure(token, error=error, cause=cause)  # type: ignore[call-arg]
        return EmptyResult()

    def get_execution_history(response: StepFunctionResponse) -> ActionResult:
        """moto knows no reverseOrder."""
        history = response.stepfunction_backend.get_execution_history(response._get_param("executionArn"))
        events = list(history["events"])
        return ActionResult({"events": events[::-1] if response._get_param("reverseOrder") else events})

    patch.setattr(StepFunctionsParserBackend, "start_execution", start_named)
    patch.setattr(StepFunctionResponse, "send_task_failure", send_task_failure)
    patch.setattr(StepFunctionResponse, "get_execution_history", get_execution_history)


def definition_json(machine: dict[str, Any], substitutions: dict[str, str]) -> str:
    """A definition with its `${...}` filled in."""
    return re.sub(r"\$\{(\w+)}", lambda match: substitutions[match[1]], json.dumps(machine))
