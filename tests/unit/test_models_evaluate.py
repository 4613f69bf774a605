"""Evaluation without labelled data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from models import evaluate

ROOT = Path(__file__).resolve().parents[2]


def test_evaluation_without_data_says_that_it_was_skipped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.evaluate", "--data", str(tmp_path)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "SKIPPED" in done.stderr and str(tmp_path) in done.stderr


def test_grouping_in_batches_follows_merges() -> None:
    rows = [{"i": i, "time": 0.02 * i, "src": "web", "dst": "web", "name": "404"} for i in range(500)]
    whole, batched = evaluate.group(rows), evaluate.group(rows, batch=37)
    assert len(whole.clusters) == len(batched.clusters) == 1
    assert set(whole.where) == {whole.clusters[0]["cluster_id"]}
    assert sorted(batched.clusters[0]["alert_ids"]) == list(range(500))


def test_order_is_not_learned_from_the_report_that_is_left_out(tmp_path: Path) -> None:
    nodes = [
        {"n": 0, "technique": "T1021", "tactic": "TA0008"},
        {"n": 1, "technique": "T1003", "tactic": "TA0006"},
        {"n": 2, "technique": None, "tactic": None},
    ]
    backwards = [
        {"flow": f"A report of many variants {n}", "nodes": nodes, "edges": [[0, 1], [1, 2]]} for n in range(400)
    ]
    flows = [*backwards, {"flow": "Another", "nodes": nodes, "edges": [[1, 0]]}]
    tactics = [{"id": "TA0008", "name": "Lateral Movement"}, {"id": "TA0006", "name": "Credential Access"}]
    for name, text in [
        ("attackflow/flows.jsonl", "\n".join(map(json.dumps, flows))),
        ("technique/attack_index.json", json.dumps({"tactics": tactics})),
    ]:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    evaluation = evaluate.Evaluation.__new__(evaluate.Evaluation)
    evaluation.data = tmp_path / "data"
    direct, reachable = evaluation.order()
    # The variants are judged by the other flow, the other flow by the variants: all are wrong.
    assert direct.value == reachable.value == "0.000"
    assert direct.detail.startswith("401 direct edges")


def test_spread_is_over_groups() -> None:
    assert evaluate.spread([[1.0, 0.0]] * 9) == (0.5, 0.5)
    low, high = evaluate.spread([[1.0] * 50, [0.0] * 50])
    assert (low, high) == (0.0, 1.0)
