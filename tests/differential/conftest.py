"""All servers for all tests; minutes, so only where they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.differential.servers import all_servers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/differential" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(600))
            if not os.environ.get("DIFFERENTIAL"):
                item.add_marker(
                    pytest.mark.skip(reason="run by `make differential`, which installs other servers")
                )


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with all_servers(tmp_path_factory.mktemp("models")) as made:
        yield made
