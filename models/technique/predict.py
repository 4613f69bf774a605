"""Alert name -> its five best ATT&CK techniques, by a linear model over words and pieces of words."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.technique.features import features, stem, words

WEIGHTS = Path(__file__).with_name("weights.npz")
BEST = 5
SURE_OF_SUB = 1.5  # log odds from which a sub-technique is named instead of its parent


@dataclass
class Model:
    """A trained model.

    Attributes
    ----------
    columns, idf
        Feature -> its row in `weights`, and what an occurrence counts.
    weights, scale, bias
        Quantised weights (features x techniques), the size of one step per feature, and the bias per technique.
    techniques
        Parent techniques, in the order of the columns of `weights`.
    subs
        Parent -> word -> sub-technique -> log odds of the sub-technique when the word occurs.
    slope, offset
        Calibration: the score is the logistic of slope * margin + offset.
    """

    columns: dict[str, int]
    idf: np.ndarray
    weights: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    techniques: list[str]
    subs: dict[str, dict[str, dict[str, float]]]
    slope: float
    offset: float

    def margins(self, text: str) -> np.ndarray | None:
        """One number per technique, or None when nothing in the text is known."""
        counts = features(text)
        known = [(self.columns[feature], count) for feature, count in counts.items() if feature in self.columns]
        if not known:
            return None
        rows = np.fromiter((row for row, _ in known), np.int64, len(known))
        values = np.fromiter((1.0 + math.log(count) for _, count in known), np.float32, len(known)) * self.idf[rows]
        values *= self.scale[rows] / np.sqrt(np.dot(values, values))
        return values @ self.weights[rows].astype(np.float32) + self.bias

    def best(self, text: str) -> list[dict[str, Any]]:
        """The best techniques of one text."""
        margins = self.margins(text)
        if margins is None:
            return []
        top = np.argpartition(-margins, BEST)[:BEST]
        top = top[np.lexsort((top, -margins[top]))]
        answers = []
        for column in top.tolist():
            score = 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, self.slope * float(margins[column]) + self.offset))))
            answers.append({"id": self._sub(self.techniques[column], text), "score": round(score, 4)})
        return answers

    def _sub(self, parent: str, text: str) -> str:
        """The sub-technique that the words name, or else the parent."""
        known = self.subs.get(parent)
        if not known:
            return parent
        odds: dict[str, float] = {}
        for word in {stem(word) for word in words(text)}:
            for sub, value in known.get(word, {}).items():
                odds[sub] = odds.get(sub, 0.0) + value
        sub = max(sorted(odds), key=lambda name: odds[name], default=parent)
        return sub if odds.get(sub, 0.0) >= SURE_OF_SUB else parent


@functools.cache
def load() -> Model:
    """The model in the repository."""
    import orjson

    with np.load(WEIGHTS, allow_pickle=False) as stored:
        meta = orjson.loads(stored["meta"].tobytes())
        vocabulary = stored["vocabulary"].tobytes().decode().split("\n")
        return Model(
            columns={feature: row for row, feature in enumerate(vocabulary)},
            idf=stored["idf"].astype(np.float32),
            weights=stored["weights"],
            scale=stored["scale"].astype(np.float32),
            bias=stored["bias"],
            techniques=meta["techniques"],
            subs=meta["subs"],
            slope=meta["slope"],
            offset=meta["offset"],
        )


def predict(names: Iterable[str], model: Model | None = None) -> list[list[dict[str, Any]]]:
    """Best techniques of each name.

    Parameters
    ----------
    names
        Alert names, in any language and length; the first 400 characters count.
    model
        Another than the one in the repository.

    Returns
    -------
    list of list of dict
        Per name up to five ``{"id", "score"}``, best first, each of another parent technique. The score is the calibrated
        chance that the technique is right. A name without a known word or piece of one has none.
    """
    model = model or load()
    return [model.best(name) for name in names]
