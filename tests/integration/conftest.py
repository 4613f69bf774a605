from collections.abc import Iterator

import pytest

from local.cloud import LocalCloud
from tests.integration.sandbox import Sandbox


@pytest.fixture(scope="session")
def local_cloud() -> Iterator[LocalCloud]:
    """One local cloud for all tests, with a model server of the tests."""
    with LocalCloud(model_server="tests.integration.model_server") as cloud:
        yield cloud


@pytest.fixture(scope="session")
def sandbox(local_cloud: LocalCloud) -> Sandbox:
    return Sandbox(local_cloud)
