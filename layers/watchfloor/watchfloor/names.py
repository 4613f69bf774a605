"""The distinct alert names of a run: on disk, because a file may hold millions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

_AT_ONCE = 1_000


class DistinctNames:
    """A set of names in a file below `folder`, in bounded memory; each is known or not."""

    def __init__(self, folder: Path) -> None:
        self._database = sqlite3.connect(folder / "names.sqlite", isolation_level=None)
        # The file lives as long as this object: nothing to recover.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE names (name TEXT PRIMARY KEY, is_known INTEGER) WITHOUT ROWID")

    def add(self, names: Iterable[str]) -> None:
        self._database.executemany("INSERT OR IGNORE INTO names VALUES (?, 0)", ((name,) for name in names))

    def groups(self) -> Iterator[list[str]]:
        """All names in order, some at a time."""
        last = ""
        query = "SELECT name FROM names WHERE name > ? ORDER BY name LIMIT ?"
        while group := [name for (name,) in self._database.execute(query, (last, _AT_ONCE))]:
            yield group
            last = group[-1]

    def mark_known(self, names: Iterable[str]) -> None:
        self._database.executemany("UPDATE names SET is_known = 1 WHERE name = ?", ((name,) for name in names))

    def unknown(self) -> Iterator[str]:
        """Names that were not marked, in order."""
        for (name,) in self._database.execute("SELECT name FROM names WHERE is_known = 0 ORDER BY name"):
            yield name

    def close(self) -> None:
        self._database.close()
