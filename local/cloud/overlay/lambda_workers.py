"""Lambda: functions in processes of their own, with AWS's errors, limits, logs and metrics.

A worker sees the standard library, the function's code, its layers and the boto3 that AWS's runtime brings, not the
environment that the local cloud runs in: a requirement that is missing from a layer is missing here too.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import importlib.util
import json
import logging
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

from ministack.core import lambda_runtime
from ministack.core.responses import get_account_id, get_region, new_uuid
from ministack.services import cloudwatch_logs, lambda_svc

from local.cloud import anchors
from local.cloud.lambda_bootstrap import END_MARK, NEWLINE_MARK
from local.cloud.overlay import embedded_metrics, roles

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
# What AWS's Python runtime brings besides the standard library.
RUNTIME_MODULES = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
SAMPLE_SECONDS = 0.05
MEGABYTE = 1024 * 1024

# Nobody collects traces here; without these, every one of them would be an error in the log.
_NO_TRACING = {"AWS_XRAY_SDK_ENABLED": "false", "POWERTOOLS_TRACE_DISABLED": "true"}

logger = logging.getLogger("lambda")
_folders_lock = threading.Lock()


def install() -> None:
    other = anchors.replace(
        "core.lambda_runtime:_worker_class_for",
        lambda config: Worker if str(config.get("Runtime", "")).startswith("python") else other(config),
    )
    anchors.replace("services.lambda_svc:_execute_function_warm", _execute)
    anchors.replace("services.lambda_svc:_emit_lambda_logs", _write_logs)
    # Counted here for every kind of invocation, and not only for those through the API.
    emit = anchors.replace("services.lambda_svc:_emit_lambda_metrics", lambda *_arguments, **_keywords: None)
    dispatch = anchors.replace(
        "services.lambda_svc:_execute_function_dispatch",
        lambda function, config, event, request_id, started: _measured(
            emit, config, started, dispatch(function, config, event, request_id, started)
        ),
    )


class Worker(lambda_runtime.Worker):
    """An execution environment: one process, one invocation at a time."""

    def __init__(self, func_name: str, config: dict[str, Any], code_zip: bytes) -> None:
        super().__init__(func_name, config, code_zip)
        now = time.gmtime()
        self.log_stream = (
            f"{now.tm_year:04d}/{now.tm_mon:02d}/{now.tm_mday:02d}/[{config.get('Version', '$LATEST')}]"
            f"{new_uuid().replace('-', '')}"
        )
        self._answers: Any = None
        # Where things are here -> where they are on AWS, as traces in logs have it.
        self._places: dict[str, str] = {}
        self._lines: queue.Queue[str | None] = queue.Queue()

    def _spawn(self) -> None:
        runtime = self.config.get("Runtime", "")
        if runtime != RUNTIME:
            raise RuntimeError(
                f"{self.func_name} wants {runtime}, the local cloud runs on {RUNTIME}: build the application for it "
                "with local.deploy.build"
            )
        self._discard_tmpdir()
        self._tmpdir = tempfile.mkdtemp(prefix="lambda-")
        code = _unpacked(self.code_zip)
        layers = [_unpacked(zipped) for reference in self.config.get("Layers", []) if (zipped := _layer(reference))]
        site_packages = Path("lib", RUNTIME, "site-packages")
        self._places = {str(code): "/var/task", **dict.fromkeys(map(str, layers), "/opt")}
        # A later layer covers an earlier one.
        opt = [str(layer / "python" / inner) for layer in reversed(layers) for inner in (site_packages, "")]
        answers_in, answers_out = os.pipe()
        settings = {
            "answers_fd": answers_out,
            "path": [str(code), *opt, str(_runtime_folder())],
            "temporary_bytes": (self.config.get("EphemeralStorage") or {}).get("Size", 512) * MEGABYTE,
        }
        bootstrap = Path(__file__).parents[1] / "lambda_bootstrap.py"
        self._proc = subprocess.Popen(
            [sys.executable, "-I", "-S", str(bootstrap), json.dumps(settings)],
            cwd=code,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[answers_out],
            env=self._environment(code),
            text=True,
            errors="replace",
        )
        os.close(answers_out)
        self._answers = os.fdopen(answers_in, encoding="utf-8")
        self._lines = queue.Queue()
        threading.Thread(target=_pump, args=(self._proc.stdout, self._lines), daemon=True).start()
        logger.info("environment started for %s", self.func_name)

    def _environment(self, code: Path) -> dict[str, str]:
        config = self.config
        name, region = config["FunctionName"], get_region()
        log_group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{name}"
        declared = (config.get("Environment") or {}).get("Variables") or {}
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "HOME": self._tmpdir,
            "TMPDIR": self._tmpdir,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
            **_NO_TRACING,
            **{key: str(value) for key, value in declared.items()},
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{RUNTIME}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": config.get("Version", "$LATEST"),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config.get("MemorySize", 128)),
            "AWS_LAMBDA_LOG_GROUP_NAME": log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": self.log_stream,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "LAMBDA_TASK_ROOT": str(code),
            "LAMBDA_RUNTIME_DIR": str(_runtime_folder()),
            "_HANDLER": config["Handler"],
            **lambda_runtime.execution_credentials(config),
        }

    def invoke(
        self,
        event: Any,
        request_id: str,
        *,
        trace_id: str | None = None,
        depth: Any = None,
        durable: Any = None,
        invoked_function_arn: str | None = None,
    ) -> dict[str, Any]:
        """Run one invocation: ``result`` or ``error``, with ``log`` and ``memory_mb``."""
        with self._lock:
            if self._proc is None or self._proc.poll() is not None:
                self._spawn()
            process = self._proc
            timeout = float(self.config.get("Timeout", 3))
            invocation = {
                "event": event,
                "request_id": request_id,
                "deadline": time.time() + timeout,
                "arn": invoked_function_arn or self.config["FunctionArn"],
                "trace_id": trace_id,
            }
            memory = _Memory(process.pid)
            answer = self._exchange(process, json.dumps(invocation), time.monotonic() + timeout, memory, request_id)
            if trace := answer.get("error", {}).get("stackTrace"):
                answer["error"]["stackTrace"] = [self._placed(frame) for frame in trace]
            return answer | {"memory_mb": memory.peak_mb, "log": [self._placed(line) for line in self._log()]}

    def _exchange(
        self, process: subprocess.Popen[str], line: str, deadline: float, memory: _Memory, request_id: str
    ) -> dict[str, Any]:
        """Hand over the invocation and wait for its answer, for its time to be up or its memory used up."""
        box: list[str] = []
        answered = threading.Event()

        def talk() -> None:
            try:
                assert process.stdin is not None
                process.stdin.write(line + "\n")
                process.stdin.flush()
                box.append(self._answers.readline())
            except (OSError, ValueError):
                pass
            finally:
                answered.set()

        threading.Thread(target=talk, daemon=True).start()
        limit_mb = self.config.get("MemorySize", 128)
        while not answered.wait(min(SAMPLE_SECONDS, max(0.0, deadline - time.monotonic()))):
            if memory.sample() > limit_mb:
                self._kill()
                return _failure(
                    "Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited with error: signal: killed"
                ) | {"status": "Runtime.OutOfMemory"}
            if time.monotonic() >= deadline:
                self._kill()
                seconds = float(self.config.get("Timeout", 3))
                return _failure(
                    "Sandbox.Timedout", f"RequestId: {request_id} Error: Task timed out after {seconds:.2f} seconds"
                ) | {"status": "timeout"}
        memory.sample()
        if box and box[0]:
            return json.loads(box[0])
        code = process.wait()
        self._proc = None  # type: ignore[assignment]
        how = f"signal: {-code}" if code < 0 else f"exit status {code}"
        return _failure("Runtime.ExitError", f"RequestId: {request_id} Error: Runtime exited with error: {how}")

    def _kill(self) -> None:
        process, self._proc = self._proc, None  # type: ignore[assignment]
        process.kill()
        process.wait()

    def _placed(self, text: str) -> str:
        for here, there in self._places.items():
            text = text.replace(here, there)
        return text

    def _log(self) -> list[str]:
        """What this invocation printed."""
        lines: list[str] = []
        # A process that the handler left behind may keep the pipe open after a kill, hence the time limit.
        with contextlib.suppress(queue.Empty):
            while (line := self._lines.get(timeout=1)) is not None and line != END_MARK:
                lines.append(line.replace(NEWLINE_MARK, "\n"))
        return lines


def _pump(stream: Any, lines: queue.Queue[str | None]) -> None:
    for line in stream:
        text = line.rstrip("\n")
        if text.endswith(END_MARK):
            # What was printed without a newline stands before the mark.
            if text != END_MARK:
                lines.put(text.removesuffix(END_MARK))
            text = END_MARK
        lines.put(text)
    lines.put(None)


class _Memory:
    """The memory of a process while it serves one invocation; Linux only, elsewhere it counts as none."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self.peak_mb = 0
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:
            pass

    def sample(self) -> int:
        """The highest use so far, in MB."""
        try:
            text = self._status.read_text()
        except OSError:
            return self.peak_mb
        start = text.find("VmHWM:")
        if start >= 0:
            self.peak_mb = max(self.peak_mb, int(text[start + 6 :].split(maxsplit=1)[0]) // 1024)
        return self.peak_mb


def _failure(error_type: str, message: str) -> dict[str, Any]:
    return {"error": {"errorMessage": message, "errorType": error_type}}


def _execute(function: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
    """One invocation in a free environment of the function."""
    config = function.get("config") or function
    code = function.get("code_zip")
    if not code:
        return {"body": {"errorType": "Runtime.NoCode", "errorMessage": "the function has no code"}, "error": True}
    lambda_svc._ensure_reaper_thread()
    worker, _ = lambda_runtime.acquire_worker(
        config["FunctionName"], config, code, qualifier=config.get("Version", "$LATEST")
    )
    try:
        if not isinstance(worker, Worker):
            raise RuntimeError(  # noqa: TRY004 - of the function, not of an argument
                f"the local cloud runs Python functions only, not {config.get('Runtime')}"
            )
        answer = worker.invoke(
            event,
            request_id,
            trace_id=lambda_svc._xray_trace_id_for_invocation(config),
            invoked_function_arn=config.get("FunctionArn"),
        )
        lines = answer["log"] + _platform_lines(answer.get("error") or {}, request_id)
        result = {
            "log": "\n".join(lines),
            "log_source": {
                "lines": lines,
                "stream": worker.log_stream,
                "memory_mb": answer["memory_mb"],
                "status": answer.get("status"),
            },
        }
        if "error" in answer:
            return result | {"body": answer["error"] | {"requestId": request_id}, "error": True}
        return result | {"body": answer["result"]}
    except Exception as error:
        logger.exception("invoking %s", config["FunctionName"])
        return {"body": {"errorMessage": str(error), "errorType": "Runtime.Unknown"}, "error": True, "log": str(error)}
    finally:
        lambda_runtime.release_worker(worker)


def _platform_lines(error: dict[str, Any], request_id: str) -> list[str]:
    """What Lambda itself writes of an environment that it ended, or that ended by itself."""
    message = error.get("errorMessage", "").partition(" Error: ")[2]
    if error.get("errorType") == "Sandbox.Timedout":
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return [f"{now} {request_id} {message}"]
    if error.get("errorType") == "Runtime.ExitError":
        return [f"RequestId: {request_id} Error: {message}\nRuntime.ExitError"]
    return []


def _measured(emit: Any, config: dict[str, Any], started: float, result: Any) -> Any:
    emit(config["FunctionName"], (time.time() - started) * 1000, bool(result.get("error")), False)
    return result


def _write_logs(
    function: dict[str, Any],
    request_id: str,
    text: str,
    error: bool,
    duration_ms: int,
    *,
    log_source: dict[str, Any] | None = None,
) -> None:
    """Write an invocation's log, if the function's role lets it, and take the metrics out of it."""
    config = function.get("config") or function
    source = log_source or {}
    version = config.get("Version", "$LATEST")
    group = (config.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{config['FunctionName']}"
    group_arn = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}:*"
    if roles.denied(config.get("Role", ""), "logs:PutLogEvents", group_arn):
        return
    status = f"\tStatus: {source['status']}" if source.get("status") else ""
    lines = [
        f"START RequestId: {request_id} Version: {version}",
        *source.get("lines", text.splitlines()),
        f"END RequestId: {request_id}",
        (
            f"REPORT RequestId: {request_id}\tDuration: {duration_ms} ms\tBilled Duration: {duration_ms} ms\t"
            f"Memory Size: {config.get('MemorySize', 128)} MB\tMax Memory Used: {source.get('memory_mb', 0)} MB{status}"
        ),
    ]
    now = int(time.time() * 1000)
    names = {"logGroupName": group, "logStreamName": source.get("stream", request_id)}
    cloudwatch_logs._create_log_group(names)
    cloudwatch_logs._create_log_stream(names)
    cloudwatch_logs._put_log_events({**names, "logEvents": [{"timestamp": now, "message": line} for line in lines]})
    for line in lines:
        embedded_metrics.extract(line)


def _unpacked(zipped: bytes) -> Path:
    """The folder with an archive's content, made once for all environments."""
    folder = Path(tempfile.gettempdir(), "lambda-code", hashlib.sha256(zipped).hexdigest()[:16])
    with _folders_lock:
        if not folder.exists():
            fresh = folder.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            with zipfile.ZipFile(BytesIO(zipped)) as archive:
                archive.extractall(fresh)
            fresh.rename(folder)
    return folder


def _layer(reference: str | dict[str, Any]) -> bytes | None:
    zipped = lambda_svc._resolve_layer_zip(reference)
    if zipped is None:
        logger.error("layer not found: %s", reference)
    return zipped


def _runtime_folder() -> Path:
    """Links to the modules that AWS's runtime brings."""
    folder = Path(tempfile.gettempdir(), "lambda-runtime")
    with _folders_lock:
        if not folder.exists():
            fresh = folder.with_suffix(".new")
            fresh.mkdir()
            for name in RUNTIME_MODULES:
                found = importlib.util.find_spec(name)
                assert found is not None and found.origin is not None, name
                origin = Path(found.origin)
                target = origin.parent if origin.name == "__init__.py" else origin
                (fresh / target.name).symlink_to(target)
            fresh.rename(folder)
    return folder
