"""Which of two steps led to the other: what techniques need and give, weighed by attack flows that analysts drew.

A technique needs something (credentials, a way in) and gives something (code that runs, data). Where one gives what the
other needs, or is known to lead to it at once, it came first; where neither tells, so does the place that steps with these
needs and gifts have in known attacks. ``prerequisites.json`` is knowledge of ATT&CK, written by hand: none of it comes from
the flows. ``train.py`` learns the weights.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

Json = dict[str, Any]
Vector = npt.NDArray[np.float64]
MODEL = Path(__file__).with_name("order.json")
PREREQUISITES = Path(__file__).with_name("prerequisites.json")
MAX_TECHNIQUES = 5


class Step(NamedTuple):
    """What is known of a cluster: its techniques, most frequent first, and the tactics where no technique is known."""

    techniques: tuple[str, ...]
    tactics: tuple[str, ...] = ()


def step(techniques: Iterable[str], tactics: Iterable[str] = ()) -> Step:
    """A step of an attack; tactics by name ("Lateral Movement") or short name ("lateral-movement")."""
    short = tuple(tactic.lower().replace(" ", "-") for tactic in tactics)
    return Step(tuple(techniques)[:MAX_TECHNIQUES], short)


@functools.cache
def prerequisites() -> Json:
    return orjson.loads(PREREQUISITES.read_bytes())


@functools.cache
def load() -> Json:
    return orjson.loads(MODEL.read_bytes())


@functools.cache
def rarity() -> dict[str, float]:
    """All facts, with a weight that is the higher, the fewer techniques give them."""
    known = [*prerequisites()["techniques"].values(), *prerequisites()["tactics"].values()]
    given = Counter(fact for row in prerequisites()["techniques"].values() for fact in row["gives"])
    return {fact: given[fact] ** -0.5 for fact in sorted({f for row in known for f in (*row["needs"], *row["gives"])})}


@dataclass(frozen=True)
class Known:
    """What the table tells of a step; each fact 0 to 1."""

    needs: Vector
    gives: Vector
    offers: Vector  # what it gives, by rarity
    parents: list[str]
    leads_to: Mapping[str, float]  # technique -> share of the step's techniques that lead to it at once


@functools.lru_cache(maxsize=10_000)
def known(of: Step) -> Known:
    """What a step needs, gives and leads to: by its techniques and by their tactics in ATT&CK."""
    table = prerequisites()
    parents = sorted({technique.split(".")[0] for technique in of.techniques})
    rows = [table["techniques"][parent] for parent in parents if parent in table["techniques"]]
    usual = {"needs": (), "gives": (), "tactics": of.tactics}
    vectors = [_vectors(row) for row in rows or [usual]]
    needs, gives = (np.mean([pair[side] for pair in vectors], axis=0) for side in (0, 1))
    followers = Counter(name for row in rows for name in row["leads_to"])
    leads_to = {name: count / len(rows) for name, count in followers.items()}
    return Known(needs, gives, gives * np.array(list(rarity().values())), parents, leads_to)


def _vectors(row: Json) -> tuple[Vector, Vector]:
    """Needs and gifts of a technique: its own, and on average those of its tactics."""
    table = prerequisites()["tactics"]
    tactics = [table[tactic] for tactic in row["tactics"] if tactic in table]
    sides = []
    for side in ("needs", "gives"):
        amounts = [
            (fact in row[side]) + sum(fact in t[side] for t in tactics) / max(1, len(tactics)) for fact in rarity()
        ]
        sides.append(np.minimum(amounts, 1.0))
    return sides[0], sides[1]


def _leads(a: Known, b: Known) -> float:
    """How much a step is known to lead to another at once."""
    return sum(a.leads_to.get(parent, 0.0) for parent in b.parents) / max(1, len(b.parents))


def evidence(first: Step, second: Step) -> Vector:
    """What speaks for one step before another; the same with the other sign for the other way round.

    First how much more it gives of what the other needs than the other way round, then how much more it is known to lead to
    it, then by how much they differ in each need and in each gift.
    """
    a, b = known(first), known(second)
    direct = np.array([a.offers @ b.needs - b.offers @ a.needs, _leads(a, b) - _leads(b, a)])
    return np.concatenate((direct, a.needs - b.needs, a.gives - b.gives))


def weights(model: Mapping[str, Any]) -> Vector:
    """The weights of a model as one vector, in the order of `evidence`."""
    sides = [model[side].get(fact, 0.0) for side in ("needs", "gives") for fact in rarity()]
    return np.array([model["readies"], model["leads_to"], *sides])


@functools.cache
def _loaded() -> Vector:
    return weights(load())


@functools.lru_cache(maxsize=100_000)
def comes_first(a: Step, b: Step) -> float:
    """Probability that step a led to step b rather than the other way round; .5 when nothing tells."""
    return 1.0 / (1.0 + math.exp(-float(evidence(a, b) @ _loaded())))
