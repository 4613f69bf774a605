"""One local cloud with the application deployed, IAM enforced, for all tests of this folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from local import sandbox
from tests.e2e.pipeline import Pipeline

CHUNK_SIZE = 400


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    log = tmp_path_factory.mktemp("cloud") / "cloud.log"
    with pytest.MonkeyPatch.context() as patch:
        # Waits between retries take a fiftieth of their time; everything else is as deployed.
        patch.setenv("SFN_WAIT_SCALE", "0.02")
        with sandbox.fresh({"ChunkSize": str(CHUNK_SIZE)}, logging.getLogger(__name__).info, log=log) as deployment:
            yield Pipeline(deployment)


@pytest.fixture(autouse=True)
def _no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "pipeline" in request.fixturenames:
        request.getfixturevalue("pipeline").break_transforms()
