"""What was asked of the local cloud, and what it holds: for tests that compare a plan with its execution.

``GET /_watchfloor/calls`` answers the last requests: who made it, the IAM action, the resource, whether it was allowed.
``GET /_watchfloor/state`` answers a digest of every resource by ``service/kind/name``.
"""

from __future__ import annotations

import collections
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from ministack.core import iam_evaluator

from local.cloud import anchors

MAX_CALLS = 20_000
# What changes by itself, or by being looked at: services, and fields of a resource.
_VOLATILE = ("cloudtrail", "sts")
_VOLATILE_FIELDS = ("LastAccessedDate",)

_calls: collections.deque[dict[str, Any]] = collections.deque(maxlen=MAX_CALLS)


def install() -> None:
    enforce = anchors.replace(
        "core.iam_evaluator:enforce",
        lambda access_key, action, service, region, resource_arn="*", service_context=None: _noted(
            enforce(access_key, action, service, region, resource_arn, service_context), action, resource_arn
        ),
    )


def _noted(refusal: Any, action: str, resource_arn: str) -> Any:
    caller = iam_evaluator.caller_arn()
    call = {"caller": caller, "action": action, "resource": resource_arn, "allowed": refusal is None}
    _calls.append(call)
    return refusal


def calls() -> list[dict[str, Any]]:
    return list(_calls)


def state() -> dict[str, str]:
    """A digest of every resource that a service holds."""
    found = {}
    for name, module in sorted(sys.modules.items()):
        service = name.removeprefix("ministack.services.")
        if not name.startswith("ministack.services.") or "." in service or service in _VOLATILE:
            continue
        get_state = getattr(module, "get_state", None)
        for kind, held in (get_state() if get_state else {}).items():
            for key, value in _entries(held):
                text = json.dumps(_still(value), sort_keys=True, default=_plain)
                found[f"{service}/{kind}/{key}"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


def _still(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if key not in _VOLATILE_FIELDS}


def _entries(held: Any) -> Iterator[tuple[str, Any]]:
    """The resources of a store by name; a value that is no store is one entry."""
    stores = getattr(held, "_data", held)
    if not isinstance(stores, Mapping):
        yield "", stores
        return
    for key, value in list(stores.items()):
        yield "/".join(map(str, key)) if isinstance(key, tuple) else str(key), value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return hashlib.sha256(value).hexdigest()
    if hasattr(value, "_data"):
        return {str(key): item for key, item in value._data.items()}
    if isinstance(value, set | frozenset | tuple | collections.deque):
        return sorted(map(str, value)) if isinstance(value, set | frozenset) else list(value)
    return vars(value) if hasattr(value, "__dict__") else str(value)
