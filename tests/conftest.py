"""Tests marked `docker` are skipped where no engine answers; with WATCHFLOOR_REQUIRE_DOCKER=1 they fail there."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes share the tests by file; all that start a local cloud run in the same one, one after the other."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        group = "local cloud" if folder in ("e2e", "integration") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))


@cache
def docker_problem() -> str:
    """Why no container can be run; empty where one can."""
    if not shutil.which("docker"):
        return "docker is not on PATH"
    try:
        answer = subprocess.run(["docker", "version"], capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return "the Docker engine does not answer"
    return answer.stderr.strip()[-200:] if answer.returncode else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") and (problem := docker_problem()):
        if os.environ.get("WATCHFLOOR_REQUIRE_DOCKER") == "1":
            pytest.fail(f"a Docker engine is required, but: {problem}")
        pytest.skip(f"no Docker engine here: {problem}")
