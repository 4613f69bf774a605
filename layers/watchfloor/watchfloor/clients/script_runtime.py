"""What runs an ops script: input, plan, time limit, record, answer. The scripts themselves say only what they do."""

from __future__ import annotations

import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Generic, TypeVar

import boto3
from aws_lambda_powertools import Logger, Tracer, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError
from botocore.validate import ParamValidator

from watchfloor import iam_actions
from watchfloor.clients.approval_table import ApprovalTable
from watchfloor.clients.aws import error_code, table
from watchfloor.clients.script_audit import ScriptAudit
from watchfloor.errors import (
    AccessDeniedError,
    ConflictError,
    DeadlineError,
    InvalidInputError,
    NotFoundError,
    TransientError,
    WatchfloorError,
)
from watchfloor.scripts import (
    Answer,
    Call,
    Mask,
    P,
    Planned,
    Request,
    Risk,
    done,
    failed,
    parse_request,
    planned,
    same_plan,
)

T = TypeVar("T")

# Of Lambda's time this much is kept for the record and the answer.
RESERVE_SECONDS = 5.0
_CALL_SECONDS = 20
_WRITE_ATTEMPTS, _WRITE_WAIT_SECONDS = 4, 0.5

_DENIED = re.compile(r"AccessDenied|Unauthorized|NotAuthorized|AuthorizationError|^403$")
_NOT_FOUND = re.compile(r"NotFound|NoSuch|DoesNotExist|NonExistent|NotExist|^404$")
_CONFLICT = re.compile(
    r"Conflict|AlreadyExists|ResourceInUse|AlreadyRunning|Incorrect\w*State|Invalid\w*State|NotActive"
    r"|PreconditionFailed|ConditionalCheckFailed|OperationAborted|UpdateInProgress"
)
_INVALID = re.compile(r"Validation|InvalidParameter|InvalidRequest|InvalidArn|InvalidName|InvalidArgument|Malformed")
_THROTTLED = re.compile(r"Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|ProvisionedThroughputExceeded")

logger, tracer = Logger(), Tracer()


class UnplannedWriteError(WatchfloorError):
    """A script tried to change something in another way than by `run.write`."""


class AuditError(WatchfloorError):
    """A call could not be recorded."""


class _TimeUp(BaseException):
    """Raised in the middle of a script; no Exception, so that it does not take it for an error of its own."""


class ScriptRun:
    """One call of a script, as the script sees it.

    Attributes
    ----------
    dry_run
        Nothing is changed; only needed where a script would wait for its own effect.
    changed
        Whether something is other than before. Set by itself when a write was made; a script that undoes its own
        traces sets it to False.
    settings
        The function's environment.
    calls
        Write calls so far, planned or made.
    requested_by, request_id
        Who asked for it, and Lambda's id of this call.
    """

    def __init__(
        self,
        request: Request[Any],
        settings: Mapping[str, str],
        mask: Mask,
        deadline: float,
        *,
        request_id: str = "",
        reading: Collection[str] = (),
        approved: list[dict[str, Any]] | None = None,
    ) -> None:
        self.dry_run = request.dry_run
        self.requested_by = request.requested_by
        self.request_id = request_id
        self.settings = settings
        self.changed = False
        self.calls: list[Call] = []
        self._mask = mask
        self._deadline = deadline
        self._reading = frozenset(reading)
        self._approved = approved
        self._writing = threading.local()
        self.services: dict[str, str] = {}

    @property
    def remaining_seconds(self) -> float:
        """Time until the script is stopped."""
        return self._deadline - time.monotonic()

    def read(self, service: str, *, timeout_seconds: float = _CALL_SECONDS) -> Any:
        """A boto3 client that can only read, paginators included; a writing call is refused."""
        self._check_time()
        return _client(service, timeout_seconds, 3)

    def write(
        self, service: str, *, planned: Mapping[str, Any] | None = None, timeout_seconds: float = _CALL_SECONDS
    ) -> Any:
        """Something like a boto3 client whose calls change things: made and noted, in a dry run only noted.

        Parameters
        ----------
        service
            As boto3 names it.
        planned
            What a dry run takes for the answer; without it the answer is a `Planned`.
        timeout_seconds
            For one call. A call is tried again only where AWS refused it for being too busy.
        """
        return _Writer(self, service, planned, timeout_seconds)

    def step(
        self,
        service: str,
        operation: str,
        parameters: Mapping[str, Any],
        action: Callable[[], T],
        *,
        planned: Any = None,
    ) -> T | Any:
        """A change that is no AWS call, such as a POST: `action` makes it, in a dry run it is only noted."""
        call = self._noted(service, operation, parameters)
        if self.dry_run:
            return Planned(f"{service}:{operation}") if planned is None else planned
        return self._made(call, action)

    def wait_until(self, check: Callable[[], T | None], seconds: float, *, every_seconds: float = 5) -> T | None:
        """What `check` answers as soon as it is neither None nor False; None when that takes too long.

        A dry run waits for nothing, because nothing will happen: it answers None at once.
        """
        waits = 0 if self.dry_run else 1 + int(seconds / every_seconds)
        for number in range(waits):
            if number:
                time.sleep(every_seconds)
            self._check_time()
            answer = check()
            if answer is not None and answer is not False:
                return answer
        return None

    def follow(
        self, look: Callable[[], T], is_over: Callable[[T], bool], seconds: float, *, every_seconds: float = 2
    ) -> T:
        """What `look` saw last: the end, or how it stood when the time was up. A dry run looks once."""
        seen: list[T] = []

        def is_seen() -> bool:
            seen.append(look())
            return is_over(seen[-1])

        self.wait_until(is_seen, seconds, every_seconds=every_seconds)
        return seen[-1] if seen else look()

    # --- what the writer and the guard need

    def _call_aws(self, client: Any, service: str, method: str, answer: Any, parameters: dict[str, Any]) -> Any:
        operation = client.meta.method_to_api_mapping[method]
        shape = client.meta.service_model.operation_model(operation).input_shape
        if not _has_planned(parameters):
            report = ParamValidator().validate(parameters, shape) if shape else None
            if report is not None and report.has_errors():
                raise TypeError(f"{service}:{operation}: {report.generate_report()}")
        call = self._noted(service, operation, parameters)
        if self.dry_run:
            return Planned(f"{service}:{operation}") if answer is None else answer
        self.services[operation] = service
        return self._made(call, lambda: _unless_busy(lambda: getattr(client, method)(**parameters)))

    def _noted(self, service: str, operation: str, parameters: Mapping[str, Any]) -> Call:
        self._check_time()
        call = Call(service, operation, self._mask.value(parameters))
        if self._approved is not None:
            number = len(self.calls)
            if number >= len(self._approved) or not same_plan(self._approved[number], call.plan()):
                raise ConflictError(
                    f"{service}:{operation} with these parameters is not what was approved as step {number + 1};"
                    " things have changed since, so ask for approval again"
                )
        self.calls.append(call)
        return call

    def _made(self, call: Call, action: Callable[[], T]) -> T:
        self._writing.on = True
        call.outcome = "unknown"
        before, self.changed = self.changed, True
        try:
            answer = action()
        except ClientError as error:
            # AWS answered that it did not do it; a server's error leaves it open.
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) < 500:
                call.outcome, self.changed = "failed", before
            raise
        finally:
            self._writing.on = False
        call.outcome = "made"
        return answer

    def _check_time(self) -> None:
        if self.remaining_seconds <= 0:
            raise _TimeUp

    def allows(self, service: str, operation: str) -> bool:
        """Whether an AWS call may go out now."""
        self.services[operation] = service
        if iam_actions.is_reading(service, operation) or f"{service}:{operation}" in self._reading:
            return True
        return not self.dry_run and getattr(self._writing, "on", False)


class _Writer:
    """`run.write("ecs").update_service(...)`."""

    def __init__(self, run: ScriptRun, service: str, planned: Mapping[str, Any] | None, timeout_seconds: float) -> None:
        self._run, self._service, self._planned = run, service, planned
        self._client = _client(service, timeout_seconds, 1)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method not in self._client.meta.method_to_api_mapping:
            raise AttributeError(f"{self._service} has no operation {method}")

        def call(**parameters: Any) -> Any:
            return self._run._call_aws(self._client, self._service, method, self._planned, parameters)

        return call


class Script(Generic[P]):
    """An ops script: its parameters, its work, and how dangerous it is.

    Parameters
    ----------
    name
        Of the script, and of its function.
    parameters
        The model that its parameters must fit.
    work
        `(parameters, run) -> result`, a dict.
    risk
        low: reads only, or changes what nobody notices. medium: changes something on purpose. high: can do harm;
        runs only with an approval.
    environment
        The function's: AUDIT_TABLE, AUDIT_RETENTION_DAYS, APPROVAL_TABLE, and what the script itself is set with.
    reading
        Calls such as `sqs:ReceiveMessage` that this script makes so that they change nothing; each with its reason
        beside it.
    """

    def __init__(
        self,
        name: str,
        parameters: type[P],
        work: Callable[[P, ScriptRun], Any],
        *,
        risk: Risk,
        environment: Mapping[str, str],
        reading: Collection[str] = (),
    ) -> None:
        self.name, self.parameters, self.work = name, parameters, work
        self.risk: Risk = risk
        self.reading = tuple(reading)
        self._environment = environment
        handler = tracer.capture_lambda_handler(self._handle, capture_response=False, capture_error=False)
        self._handler = logger.inject_lambda_context(handler, clear_state=True)

    @property
    def is_dangerous(self) -> bool:
        return self.risk == "high"

    def answer(self, event: Any, context: LambdaContext) -> dict[str, Any]:
        """The event's answer, `{statusCode, body}`; whatever happens."""
        return self._handler(event, context)

    def _handle(self, event: Any, context: LambdaContext) -> dict[str, Any]:
        began = time.monotonic()
        answer = self._answered(event, context, began)
        answer.duration_ms = round((time.monotonic() - began) * 1000)
        self._told(answer, context)
        return answer.to_lambda()

    def _answered(self, event: Any, context: LambdaContext, began: float) -> Answer:
        logger.append_keys(script=self.name)
        request, mask = None, Mask()
        problem: BaseException | None = None
        try:
            request = parse_request(event, self.parameters)
            mask = Mask(request.parameters)
        except InvalidInputError as error:
            problem = error
        try:
            audit, key = self._record(event, request, mask, context)
        except Exception as error:
            logger.exception("the call could not be recorded, so nothing was done")
            broken = AuditError(f"the call could not be recorded, so nothing was done: {error}")
            return failed(self.name, broken, [], mask, changed=False)
        calls: list[Call] = []
        if request is None:
            answer = failed(self.name, problem or InvalidInputError(), calls, mask, changed=False)
        else:
            deadline = began + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
            answer, calls = self._run(request, mask, deadline, context)
        answer.duration_ms = round((time.monotonic() - began) * 1000)
        try:
            audit.end(key, answer, calls)
        except Exception as error:
            logger.exception("what came of the call could not be recorded", extra={"answer": answer.body()})
            broken = AuditError(f"the script ended ({answer.status}), but its record could not be closed: {error}")
            return failed(self.name, broken, calls, mask, changed=answer.changed)
        return answer

    def _record(
        self, event: Any, request: Request[P] | None, mask: Mask, context: LambdaContext
    ) -> tuple[ScriptAudit, dict[str, str]]:
        audit = ScriptAudit(
            _table(self._environment["AUDIT_TABLE"]), int(self._environment.get("AUDIT_RETENTION_DAYS", "365"))
        )
        said = event if isinstance(event, dict) else {}
        key = audit.start(
            self.name,
            context.aws_request_id,
            requested_by=str(said.get("requested_by") or "unknown")[:200],
            # What is not valid is not known to hold no secret.
            parameters=mask.value(request.given) if request else {"refused": sorted(map(str, said))[:100]},
            dry_run=said.get("dry_run") is True,
            approval_id=str(said.get("approval_id") or "")[:100],
            function=context.invoked_function_arn,
        )
        return audit, key

    def _run(
        self, request: Request[P], mask: Mask, deadline: float, context: LambdaContext
    ) -> tuple[Answer, list[Call]]:
        run: ScriptRun | None = None
        try:
            approved = self._approval(request)
            run = ScriptRun(
                request,
                self._environment,
                mask,
                deadline,
                request_id=context.aws_request_id,
                reading=self.reading,
                approved=approved,
            )
            with _guarded(run), _stopped_at(deadline):
                result = self.work(request.parameters, run)
        except _TimeUp:
            calls = run.calls if run else []
            late = DeadlineError(f"stopped for want of time after {len(calls)} write calls; error.calls names them")
            return failed(self.name, late, calls, mask, changed=bool(run and run.changed)), calls
        except Exception as error:  # noqa: BLE001 - the answer is its report
            calls = run.calls if run else []
            told = _told_error(error, run.services if run else {})
            extra = {"error_type": type(told).__name__, "reason": mask.text(str(told))}
            if isinstance(told, _EXPECTED):
                logger.warning("the script failed", extra=extra)
            else:
                trace = mask.text("".join(traceback.format_exception(error)))
                logger.error("the script failed", extra={**extra, "exception": trace})
            return failed(self.name, told, calls, mask, changed=bool(run and run.changed)), calls
        if request.dry_run:
            answer = planned(self.name, result, run.calls)
        else:
            answer = done(self.name, result, changed=run.changed)
        answer.content = mask.content(answer.content)
        return answer, run.calls

    def _approval(self, request: Request[P]) -> list[dict[str, Any]] | None:
        """The write calls that were approved; None where the script needs no approval."""
        if not self.is_dangerous or request.dry_run:
            return None
        if not request.approval_id:
            raise AccessDeniedError(
                f"{self.name} can do harm and runs only with an approval: `watchfloor script run {self.name}` asks for"
                ' one, as does an execution of the state machine script-approval; {"dry_run": true} shows the plan'
            )
        approvals = ApprovalTable(_table(self._environment["APPROVAL_TABLE"]))
        return approvals.use(request.approval_id, self.name, request.digest)

    def _told(self, answer: Answer, context: LambdaContext) -> None:
        extra = {"status": answer.status, "status_code": answer.status_code, "changed": answer.changed}
        logger.info("answered", extra={**extra, "duration_ms": answer.duration_ms})
        if answer.is_fault:
            with single_metric(name="ScriptFault", unit=MetricUnit.Count, value=1, namespace="Watchfloor") as metric:
                metric.add_dimension(name="function_name", value=context.function_name)


_EXPECTED = (InvalidInputError, AccessDeniedError, NotFoundError, ConflictError)


def _told_error(error: BaseException, services: Mapping[str, str]) -> BaseException:
    """An AWS error by our names."""
    if isinstance(error, ConnectionError | HTTPClientError):
        return TransientError(str(error))
    if not isinstance(error, ClientError):
        return error
    code, operation = error_code(error), error.operation_name
    service = services.get(operation, "")
    call = f"{service}:{operation}" if service else operation
    message = f"{call}: {error.response.get('Error', {}).get('Message') or code}"
    if _DENIED.search(code):
        needed = " and ".join(iam_actions.actions(service, operation)) if service else operation
        return AccessDeniedError(f"the script's role may not do {needed} on this target ({message})")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if _THROTTLED.search(code) or status >= 500:
        return TransientError(message)
    for pattern, kind in ((_NOT_FOUND, NotFoundError), (_CONFLICT, ConflictError), (_INVALID, InvalidInputError)):
        if pattern.search(code):
            return kind(message)
    return error


# --- AWS ------------------------------------------------------------------------------------------------------------

_current: ScriptRun | None = None
_table = cache(table)


@contextmanager
def _guarded(run: ScriptRun) -> Iterator[None]:
    """While a script runs, no call that could change something leaves, unless it comes from `run.write`."""
    global _current
    _session()
    _current = run
    try:
        yield
    finally:
        _current = None


def _refuse_unplanned(model: Any, **_: Any) -> None:
    service, operation = model.service_model.service_name, model.name
    if _current is not None and not _current.allows(service, operation):
        raise UnplannedWriteError(f"{service}:{operation} may change something; scripts do that by run.write only")


def _session() -> Any:
    """boto3's default session, so that a script's own `boto3.client` is watched as well."""
    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    session: Any = boto3.DEFAULT_SESSION
    session.events.register("before-call", _refuse_unplanned, unique_id="watchfloor-scripts")
    return session


@cache
def _client(service: str, timeout_seconds: float, attempts: int) -> Any:
    config = Config(
        connect_timeout=5,
        read_timeout=timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    return _session().client(service, config=config)


def _unless_busy(call: Callable[[], T]) -> T:
    """Tried again only where AWS said that it did nothing for being too busy."""
    for attempt in range(_WRITE_ATTEMPTS):
        try:
            return call()
        except ClientError as error:
            if attempt == _WRITE_ATTEMPTS - 1 or not _THROTTLED.search(error_code(error)):
                raise
            time.sleep(_WRITE_WAIT_SECONDS * 2**attempt)
    raise AssertionError


def _has_planned(value: Any) -> bool:
    if isinstance(value, Planned):
        return True
    if isinstance(value, Mapping):
        return any(map(_has_planned, value.values()))
    return isinstance(value, list | tuple) and any(map(_has_planned, value))


@contextmanager
def _stopped_at(deadline: float) -> Iterator[None]:
    """Raise `_TimeUp` in the script at the deadline; outside the main thread only its calls look at the clock."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise _TimeUp
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, _time_is_up)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            # Somebody else's alarm goes on.
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - began)), interval)


def _time_is_up(*_: object) -> None:
    raise _TimeUp
