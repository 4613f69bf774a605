"""The local cloud: AWS on this machine, without an account and without Docker.

A subprocess runs MiniStack with the overlay of :mod:`local.cloud.overlay`; the sandbox twins of Jira, Kibana and
OpenSearch run beside it in this process. Everything listens on 127.0.0.1 and lives in one temporary folder that is
gone when the cloud is::

    with LocalCloud() as cloud:
        cloud.session().client("s3").list_buckets()
        subprocess.run(["sam", "deploy", ...], env=cloud.environment())
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import boto3

REGION = "us-east-1"
ACCOUNT = "000000000000"
DEFAULT_PORT = 4566
START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 10

_PROJECT = Path(__file__).resolve().parents[2]
# What the user's own AWS settings must not leak into: the local cloud is always reached as its administrator.
_OWN_AWS_SETTINGS = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE")

logger = logging.getLogger(__name__)
# What is on this machine is not reached through the user's proxy.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LocalCloudError(RuntimeError):
    """The local cloud could not be started, or died."""


class LocalCloud:
    """One local cloud, as a context manager.

    Parameters
    ----------
    port
        The port wanted. ``None`` takes any free one; a port in use is replaced by a free one, with a warning.
    log_path
        Where the cloud's log goes. ``None`` keeps it in the temporary folder, where it ends with the cloud.
    model_server
        The module that is run as the model container of every transform job.

    Attributes
    ----------
    endpoint_url, port
        Where the cloud listens, once started.
    twins
        URLs of the sandbox services by name: ``jira``, ``kibana``, ``opensearch``.
    """

    def __init__(
        self,
        port: int | None = None,
        log_path: str | Path | None = None,
        *,
        model_server: str = "models.serve",
    ) -> None:
        self._wanted_port = port
        self._wanted_log = Path(log_path) if log_path else None
        self._model_server = model_server
        self._process: subprocess.Popen[bytes] | None = None
        self._twins: Any = None
        self._folder: Path | None = None
        self.port = 0
        self.endpoint_url = ""
        self.twins: dict[str, str] = {}
        self.log_path: Path | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the cloud and wait until it answers.

        Raises
        ------
        LocalCloudError
            When it does not come up; the message holds the end of its log.
        """
        _sweep_leftovers()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
        self.log_path = self._wanted_log or self._folder / "cloud.log"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with _listen(self._wanted_port) as listener, self.log_path.open("ab") as log:
            self.port = listener.getsockname()[1]
            self.endpoint_url = f"http://127.0.0.1:{self.port}"
            self._process = subprocess.Popen(
                [sys.executable, "-m", "local.cloud.server", "--socket-fd", str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._server_environment(),
                pass_fds=[listener.fileno()],
                # Its own group: Ctrl-C reaches us first, and at the end no process of it is left behind.
                start_new_session=True,
            )
        self._start_twins()
        self._wait_until_healthy()

    def stop(self) -> None:
        """End the cloud and all its processes, and wipe its folder. Safe to call twice."""
        if self._twins is not None:
            self._twins.stop()
            self._twins = None
        if self._process is not None:
            process, self._process = self._process, None
            assert process.stdin is not None
            process.stdin.close()
            # It ends by itself at once, but for a machine that is very busy, where it is ended below; there is nothing to save.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_SECONDS)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @property
    def running(self) -> bool:
        """Whether the cloud's process is alive."""
        return self._process is not None and self._process.poll() is None

    def session(self) -> boto3.Session:
        """A boto3 session with administrator credentials whose clients talk to this cloud."""
        from local.cloud.session import LocalSession

        return LocalSession(self.endpoint_url, REGION)

    def environment(self) -> dict[str, str]:
        """The environment for ``sam``, ``aws`` and other programs that are to talk to this cloud."""
        environment = {name: value for name, value in os.environ.items() if name not in _OWN_AWS_SETTINGS}
        return (
            environment
            | without_proxy()
            | {
                "AWS_ENDPOINT_URL": self.endpoint_url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": REGION,
                "AWS_DEFAULT_REGION": REGION,
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "AWS_EC2_METADATA_DISABLED": "true",
                "SAM_CLI_TELEMETRY": "0",
            }
        )

    def inject_faults(self, **faults: list[dict[str, Any]]) -> None:
        """Make coming transform jobs or requests fail; see :mod:`local.cloud.overlay.faults` for what can be asked for."""
        request = urllib.request.Request(
            f"{self.endpoint_url}/_watchfloor/faults", data=json.dumps(faults).encode(), method="POST"
        )
        with _direct.open(request, timeout=10):
            pass

    def calls(self) -> list[dict[str, Any]]:
        """The last requests: who made them, the IAM action, the resource, and whether it was allowed."""
        return self._recorded("calls")

    def state(self) -> dict[str, str]:
        """A digest of every resource by `service/kind/name`."""
        return self._recorded("state")

    def _recorded(self, what: str) -> Any:
        with _direct.open(f"{self.endpoint_url}/_watchfloor/{what}", timeout=60) as answer:
            return json.load(answer)[what]

    def _server_environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment.pop("PYTHONSTARTUP", None)
        return (
            environment
            | without_proxy()
            | {
                "AUTH": "true",
                "BIND_HOST": "127.0.0.1",
                "MINISTACK_HOST": "127.0.0.1",
                "GATEWAY_PORT": str(self.port),
                "MINISTACK_REGION": REGION,
                "IOT_MTLS_ENABLED": "0",
                "SFTP_ENABLED": "0",
                "DOCKER_HOST": "unix:///nonexistent.sock",
                "TMPDIR": str(self._folder),
                "PYTHONPATH": str(_PROJECT),
                "PYTHONUNBUFFERED": "1",
                "WATCHFLOOR_MODEL_SERVER": self._model_server,
                "OMP_NUM_THREADS": environment.get("OMP_NUM_THREADS", "1"),
            }
        )

    def _wait_until_healthy(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise LocalCloudError(f"the local cloud ended while starting:\n{self._log_tail()}")
            try:
                with _direct.open(f"{self.endpoint_url}/_ministack/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.02)
        raise LocalCloudError(f"the local cloud did not answer in {START_TIMEOUT_SECONDS} s:\n{self._log_tail()}")

    def _start_twins(self) -> None:
        from local.twins import Twins

        self._twins = Twins(None)
        self._twins.start()
        self.twins = dict(self._twins.urls)

    def _log_tail(self, lines: int = 15) -> str:
        if self.log_path is None or not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


_FOLDER_PREFIX = "watchfloor-cloud-"


def _sweep_leftovers() -> None:
    """Remove folders of clouds whose process was killed outright."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        try:
            os.kill(int(owner), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, OSError):
            continue


def without_proxy() -> dict[str, str]:
    """Variables that keep what is on this machine away from the user's proxy."""
    said = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    # A star says all of it, but only alone.
    hosts = said if said == "*" else ",".join(dict.fromkeys(filter(None, [*said.split(","), "127.0.0.1", "localhost"])))
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def _listen(port: int | None) -> socket.socket:
    """A listening socket on 127.0.0.1, on another port when the one asked for is taken."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port or 0))
    except OSError:
        listener.bind(("127.0.0.1", 0))
        logger.warning("port %s is taken, the local cloud uses %s", port, listener.getsockname()[1])
    listener.listen(128)
    return listener
