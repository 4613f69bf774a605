"""Faults on request, for tests and drills.

``POST /_watchfloor/faults`` with ``{"transform": [{"match": "cluster", "times": 1, "kind": "capacity"}]}`` makes the
next ``times`` transform jobs whose name contains ``match`` go wrong:

``quota``            CreateTransformJob raises ResourceLimitExceeded
``capacity``         the job fails with SageMaker's CapacityError
``internal``         the job fails with SageMaker's InternalServerError
``model``            the job fails with SageMaker's AlgorithmError
``lost-event``       the job's last state change is not published
``duplicate-event``  it is published twice
``slow``             the job takes ``seconds`` (default 5) longer

``{"request": [{"match": "Action=Publish.*word", "times": 3, "kind": "500"}]}`` does the same to requests to any service
whose query or body fits the regular expression, decoded: ``500`` and ``429`` (throttled) answer with that, ``slow``
after ``seconds``. With ``{"task": [{"match": "web", "times": 3, "kind": "stops"}]}`` tasks of ECS services whose name
contains ``match`` stop soon after their start. A target that is not named keeps its faults.
"""

from __future__ import annotations

import re
import threading
from typing import Any
from urllib.parse import unquote_plus

KINDS = {
    "transform": ("quota", "capacity", "internal", "model", "lost-event", "duplicate-event", "slow"),
    "request": ("429", "500", "slow"),
    "task": ("stops",),
}

_faults: dict[str, list[dict[str, Any]]] = {target: [] for target in KINDS}
_lock = threading.Lock()


def replace(faults: dict[str, Any]) -> None:
    """Forget all faults of these targets (of all, when none is named) and take these.

    Raises
    ------
    ValueError
        For a kind or a target that does not exist.
    """
    unknown = [target for target in faults if target not in KINDS]
    unknown += [f"{t}: {f.get('kind')}" for t in KINDS for f in faults.get(t, []) if f.get("kind") not in KINDS[t]]
    if unknown:
        known = "; ".join(f"{target}: {', '.join(kinds)}" for target, kinds in KINDS.items())
        raise ValueError(f"unknown fault: {', '.join(map(str, unknown))}; there are {known}")
    with _lock:
        for target in faults or KINDS:
            _faults[target][:] = [{"match": "", "times": 1, "seconds": 5, **fault} for fault in faults.get(target, [])]


def take(job_name: str, *kinds: str) -> dict[str, Any] | None:
    """The fault of one of these kinds that is to befall this job, used up."""
    return _take("transform", job_name, kinds)


def take_task(service: str) -> dict[str, Any] | None:
    """The fault that is to befall a task of this ECS service, used up."""
    return _take("task", service, KINDS["task"])


def _take(target: str, name: str, kinds: tuple[str, ...]) -> dict[str, Any] | None:
    with _lock:
        for fault in _faults[target]:
            if fault["kind"] in kinds and fault["times"] > 0 and fault["match"] in name:
                fault["times"] -= 1
                return fault
    return None


def any_for_requests() -> bool:
    """Whether any request is to go wrong, so that it has to be looked at."""
    return bool(_faults["request"])


def take_request(query: bytes, body: bytes) -> dict[str, Any] | None:
    """The fault that is to befall this request, used up."""
    text = unquote_plus(f"{query.decode('latin-1')} {body.decode('utf-8', 'replace')}")
    with _lock:
        for fault in _faults["request"]:
            if fault["times"] > 0 and re.search(fault["match"], text, re.DOTALL):
                fault["times"] -= 1
                return fault
    return None
