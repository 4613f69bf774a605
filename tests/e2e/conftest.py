"""One local cloud with the application deployed, IAM enforced, for all tests of this folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack
from unittest.mock import patch

import pytest

from local import sandbox
from tests.e2e.pipeline import Pipeline
from tests.e2e.triage import Triage

CHUNK_SIZE = 400
PARAMETERS = {
    "ChunkSize": str(CHUNK_SIZE),
    # Enough for all tests together; the limits have tests of their own.
    "TriageContextWaitSeconds": "1",
    "TriageIncidentsPerHour": "1000",
    "LlmDailyTokens": "100000000",
}


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    log = tmp_path_factory.mktemp("cloud") / "cloud.log"
    with ExitStack() as stack:
        # Waits between retries take a fiftieth of their time here, and here only; everything else is as deployed.
        with patch.dict(os.environ, SFN_WAIT_SCALE="0.02"):
            fresh = sandbox.fresh(PARAMETERS, logging.getLogger(__name__).info, log=log)
            deployment = stack.enter_context(fresh)
        yield Pipeline(deployment)


@pytest.fixture(scope="session")
def triage(pipeline: Pipeline) -> Triage:
    """Error triage of the same deployment."""
    return Triage(pipeline)


@pytest.fixture(autouse=True)
def _no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "pipeline" in request.fixturenames:
        request.getfixturevalue("pipeline").break_transforms()
