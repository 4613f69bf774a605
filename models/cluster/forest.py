"""Clusters under construction: nodes that are merged, and the ids they get when they are first told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Forest:
    """Disjoint sets of nodes; each set is a cluster.

    A set's oldest node is its root, so that of two clusters that turn out to be one the older id survives.
    """

    parent: list[int] = field(default_factory=list)
    kind: list[str] = field(default_factory=list)
    born: list[tuple[float, str]] = field(default_factory=list)  # time of the first alert, and what it was
    ids: list[str | None] = field(default_factory=list)
    reason: list[str] = field(default_factory=list)

    def add(self, kind: str, time: float, seed: str, name: str | None = None, reason: str = "") -> int:
        """A new cluster of one node."""
        node = len(self.parent)
        self.parent.append(node)
        self.kind.append(kind)
        self.born.append((time, seed))
        self.ids.append(name)
        self.reason.append(reason)
        return node

    def root(self, node: int) -> int:
        parent = self.parent
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def merge(self, a: int, b: int) -> int:
        """Make one cluster of two; what it is, and why, follows the second."""
        a, b = self.root(a), self.root(b)
        kind, reason = self.kind[b], self.reason[b] or self.reason[a]
        if self._age(b) < self._age(a):
            a, b = b, a
        self.parent[b] = a
        self.kind[a], self.reason[a] = kind, reason
        return a

    def _age(self, node: int) -> tuple[bool, float, str]:
        return (self.ids[node] is None, *self.born[node])

    def name(self, node: int, number: int) -> str:
        """Give a cluster its id; `number` is unique in the stream, so that no id comes twice."""
        time, seed = self.born[node]
        digest = hashlib.sha256(f"{number}\0{time!r}\0{seed}".encode("utf-8", "surrogatepass")).hexdigest()
        self.ids[node] = f"{self.kind[node]}-{digest[:16]}"
        return self.ids[node] or ""

    def row(self, node: int) -> list[Any]:
        """A cluster as it is kept in the state."""
        return [self.ids[node], self.kind[node], *self.born[node], self.reason[node]]
