"""Some of what `make test-permissions` checks; WATCHFLOOR_SEED says which, and .ci/run has another one each commit."""

from __future__ import annotations

import json
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


def test_a_permission_that_nothing_needs_is_found(pipeline: Pipeline) -> None:
    floor = Floor(pipeline.deployment)
    place = {"RoleName": floor.roles["TestEndpoint"], "PolicyName": "more-than-it-needs"}
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    floor.iam.put_role_policy(**place, PolicyDocument=document)
    try:
        added = [found for found in permissions.permissions(floor) if found.policy == place["PolicyName"]]
        (outcome,) = permissions.check(floor, added, lambda text: print(text, file=sys.stderr))
    finally:
        floor.iam.delete_role_policy(**place)
    assert not outcome.passed
