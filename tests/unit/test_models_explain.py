"""`python -m models.cluster` says why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "models.cluster", *arguments]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


def request(tmp_path: Path) -> str:
    rows = [
        {"i": i, "time": 60.0 * i, "src": "x", "dst": "web", "name": name} for i, name in enumerate(("scan", "sudo"))
    ]
    path = tmp_path / "request.json"
    path.write_bytes(orjson.dumps({"alerts": rows, "state": None, "final": True}))
    return str(path)


def test_explanation_names_cluster_and_link(tmp_path: Path) -> None:
    done = run(request(tmp_path), "--alert", "1")
    assert done.returncode == 0
    assert done.stdout.startswith("1\tstep-") and "shares web with a step 60 s away" in done.stdout


def test_unknown_alert_and_file_are_errors(tmp_path: Path) -> None:
    assert "no alert 7" in run(request(tmp_path), "--alert", "7").stderr
    assert run(str(tmp_path / "none.json")).returncode == 1
