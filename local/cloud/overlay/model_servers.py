"""The processes that stand for SageMaker's model containers.

A server serves one job at a time, as a container does, and is kept warm between jobs of the same model. A model whose
server needs longer than a minute to start says so in its environment: ``LOCAL_CLOUD_START_SECONDS``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

START_TIMEOUT_SECONDS = 60
IDLE_SECONDS = 300
# SageMaker's container sees none of the cloud's own settings.
_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")

logger = logging.getLogger("transform")


class NotReady(Exception):
    """A model server that ended or did not answer /ping in time."""


@dataclass
class Server:
    """One running model server."""

    key: tuple[str, frozenset[tuple[str, str]]]
    process: subprocess.Popen[bytes]
    url: str
    log_path: Path
    busy: bool = True
    last_used: float = field(default_factory=time.monotonic)
    log_position: int = 0

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def new_output(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(self.log_position)
            text = log.read()
        self.log_position += len(text)
        return text.decode(errors="replace").strip()


_servers: list[Server] = []
_lock = threading.Lock()


@contextlib.contextmanager
def lease(model: str, environment: Mapping[str, str], on_output: Callable[[str], None]) -> Iterator[Server]:
    """A server of this model with this environment, for the caller alone.

    Raises
    ------
    NotReady
        When a new server does not get ready; the message holds the end of its output.
    """
    server = _idle_server((model, frozenset(environment.items()))) or _start(model, environment)
    try:
        yield server
    finally:
        output = server.new_output()
        if output:
            on_output(output)
        server.last_used = time.monotonic()
        server.busy = False


def stop_all() -> None:
    """End every server."""
    with _lock:
        ended = _servers[:]
        _servers.clear()
    _stop(ended)


def _idle_server(key: tuple[str, frozenset[tuple[str, str]]]) -> Server | None:
    now = time.monotonic()
    with _lock:
        ended = [s for s in _servers if not s.busy and (not s.alive or now - s.last_used > IDLE_SECONDS)]
        _servers[:] = [s for s in _servers if s not in ended]
        warm = next((s for s in _servers if s.key == key and not s.busy), None)
        if warm is not None:
            warm.busy = True
    _stop(ended)
    return warm


def _start(model: str, environment: Mapping[str, str]) -> Server:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = Path(os.environ["TMPDIR"], "models")
    folder.mkdir(exist_ok=True)
    log_path = folder / f"{model}-{port}.log"
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    started = time.monotonic()
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.cloud.child", os.environ["WATCHFLOOR_MODEL_SERVER"]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=passed_on
            | dict(environment)
            | {"SAGEMAKER_BIND_TO_PORT": str(port), "WATCHFLOOR_BIND_HOST": "127.0.0.1", "PYTHONUNBUFFERED": "1"},
        )
    server = Server((model, frozenset(environment.items())), process, f"http://127.0.0.1:{port}", log_path)
    with _lock:
        _servers.append(server)
    try:
        _wait_for_ping(server)
    except NotReady:
        with _lock:
            _servers.remove(server)
        _stop([server])
        raise
    logger.info("model server %s ready in %.1f s", model, time.monotonic() - started)
    return server


def _wait_for_ping(server: Server) -> None:
    environment = dict(server.key[1])
    deadline = time.monotonic() + float(environment.get("LOCAL_CLOUD_START_SECONDS", START_TIMEOUT_SECONDS))
    while time.monotonic() < deadline and server.alive:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.url}/ping", timeout=5) as response:
            if response.status == 200:
                return
        time.sleep(0.03)
    problem = "did not answer /ping" if server.alive else f"ended with status {server.process.returncode}"
    raise NotReady(f"the model server {problem}: {server.new_output()[-2000:]}")


def _stop(servers: list[Server]) -> None:
    for server in servers:
        with contextlib.suppress(ProcessLookupError):
            server.process.terminate()
    for server in servers:
        try:
            server.process.wait(3)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()
