"""BatchGetItem to the end: in hundreds, with what DynamoDB left over asked again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from watchfloor.clients.aws import passing_errors
from watchfloor.errors import TransientError

_AT_ONCE = 100  # BatchGetItem's limit
_TRIES = 8


def read_items(table: Any, key_name: str, keys: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Items of a boto3 Table that exist under the keys, in no order."""
    rest = iter(keys)
    while some := [{key_name: key} for key in islice(rest, _AT_ONCE)]:
        yield from _read(table, some)


def _read(table: Any, keys: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    for attempt in range(_TRIES):
        with passing_errors():
            answer = table.meta.client.batch_get_item(RequestItems={table.name: {"Keys": keys, "ConsistentRead": True}})
        yield from answer["Responses"].get(table.name, [])
        keys = answer.get("UnprocessedKeys", {}).get(table.name, {}).get("Keys", [])
        if not keys:
            return
        time.sleep(0.05 * 2**attempt)
    raise TransientError(f"table {table.name} is throttled")
