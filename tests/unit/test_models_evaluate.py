"""Evaluation without labelled data."""

from __future__ import annotations

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
