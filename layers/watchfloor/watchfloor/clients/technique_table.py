"""What was learned about alert names: the techniques that the technique model gave them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from typing import Any

import orjson

from watchfloor.clients.aws import passing_errors
from watchfloor.clients.batch_read import read_items


def name_hash(name: str) -> str:
    """SHA-256 of the stripped name."""
    return hashlib.sha256(name.strip().encode()).hexdigest()


class TechniqueTable:
    """Key `name_hash`; `techniques` holds `[{"id", "score"}]` as JSON, best first.

    Parameters
    ----------
    table
        boto3 DynamoDB Table resource.
    retention_seconds
        After this time a name is asked again, so that a better model can answer it.
    """

    def __init__(self, table: Any, retention_seconds: int = 90 * 86_400) -> None:
        self._table = table
        self._retention_seconds = retention_seconds

    def look_up(self, names: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
        """Scored techniques of those names that are known."""
        name_of = {name_hash(name): name for name in names}
        return {
            name_of[item["name_hash"]]: orjson.loads(item["techniques"])
            for item in read_items(self._table, "name_hash", name_of)
        }

    def remember(self, answers: Iterable[tuple[str, list[dict[str, Any]]]], source: str) -> int:
        """Store the model's answers by name, and return how many; a name's newest answer counts."""
        now = int(time.time())
        count = 0
        with passing_errors(), self._table.batch_writer(overwrite_by_pkeys=["name_hash"]) as writer:
            for name, techniques in answers:
                count += 1
                writer.put_item(
                    Item={
                        "name_hash": name_hash(name),
                        "name": name[:1_000],
                        "techniques": orjson.dumps(techniques).decode(),
                        "source": source,
                        "updated_at": now,
                        "expires_at": now + self._retention_seconds,
                    }
                )
        return count
