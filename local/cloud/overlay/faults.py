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
"""

from __future__ import annotations

import threading
from typing import Any

KINDS = ("quota", "capacity", "internal", "model", "lost-event", "duplicate-event", "slow")

_transform: list[dict[str, Any]] = []
_lock = threading.Lock()


def replace(faults: dict[str, Any]) -> None:
    """Forget all faults and take these.

    Raises
    ------
    ValueError
        For a kind or a target that does not exist.
    """
    unknown = set(faults) - {"transform"} or {f.get("kind") for f in faults.get("transform", [])} - set(KINDS)
    if unknown:
        raise ValueError(f"unknown fault: {sorted(map(str, unknown))}; there are transform: {', '.join(KINDS)}")
    with _lock:
        _transform[:] = [{"match": "", "times": 1, **fault} for fault in faults.get("transform", [])]


def take(job_name: str, *kinds: str) -> dict[str, Any] | None:
    """The fault of one of these kinds that is to befall this job, used up."""
    with _lock:
        for fault in _transform:
            if fault["kind"] in kinds and fault["times"] > 0 and fault["match"] in job_name:
                fault["times"] -= 1
                return fault
    return None
