"""The real ``sam build`` and ``sam deploy``, against the local cloud."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.cloud import LocalCloud

WORK_FOLDER = ".watchfloor"
DECLARED_VERSION = "3.13"
CONFIG_ENVIRONMENT = "local"
# What a build is made of; nothing else in the project changes it.
SOURCES = ("template.yaml", "functions", "layers", "statemachines", "models/template.yaml")
CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")

_NOISE = re.compile(r'^(?:Traceback .*|\[notice\].*|  File ".*(?:\n    .*)*)$', re.MULTILINE)
_IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".DS_Store")


class BuildError(RuntimeError):
    """``sam build`` failed; the message is the end of what it said."""


class DeployError(RuntimeError):
    """``sam deploy`` failed; the message names the resource and the reason."""


def build(root: str | Path, python_version: str | None = None, say: Callable[[str], None] = lambda text: None) -> Path:
    """Build the application, unless nothing changed since the last time.

    Parameters
    ----------
    root
        The project folder, with ``template.yaml``.
    python_version
        The version to build for, this interpreter's when ``None``. The templates declare python3.13; for another
        version a copy of the sources that declares it is built, because the local cloud runs functions with its own
        interpreter.
    say
        Told what is being done, in a few words.

    Returns
    -------
    Path
        The built root template, to be given to :func:`deploy`.

    Raises
    ------
    BuildError
    """
    root = Path(root).resolve()
    with _folder_locked(root, fcntl.LOCK_EX, say):  # builds share their cache: one after the other
        return _build(root, python_version, say)


@contextmanager
def _folder_locked(root: Path, kind: int, say: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """While it lasts, other processes neither build (LOCK_SH), nor deploy what was built (LOCK_EX)."""
    (root / WORK_FOLDER).mkdir(exist_ok=True)
    with (root / WORK_FOLDER / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another command in this folder, which builds or deploys")
            fcntl.flock(lock, kind)
        yield


def _build(root: Path, python_version: str | None, say: Callable[[str], None]) -> Path:
    version = python_version or f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = root / WORK_FOLDER / f"build-{version}"
    built, stamp = folder / "template.yaml", folder / ".digest"
    digest = _digest(root, version)
    if built.exists() and stamp.exists() and stamp.read_text() == digest:
        return built

    say("building the application, which takes a minute or two")
    sources = root if version == DECLARED_VERSION else _copy_for(root, version)
    stamp.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    environment |= {
        "SAM_CLI_TELEMETRY": "0",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)]),
    }
    outcome = subprocess.run(
        [
            *(_sam(), "build", "--language-extensions", "--cached"),
            *("--template-file", str(sources / "template.yaml")),
            *("--build-dir", str(folder), "--cache-dir", str(root / WORK_FOLDER / f"cache-{version}")),
            *_config(root, "build"),
        ],
        env=environment,
        cwd=sources,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if outcome.returncode:
        raise BuildError(f"sam build failed:\n{_tail(outcome.stdout)}")
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        _install_natively(folder)
    stamp.write_text(digest)
    return built


def deploy(
    cloud: LocalCloud,
    built: str | Path,
    stack_name: str = "watchfloor",
    parameters: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Deploy a built application, or bring the deployed one up to date.

    Settings of the environment ``local`` in the project's ``samconfig.toml`` hold, where ``parameters`` do not say
    otherwise.

    Returns
    -------
    dict
        The outputs of the root stack.

    Raises
    ------
    DeployError
    """
    built = Path(built)
    root = _project_of(built)
    configured = _settings(root).get("deploy", {}).get("parameters", {})
    overrides = _overrides(configured.get("parameter_overrides", [])) | dict(parameters or {})
    with _folder_locked(root, fcntl.LOCK_SH):
        outcome = subprocess.run(
            [
                *(_sam(), "deploy", "--language-extensions", "--no-confirm-changeset", "--no-fail-on-empty-changeset"),
                *("--template-file", str(built), "--stack-name", stack_name, "--region", "us-east-1"),
                *([] if "s3_bucket" in configured else ["--resolve-s3"]),
                *("--no-progressbar", "--capabilities", *CAPABILITIES),
                *(
                    ["--parameter-overrides", *(_quoted(key, value) for key, value in overrides.items())]
                    if overrides
                    else []
                ),
                *_config(root, "deploy"),
            ],
            # The events of a stack are asked for every five seconds otherwise.
            env=cloud.environment() | {"SAM_CLI_POLL_DELAY": "0.5"},
            cwd=built.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    cloudformation = cloud.session().client("cloudformation")
    if outcome.returncode:
        reasons = list(_failures(cloudformation, stack_name))
        raise DeployError("\n".join(reasons) if reasons else f"sam deploy failed:\n{_tail(outcome.stdout)}")
    stack = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _failures(cloudformation: Any, stack_name: str) -> Iterator[str]:
    """What failed by itself, in this stack and in those nested in it."""
    try:
        events = cloudformation.describe_stack_events(StackName=stack_name)["StackEvents"]
        nested = cloudformation.describe_stacks()["Stacks"]
    except cloudformation.exceptions.ClientError:
        return
    seen = set()
    for event in reversed(events):
        logical_id, reason = event["LogicalResourceId"], event.get("ResourceStatusReason", "")
        if not event["ResourceStatus"].endswith("FAILED") or "cancelled" in reason or logical_id == stack_name:
            continue
        if logical_id in seen:
            continue
        seen.add(logical_id)
        child = [stack["StackName"] for stack in nested if stack["StackName"].startswith(f"{stack_name}-{logical_id}-")]
        inner = list(_failures(cloudformation, child[-1])) if child else []
        yield from inner or [f"{logical_id} ({event['ResourceType']}) in {stack_name}: {reason}"]


def _install_natively(folder: Path) -> None:
    """Replace the layers' libraries by this machine's: sam built them for Lambda's, which is Linux on x86-64."""
    for requirements in sorted(folder.rglob("python/requirements.txt")):
        outcome = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"),
                *("--target", str(requirements.parent), "--requirement", str(requirements)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if outcome.returncode:
            raise BuildError(f"installing {requirements} for this machine failed:\n{_tail(outcome.stdout)}")


def _copy_for(root: Path, version: str) -> Path:
    """A copy of the sources whose templates declare another Python version."""
    copy = root / WORK_FOLDER / f"source-{version}"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for name in SOURCES:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=_IGNORED)
        elif source.exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / name)
    for template in copy.rglob("*.y*ml"):
        text = template.read_text()
        if f"python{DECLARED_VERSION}" in text:
            template.write_text(text.replace(f"python{DECLARED_VERSION}", f"python{version}"))
    return copy


def _digest(root: Path, version: str) -> str:
    digest = hashlib.sha256(f"{version} {sys.executable}".encode())
    for name in (*SOURCES, "samconfig.toml"):
        top = root / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(root)).encode() + b"\0")
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _settings(root: Path) -> dict[str, Any]:
    path = root / "samconfig.toml"
    return tomllib.loads(path.read_text()).get(CONFIG_ENVIRONMENT, {}) if path.exists() else {}


def _config(root: Path, command: str) -> list[str]:
    if command not in _settings(root):
        return []
    return ["--config-file", str(root / "samconfig.toml"), "--config-env", CONFIG_ENVIRONMENT]


def _overrides(configured: str | list[str]) -> dict[str, str]:
    pairs = shlex.split(configured) if isinstance(configured, str) else configured
    return {key: value.strip("\"'") for key, _, value in (pair.partition("=") for pair in pairs)}


def _quoted(key: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{key}="{escaped}"'


def _project_of(built: Path) -> Path:
    for folder in built.resolve().parents:
        if folder.name == WORK_FOLDER:
            return folder.parent
    return built.parent


def _sam() -> str:
    beside = Path(sys.executable).parent / "sam"
    found = str(beside) if beside.exists() else shutil.which("sam")
    if not found:
        raise BuildError("the sam command is missing; install the project's requirements with make setup")
    return found


def _tail(output: str, lines: int = 20) -> str:
    """The end of what a program said, without the frames of its traceback and pip's advertising."""
    told = [line for line in _NOISE.sub("", output).strip().splitlines() if line.strip()]
    return "\n".join(told[-lines:])
