"""The image that `sam local` runs Python functions in: AWS's own, or where no registry answers a stand-in.

The stand-in is put together from this machine's interpreter and PyPI's `awslambdaric`, the client that AWS's image
runs functions with; the emulator of Lambda's API in front of it comes with SAM. It takes 30 seconds the first time.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

RUNTIME_CLIENT = "awslambdaric==4.2.2"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
MACHINE = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
NAME = f"public.ecr.aws/lambda/python:{VERSION}-{MACHINE}"
LABEL = "watchfloor.stand-in"

# What the Dockerfile that SAM writes calls, and what starts a function.
_PROGRAMS = ("sh", "mv", "chmod", "cp", "rm", "mkdir", "env")
_NOT_NEEDED = ("site-packages", "dist-packages", "test", "idlelib", "tkinter", "turtledemo", "ensurepip", "__pycache__")
# Parts of the C and C++ libraries that every Linux has; packages in layers count on them.
_COMMON_LIBRARIES = (
    *("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "libresolv.so.2", "librt.so.1", "libutil.so.1"),
    *("libnss_dns.so.2", "libnss_files.so.2", "libgcc_s.so.1", "libstdc++.so.6"),
)
_ENVIRONMENT = {
    "LANG": "en_US.UTF-8",
    "TZ": "UTC",
    "PATH": "/var/lang/bin:/usr/bin:/bin",
    "LD_LIBRARY_PATH": "/var/lang/lib:/var/runtime/lib:/var/task/lib:/opt/lib",
    "LAMBDA_TASK_ROOT": "/var/task",
    "LAMBDA_RUNTIME_DIR": "/var/runtime",
}
_ENTRYPOINT = """#!/bin/sh
export _HANDLER="$1"
exec /var/rapid/aws-lambda-rie /var/runtime/bootstrap
"""
_BOOTSTRAP = """#!/bin/sh
export AWS_EXECUTION_ENV=AWS_Lambda_python{version}
exec /var/lang/bin/python{version} /var/runtime/start.py
"""
# The function's code comes before its layers, and both before what the runtime brings.
_START = """import os
import sys

layers = ["/opt/python/lib/python{version}/site-packages", "/opt/python"]
rest = [path for path in sys.path if path not in ("/var/runtime", "")]
sys.path[:] = ["/var/task", *layers, "/var/runtime", *rest]
from awslambdaric.__main__ import main

main([sys.argv[0], os.environ["_HANDLER"]])
"""


def ensure() -> bool:
    """Have the image here; True where it is the stand-in."""
    shown = _docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', NAME, check=False)
    if shown.returncode:
        try:
            if _docker("pull", "--quiet", NAME, check=False, timeout=300).returncode == 0:
                return False
        except subprocess.TimeoutExpired:
            pass
        _build()
        return True
    return shown.stdout.strip() == "yes"


def _build() -> None:
    with tempfile.TemporaryDirectory(prefix="watchfloor-image-") as folder:
        root = Path(folder)
        for name in ("etc", "dev", "proc", "sys", "opt", "var/task", "var/rapid", "usr/bin"):
            (root / name).mkdir(parents=True)
        (root / "tmp").mkdir(mode=0o1777)
        interpreter = _interpreter(root)
        _runtime(root)
        programs = [Path(path) for name in _PROGRAMS if (path := shutil.which(name))]
        for program in programs:
            _copy(program, root / "bin" / program.name)
        binaries = [interpreter, *programs, *root.rglob("*.so"), *root.rglob("*.so.*")]
        for library in _libraries(binaries):
            if not (root / library.relative_to("/")).exists():
                _copy(library, root / library.relative_to("/"))
        (root / "etc/passwd").write_text("root:x:0:0:root:/tmp:/bin/sh\nsbx_user1051:x:993:990::/tmp:/bin/sh\n")
        (root / "etc/group").write_text("root:x:0:\n")
        changes = [f"ENV {name}={value}" for name, value in _ENVIRONMENT.items()]
        changes += ["WORKDIR /var/task", 'ENTRYPOINT ["/lambda-entrypoint.sh"]', f"LABEL {LABEL}=yes"]
        tar = subprocess.Popen(
            ["tar", "-C", str(root), "--owner=0", "--group=0", "--numeric-owner", "-cf", "-", "."],
            stdout=subprocess.PIPE,
        )
        _docker("import", *(part for change in changes for part in ("--change", change)), "-", NAME, stdin=tar.stdout)
        if tar.wait():
            raise RuntimeError("the stand-in's files could not be packed")


def _interpreter(root: Path) -> Path:
    """This interpreter and its standard library; packages of this machine stay out."""
    binary = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    _copy(binary, root / f"var/lang/bin/python{VERSION}")
    shutil.copytree(
        sysconfig.get_path("stdlib"),
        root / f"var/lang/lib/python{VERSION}",
        ignore=lambda folder, names: {n for n in names if n in _NOT_NEEDED or n.startswith("config-")},
        ignore_dangling_symlinks=True,
    )
    library = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "none")
    if library.suffix != ".a" and library.is_file():
        _copy(library, root / "var/lang/lib" / library.name)
    return binary


def _runtime(root: Path) -> None:
    _run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"),
        *("--target", str(root / "var/runtime"), RUNTIME_CLIENT, f"boto3=={version('boto3')}"),
    )
    files = {
        "lambda-entrypoint.sh": _ENTRYPOINT,
        "var/runtime/bootstrap": _BOOTSTRAP.format(version=VERSION),
        "var/runtime/start.py": _START.format(version=VERSION),
    }
    for name, text in files.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755)


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    """Shared libraries that these need and that did not come with the interpreter, found with ldd."""
    listed = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    found = {Path(path) for path in re.findall(r"(/\S+\.so\S*)", listed) if not path.endswith(":")}
    folders = {path.parent for path in found if path.name == "libc.so.6"}
    found |= {folder / name for folder in folders for name in _COMMON_LIBRARIES}
    return {path for path in found if path.is_file() and path.name != sysconfig.get_config_var("INSTSONAME")}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _docker(*arguments: str, check: bool = True, stdin: Any = None, timeout: float | None = None) -> Any:
    return _run("docker", *arguments, check=check, stdin=stdin, timeout=timeout)


def _run(*command: str, check: bool = True, stdin: Any = None, timeout: float | None = None) -> Any:
    outcome = subprocess.run(
        command, stdin=stdin or subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
    )
    if check and outcome.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {outcome.stderr.strip()[-1000:]}")
    return outcome
