"""What `make demo-triage` shows."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console


def show(progress: Console, results: Console, folder: Path) -> None:
    """Run the demo and print what it shows."""
