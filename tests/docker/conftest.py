"""One deployment for all that runs in containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local import deploy
from tests import permissions
from tests.docker import lambda_image
from tests.docker.sam_local import ROOT, SamLocal
from tests.scenarios import Floor


@pytest.fixture(scope="session")
def floor() -> Iterator[Floor]:
    with permissions.deployed() as floor:
        floor.begin()
        yield floor


@pytest.fixture(scope="session")
def sam(floor: Floor) -> Iterator[SamLocal]:
    stand_in = lambda_image.ensure()
    with SamLocal(floor, deploy.build(ROOT), stand_in) as sam:
        yield sam
