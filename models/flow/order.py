"""Which technique comes first: learned from attack flows that analysts drew.

Each technique has a place between 0 (attacks begin with it) and 1 (they end with it): a Bradley-Terry model over the
technique, its parent and its tactics, fitted by ``train.py`` to every pair of steps of which one leads to the other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

Json = dict[str, Any]
MODEL = Path(__file__).with_name("order.json")


@functools.cache
def load() -> Json:
    return orjson.loads(MODEL.read_bytes())


def strength(technique: str, model: Mapping[str, Any] | None = None) -> float:
    """How early a technique comes; only differences mean something, as log odds."""
    model = load() if model is None else model
    parent = technique.split(".")[0]
    tactics = model["tactics"].get(technique) or model["tactics"].get(parent) or ()
    own = model["technique"].get(technique, 0.0) + model["parent"].get(parent, 0.0)
    return own + sum(model["tactic"].get(tactic, 0.0) for tactic in tactics) / max(1, len(tactics))


def comes_first(a: str, b: str, model: Mapping[str, Any] | None = None) -> float:
    """Probability that technique a leads to technique b rather than the other way round."""
    return 1.0 / (1.0 + math.exp(strength(b, model) - strength(a, model)))


def place(techniques: Iterable[str]) -> float:
    """Where in an attack a cluster with these techniques stands, 0 to 1; .5 when they do not tell."""
    strengths = [strength(technique) for technique in techniques]
    return 1.0 / (1.0 + math.exp(sum(strengths) / len(strengths))) if strengths else 0.5
