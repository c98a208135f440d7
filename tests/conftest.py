"""For every test: no setting of the developer's leaks in, nothing of the test leaks out."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.support.leaks import held, leaked_since, leaked_tasks

# ONNX Runtime would report to its maker what tests load.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("YARD_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest, no_settings_of_the_developer: None) -> Iterator[None]:
    """Set up first, so torn down after the test's own fixtures; those of a module are older and pass."""
    before = held()
    if request.node.get_closest_marker("asyncio") is not None:
        request.getfixturevalue("no_task_left_behind")
    yield
    leaks = leaked_since(before)
    assert not leaks, "the test left behind: " + "; ".join(leaks)


@pytest_asyncio.fixture
async def no_task_left_behind() -> AsyncIterator[None]:
    yield
    leaks = await leaked_tasks()
    assert not leaks, "the test left behind: " + "; ".join(leaks)
