"""Some of what `make test-permissions` checks; WATCHFLOOR_SEED says which, and .ci/run has another one each commit."""

from __future__ import annotations

import os
import sys

from tests import permissions
from tests.e2e.pipeline import Pipeline
from tests.scenarios import Floor

COUNT = 6


def test_a_permission_taken_away_is_missed(pipeline: Pipeline) -> None:
    floor = Floor(pipeline.deployment)
    for prepare in permissions.PREPARED:
        prepare(floor)
    granted = [permission for permission in permissions.permissions(floor) if not permission.exempt]
    taken = permissions.sample(granted, COUNT, os.environ.get("WATCHFLOOR_SEED", "1"))
    outcomes = permissions.check(floor, taken, lambda text: print(text, file=sys.stderr))
    assert [outcome.permission.title(floor.names) for outcome in outcomes if not outcome.missed] == []
