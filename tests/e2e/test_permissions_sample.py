"""Some of what `make test-permissions` checks; WATCHFLOOR_SEED says which, and .ci/run has another one each commit."""

from __future__ import annotations

import os
import sys

from tests import permissions, scenarios
from tests.e2e.pipeline import Pipeline

COUNT = 6


def test_a_permission_taken_away_is_missed(pipeline: Pipeline) -> None:
    floor = scenarios.Floor(pipeline.deployment)
    scenarios.prepare(floor)
    granted = [permission for permission in permissions.permissions(floor) if not permission.exempt]
    taken = permissions.sample(granted, COUNT, os.environ.get("WATCHFLOOR_SEED", "1"))
    outcomes = permissions.check(floor, taken, lambda text: print(text, file=sys.stderr))
    assert [outcome.permission.title(floor.names) for outcome in outcomes if not outcome.missed] == []
