"""Train the technique model on labelled texts.

    python -m models.technique.train [--data DIR]

Writes weights.npz beside this file; only weights and vocabulary go in, no text (see NOTICE). Needs scipy besides numpy.
The calibration comes from models that were trained without the source that they are asked about.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from scipy import sparse

from models.technique.features import features, is_piece, stem, words
from models.technique.predict import WEIGHTS, Model

Row = dict[str, Any]
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
# How much a text of each source counts; sentences about attackers and network signatures are further from alert names.
SOURCES = {
    "sigma": 1.0,
    "splunk": 1.0,
    "chronicle": 1.0,
    "panther": 1.0,
    "falco": 1.0,
    "et_open": 0.25,
    "attack_technique": 1.0,
    "attack_detection_strategy": 1.0,
    "attack_procedure": 0.2,
    "tram2_single": 0.15,
}
HELD_OUT = ("sigma", "splunk", "chronicle", "panther")
DESCRIPTION_WEIGHT = 0.5  # a name with its description is a second, longer view of the same rule
PIECE_WEIGHT = 0.4  # of pieces of words against whole words
SEEN_TIMES = 2  # rarer features are left out
EPOCHS, BATCH, RATE = 8, 512, 0.5
SUB_SMOOTHING, SUB_WORDS = 0.5, 60


@dataclass
class Examples:
    """Texts with their parent techniques (as columns) and weights."""

    texts: list[str]
    labels: list[list[int]]
    weights: np.ndarray


def read_texts(data: Path) -> list[Row]:
    """All labelled texts, with the live techniques only; revoked ids teach nothing."""
    folder = data / "technique"
    live = live_techniques(data)
    rows = []
    for source in SOURCES:
        for line in (folder / f"{source}.jsonl").read_text().splitlines():
            row = json.loads(line)
            row["live"] = [technique for technique in row["techniques"] if technique in live]
            rows.append(row)
            parent = live.get(str(row["id"]).split(".")[0])
            if source == "attack_technique" and parent and parent["id"] != row["id"]:
                rows.append({**row, "text": f"{parent['name']} {row['text']}", "description": ""})
    return rows


def live_techniques(data: Path) -> dict[str, Row]:
    index = json.loads((data / "technique" / "attack_index.json").read_text())["techniques"]
    return {row["id"]: row for row in index if not row["revoked"] and not row["deprecated"]}


def fit(rows: Iterable[Row], slope: float = 1.0, offset: float = 0.0) -> Model:
    """Train on labelled texts: logistic regression per parent technique, and words that tell sub-techniques apart."""
    rows = [row for row in rows if row["live"]]
    techniques = sorted({technique.split(".")[0] for row in rows for technique in row["live"]})
    examples = _examples(rows, {technique: column for column, technique in enumerate(techniques)})
    counts = [features(text) for text in examples.texts]
    seen = Counter(feature for count in counts for feature in count)
    vocabulary = sorted(feature for feature, times in seen.items() if times >= SEEN_TIMES)
    columns = {feature: row for row, feature in enumerate(vocabulary)}
    idf = np.array(
        [
            (math.log((1 + len(counts)) / (1 + seen[feature])) + 1) * (PIECE_WEIGHT if is_piece(feature) else 1.0)
            for feature in vocabulary
        ],
        np.float32,
    )
    weights, bias = _logistic(_matrix(counts, columns, idf), examples, len(techniques))
    scale = np.maximum(np.abs(weights).max(1), 1e-6) / 127.0
    return Model(
        columns=columns,
        idf=idf.astype(np.float16).astype(np.float32),
        weights=np.rint(weights / scale[:, None]).astype(np.int8),
        scale=scale.astype(np.float16).astype(np.float32),
        bias=bias,
        techniques=techniques,
        subs=_subs(rows),
        slope=slope,
        offset=offset,
    )


def _examples(rows: list[Row], column_of: dict[str, int]) -> Examples:
    texts, labels, weights = [], [], []
    for row in rows:
        columns = sorted({column_of[technique.split(".")[0]] for technique in row["live"]})
        weight = SOURCES[row["source"]]
        views = [(row["text"], weight)]
        if row["description"]:
            views.append((f"{row['text']} {row['description']}", weight * DESCRIPTION_WEIGHT))
        for text, view_weight in views:
            texts.append(text)
            labels.append(columns)
            weights.append(view_weight)
    return Examples(texts, labels, np.array(weights, np.float32))


def _matrix(counts: list[Counter[str]], columns: dict[str, int], idf: np.ndarray) -> sparse.csr_matrix:
    """TF-IDF with rows of length 1."""
    starts, indexes, values = [0], [], []
    for count in counts:
        for feature, times in count.items():
            column = columns.get(feature)
            if column is not None:
                indexes.append(column)
                values.append((1.0 + math.log(times)) * idf[column])
        starts.append(len(indexes))
    matrix = sparse.csr_matrix(
        (np.array(values, np.float32), np.array(indexes, np.int32), np.array(starts)), (len(counts), len(columns))
    )
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    norms[norms == 0] = 1.0
    return (sparse.diags((1.0 / norms).astype(np.float32)) @ matrix).tocsr()


def _logistic(matrix: sparse.csr_matrix, examples: Examples, width: int) -> tuple[np.ndarray, np.ndarray]:
    """One-vs-rest log loss by Adagrad with one step size per feature; only rows that a batch touches are updated."""
    dice = np.random.default_rng(0)
    weights = np.zeros((matrix.shape[1], width), np.float32)
    history = np.full((matrix.shape[1], 1), 1e-2, np.float32)
    bias, bias_history = np.full(width, -5.0, np.float32), np.full(width, 1e-2, np.float32)
    for epoch in range(EPOCHS):
        rate = RATE * (1.0 - 0.9 * epoch / EPOCHS)
        order = dice.permutation(matrix.shape[0])
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = matrix[chosen]
            active, place = np.unique(batch.indices, return_inverse=True)
            batch = sparse.csr_matrix((batch.data, place, batch.indptr), (len(chosen), len(active)))
            wanted = np.zeros((len(chosen), width), np.float32)
            for row, example in enumerate(chosen.tolist()):
                wanted[row, examples.labels[example]] = 1.0
            here = weights[active]
            error = 1.0 / (1.0 + np.exp(-(batch @ here + bias))) - wanted
            error *= examples.weights[chosen][:, None] * (100.0 / BATCH)
            gradient = batch.T @ error
            history[active] += (gradient * gradient).mean(1, keepdims=True)
            weights[active] = here - rate * gradient / np.sqrt(history[active])
            slant = error.sum(0) * (BATCH / len(chosen))
            bias_history += slant * slant
            bias -= 0.1 * rate * slant / np.sqrt(bias_history)
    return weights, bias


def _subs(rows: list[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """Words that tell a sub-technique from its siblings, with their log odds."""
    seen: dict[str, dict[str, Counter[str]]] = {}
    totals: dict[str, Counter[str]] = {}  # counts are weighted
    for row in rows:
        weight = SOURCES[row["source"]]
        for technique in row["live"]:
            parent = technique.split(".")[0]
            totals.setdefault(parent, Counter()).update({technique: weight})
            for word in {stem(word) for word in words(row["text"])}:
                seen.setdefault(parent, {}).setdefault(word, Counter()).update({technique: weight})
    found: dict[str, dict[str, dict[str, float]]] = {}
    for parent, by_word in seen.items():
        ranked = []
        for word, with_word in by_word.items():
            for sub, count in with_word.items():
                if sub == parent or count < 1:
                    continue
                others, rest = sum(with_word.values()) - count, sum(totals[parent].values()) - totals[parent][sub]
                here = (count + SUB_SMOOTHING) / (totals[parent][sub] + 2 * SUB_SMOOTHING)
                there = (others + SUB_SMOOTHING) / (rest + 2 * SUB_SMOOTHING)
                odds = math.log(here / there)
                if odds > 0.7:
                    ranked.append((sub, odds * math.sqrt(count), word, round(odds, 2)))
        kept: Counter[str] = Counter()
        for sub, _, word, odds in sorted(ranked, key=lambda item: (-item[1], item[2], item[0])):
            if kept[sub] < SUB_WORDS:
                kept[sub] += 1
                found.setdefault(parent, {}).setdefault(word, {})[sub] = odds
    return found


def calibrate(scored: list[tuple[float, bool]]) -> tuple[float, float]:
    """Slope and offset of the logistic that turns a margin into the chance to be right."""
    margins = np.array([margin for margin, _ in scored])
    design = np.stack([margins, np.ones(len(margins))], 1)
    right = np.array([float(hit) for _, hit in scored])
    fitted = np.array([1.0, 0.0])
    for _ in range(30):
        chance = 1.0 / (1.0 + np.exp(-design @ fitted))
        curvature = (design.T * (chance * (1.0 - chance))) @ design + 1e-6 * np.eye(2)
        fitted -= np.linalg.solve(curvature, design.T @ (chance - right))
    return round(float(fitted[0]), 4), round(float(fitted[1]), 4)


def margins_of(model: Model, rows: Iterable[Row]) -> list[tuple[float, bool]]:
    """The margins of the best techniques of texts, and whether they are right."""
    scored = []
    for row in rows:
        margins = model.margins(row["text"])
        if margins is not None and row["live"]:
            right = {technique.split(".")[0] for technique in row["live"]}
            for column in np.argsort(-margins)[:5].tolist():
                scored.append((float(margins[column]), model.techniques[column] in right))
    return scored


def save(model: Model, path: Path = WEIGHTS) -> None:
    """Write a model as one compressed file without pickled objects."""
    vocabulary = sorted(model.columns, key=lambda feature: model.columns[feature])
    meta = {name: getattr(model, name) for name in ("techniques", "subs", "slope", "offset")}
    np.savez_compressed(
        path,
        vocabulary=np.frombuffer("\n".join(vocabulary).encode(), np.uint8),
        idf=model.idf.astype(np.float16),
        weights=model.weights,
        scale=model.scale.astype(np.float16),
        bias=model.bias,
        meta=np.frombuffer(orjson.dumps(meta, option=orjson.OPT_SORT_KEYS), np.uint8),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    rows = read_texts(parser.parse_args().data)
    scored = []
    for source in HELD_OUT:
        model = fit(row for row in rows if row["source"] != source)
        scored += margins_of(model, (row for row in rows if row["source"] == source))
        print(f"trained without {source}", flush=True)
    model = fit(rows, *calibrate(scored))
    save(model)
    print(f"{len(model.columns):,} features, {len(model.techniques)} techniques -> {WEIGHTS.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
