"""One yard for all tests of a module, on an interpreter that has the frameworks."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.framework_yard import LONG_S, FrameworkYard, framework_yard, reference_after
from tests.support.yard import live_yards

HAS_FRAMEWORKS = all(map(importlib.util.find_spec, ("torch", "jax", "tensorflow", "ray")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make frameworks` has another interpreter than the other tests, and more time."""
    for item in items:
        if "tests/frameworks" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(2 * LONG_S))
            if not HAS_FRAMEWORKS:
                item.add_marker(
                    pytest.mark.skip(reason="run by `make frameworks`, which makes what it needs")
                )


@pytest.fixture(scope="session")
def pair() -> Iterator[FrameworkYard]:
    """Two agents."""
    with framework_yard(2) as made:
        yield made


@pytest.fixture
def yard(pair: FrameworkYard) -> FrameworkYard:
    pair.emptied()
    return pair


@pytest.fixture(scope="session")
def alone() -> dict[str, float]:
    """Loss and accuracy without any framework."""
    return reference_after()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed test shows the logs of its yards."""
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed:
        for yard in live_yards():
            report.sections.append((f"yard {yard.state}", yard.logs()))
