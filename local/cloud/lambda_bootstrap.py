"""Runs a function's handler in a process that sees what AWS's Python runtime sees, and nothing else.

It is run with ``python -I -S``: the standard library, the function's code, its layers and boto3. Invocations come as
JSON lines on standard input, answers go to the descriptor given, and everything printed is the function's log, where
``END_MARK`` ends the lines of one invocation. What the runtime and its logging handler write is one event each,
however many lines it has, as on AWS: ``NEWLINE_MARK`` stands for the newlines in it.
"""

import importlib
import json
import logging
import os
import sys
import threading
import time
import traceback

END_MARK = "\x00end of invocation\x00"
NEWLINE_MARK = "\x00newline\x00"
MAX_RESPONSE_BYTES = 6 * 1024 * 1024 - 100
_PARENT_CHECK_SECONDS = 0.5


class LambdaContext:
    """The context object of one invocation."""

    identity = None
    client_context = None

    def __init__(self, request_id, deadline, arn):
        self.aws_request_id = request_id
        self.invoked_function_arn = arn
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self._deadline = deadline

    def get_remaining_time_in_millis(self):
        return max(0, int((self._deadline - time.time()) * 1000))

    def log(self, message):
        sys.stdout.write(str(message))


def main():
    settings = json.loads(sys.argv[1])
    answers = os.fdopen(settings["answers_fd"], "w", encoding="utf-8")
    sys.path[:0] = settings["path"]
    # Standard input is the invocations'; a handler that reads it must not wait for them.
    invocations = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    _end_with_parent()
    _limit_temporary_files(settings["temporary_bytes"])
    _set_up_logging()

    handler, failure = _load(os.environ["_HANDLER"])
    for line in invocations:
        invocation = json.loads(line)
        if invocation["trace_id"]:
            os.environ["_X_AMZN_TRACE_ID"] = invocation["trace_id"]
        answer = {"error": failure} if failure else _invoke(handler, invocation)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(1, f"{END_MARK}\n".encode())
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if failure:
            # AWS starts a failed environment anew for every invocation.
            return


def _load(name):
    """The handler, or the error that keeps it from being there."""
    module_name, _, function_name = name.rpartition(".")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        return None, _error("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}")
    except SyntaxError as error:
        return None, _error("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}")
    except Exception as error:  # noqa: BLE001 - whatever a function raises is its answer
        return None, _error(type(error).__name__, str(error), error)
    if not hasattr(module, function_name):
        return None, _error("Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_name}'")
    return getattr(module, function_name), None


def _invoke(handler, invocation):
    context = LambdaContext(invocation["request_id"], invocation["deadline"], invocation["arn"])
    _RequestId.current = context.aws_request_id
    try:
        result = handler(invocation["event"], context)
    except Exception as error:  # noqa: BLE001
        return {"error": _error(type(error).__name__, str(error), error)}
    try:
        text = json.dumps(result, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        return {"error": _error("Runtime.MarshalError", f"Unable to marshal response: {error}")}
    if len(text.encode()) > MAX_RESPONSE_BYTES:
        return {
            "error": _error(
                "Function.ResponseSizeTooLarge",
                f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes).",
            )
        }
    return {"result": result}


def _error(error_type, message, error=None):
    frames = traceback.format_tb(error.__traceback__.tb_next or error.__traceback__) if error else []
    trace = "\n".join(["Traceback (most recent call last):", *frames]) if frames else ""
    print(f"[ERROR] {error_type}: {message}\n{trace}".rstrip().replace("\n", NEWLINE_MARK))
    return {"errorMessage": message, "errorType": error_type, "stackTrace": frames}


class _OneEvent(logging.Formatter):
    def format(self, record):
        return super().format(record).replace("\n", NEWLINE_MARK)


class _RequestId(logging.Filter):
    current = ""

    def filter(self, record):
        record.aws_request_id = self.current
        return True


def _set_up_logging():
    """A handler on the root logger, as AWS's runtime has one."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        _OneEvent("[%(levelname)s]\t%(asctime)s.%(msecs)dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    handler.addFilter(_RequestId())
    logging.getLogger().addHandler(handler)


def _limit_temporary_files(size):
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    except (ImportError, ValueError, OSError):
        pass


def _end_with_parent():
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
