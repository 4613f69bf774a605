"""A deployed pipeline for each test; `@pytest.mark.parametrize("cloud", [{...}], indirect=True)` sets parameters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.machines.harness import Cloud


@pytest.fixture
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with Cloud(**getattr(request, "param", {})) as cloud:
        yield cloud
