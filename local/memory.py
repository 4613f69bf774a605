"""Peak memory of the processes that a local cloud starts."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_SAMPLE_SECONDS = 0.2
_PROC = Path("/proc")
LAMBDA, MODEL, CLOUD = "lambda", "model", "cloud"


class PeakMemory:
    """Samples this process's descendants while it is entered.

    Attributes
    ----------
    peaks
        Largest resident size of one process in bytes, by kind: `LAMBDA` workers, `MODEL` servers, the `CLOUD` itself.
        Empty where there is no /proc (macOS).
    """

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            for pid in descendants(os.getpid()):
                kind, size = _kind(pid), _high_water_mark(pid)
                if kind and size:
                    self.peaks[kind] = max(size, self.peaks.get(kind, 0))


def descendants(pid: int) -> Iterator[int]:
    """Processes that a process started, and that these started, and so on."""
    for task in _PROC.glob(f"{pid}/task/*/children"):
        for child in _read(task).split():
            yield int(child)
            yield from descendants(int(child))


def _kind(pid: int) -> str | None:
    command = _read(_PROC / str(pid) / "cmdline").replace("\0", " ")
    if "models.serve" in command:
        return MODEL
    if "local.cloud.server" in command:
        return CLOUD
    return LAMBDA if "AWS_LAMBDA_FUNCTION_NAME=" in _read(_PROC / str(pid) / "environ") else None


def _high_water_mark(pid: int) -> int:
    for line in _read(_PROC / str(pid) / "status").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    """Empty where the process has ended meanwhile, or is not ours."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
