"""Runs a shell or Python snippet that somebody wrote for their own machine, within bounds."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from watchfloor.errors import DeadlineError, WatchfloorError

MAX_OUTPUT_BYTES = 50_000
_READ_BYTES = 65_536
# Nothing of the function's own environment: it holds the role's credentials.
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}


class SnippetError(WatchfloorError):
    """A snippet ended with an exit code other than 0."""


def run_snippet(path: Path, parameters: BaseModel, *, timeout_seconds: float) -> dict[str, Any]:
    """Run a snippet; `{exit_code, output, is_cut}`.

    Parameters
    ----------
    path
        Run by bash where it ends in .sh, by Python where it ends in .py.
    parameters
        Handed over as JSON on standard input, and as variables PARAM_<NAME>, which are data, never code. Secrets are
        in the JSON only.
    timeout_seconds
        After this the snippet and what it started are killed.

    Raises
    ------
    SnippetError
        With the end of what it printed.
    DeadlineError
    """
    interpreter = ["/bin/bash", "--noprofile", "--norc"] if path.suffix == ".sh" else [sys.executable, "-I"]
    deadline = time.monotonic() + timeout_seconds
    process = subprocess.Popen(
        [*interpreter, str(path)],
        env=_ENVIRONMENT | _variables(parameters),
        cwd="/tmp",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, is_cut = _talk(process, json.dumps(_plain(parameters)).encode(), deadline)
        exit_code = process.wait(max(0.1, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise DeadlineError(f"{path.name} did not end in {timeout_seconds:.0f} s") from error
    finally:
        _kill(process)
    text = output.decode("utf-8", "replace")
    if exit_code:
        raise SnippetError(f"{path.name} ended with exit code {exit_code}: {text[-500:].strip()}")
    return {"exit_code": exit_code, "output": text, "is_cut": is_cut}


def _talk(process: subprocess.Popen[bytes], given: bytes, deadline: float) -> tuple[bytes, bool]:
    """Feed it and read what it prints, the beginning of which is kept."""
    assert process.stdin is not None and process.stdout is not None
    writing, reading = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(writing, False)
    kept, is_cut = bytearray(), False
    while True:
        left = deadline - time.monotonic()
        readable, writable, _ = select.select([reading], [writing] if given else [], [], max(0, left))
        if not readable and not writable:
            raise TimeoutError
        if writable:
            try:
                given = given[os.write(writing, given) :]
            except BrokenPipeError:
                given = b""
            if not given:
                process.stdin.close()
        if readable:
            chunk = os.read(reading, _READ_BYTES)
            if not chunk:
                return bytes(kept), is_cut
            room = MAX_OUTPUT_BYTES - len(kept)
            kept += chunk[:room]
            is_cut = is_cut or len(chunk) > room


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End it and all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:
                pass


def _plain(parameters: BaseModel) -> dict[str, Any]:
    values = {name: getattr(parameters, name) for name in type(parameters).model_fields}
    shown = parameters.model_dump(mode="json")
    secrets = {name: value.get_secret_value() for name, value in values.items() if isinstance(value, SecretStr)}
    return {**shown, **secrets}


def _variables(parameters: BaseModel) -> dict[str, str]:
    found = {}
    for name, value in parameters.model_dump(mode="json").items():
        if isinstance(getattr(parameters, name), SecretStr) or value is None:
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        if "\0" not in text:
            found[f"PARAM_{name.upper()}"] = text
    return found
