"""Yards for the proofs on real processes, and what their logs said when a proof fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.yard import Yard, live_yards, new_yard


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    """Two nodes, shared by the tests of a module; when they are over nothing of it may be left."""
    with new_yard() as made:
        yield made
        result = made.cli("down")
        assert result.code == 0, result.stderr
        assert not made.left_over(), made.left_over()


@pytest.fixture
def own_yard() -> Iterator[Yard]:
    """Two nodes for one test that breaks things."""
    with new_yard() as made:
        yield made
        result = made.cli("down")
        assert result.code == 0, result.stderr
        assert not made.left_over(), made.left_over()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test shows the logs of its yards."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        for yard in live_yards():
            report.sections.append((f"yard {yard.state}", yard.logs()))
