"""A node that reaches no package index makes environments of what its own Python has (S0.6, S2.4)."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from services.agent.preparation import installed
from services.agent.preparation.environments import EnvironmentFailed, Environments

pytestmark = pytest.mark.asyncio
NOWHERE = "http://127.0.0.1:9/simple"


@pytest.fixture
def environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environments:
    monkeypatch.setenv("UV_DEFAULT_INDEX", NOWHERE)
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    return Environments(tmp_path / "environments")


def said_by(python: Path, code: str) -> str:
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


async def test_what_the_node_has_is_enough_where_there_is_no_index(environments: Environments) -> None:
    await environments.build("key", "structlog>=25\nmsgspec  # comments are left out\n\n", is_compiled=True)
    python = environments.python("key")
    where = said_by(python, "import msgspec, structlog; print(structlog.__file__)")
    assert where.startswith(str(environments.path("key")))
    assert said_by(python, "import importlib.util as u; print(u.find_spec('grpc'))") == "None"
    lock = (environments.path("key") / "requirements.lock").read_text().splitlines()
    assert f"structlog=={metadata.version('structlog')}" in lock
    assert list(environments.path("key").rglob("structlog/__pycache__/*.pyc"))


async def test_copies_are_the_environments_own(environments: Environments) -> None:
    await environments.build("key", "structlog\n")
    copied = installed.site_packages(environments.path("key")) / "structlog" / "__init__.py"
    own = Path(str(metadata.distribution("structlog").locate_file("structlog/__init__.py")))
    assert copied.stat().st_ino != own.stat().st_ino
    assert copied.read_bytes() == own.read_bytes()


@pytest.mark.parametrize(
    ("requirements", "why"),
    [
        ("structlog<1\n", "structlog<1 is wanted"),
        ("no-such-package-anywhere\n", "no-such-package-anywhere is not installed"),
        ("structlog @ http://127.0.0.1:9/structlog.whl\n", "names an address"),
        ("--extra-index-url http://127.0.0.1:9\nstructlog\n", "--extra-index-url"),
    ],
)
async def test_what_the_node_lacks_is_told_beside_what_the_index_said(
    environments: Environments, requirements: str, why: str
) -> None:
    with pytest.raises(EnvironmentFailed) as caught:
        await environments.build("key", requirements)
    assert "cannot be installed" in str(caught.value)
    assert why in str(caught.value)
    assert not environments.path("key").exists()


async def test_extras_and_what_packages_need_come_along() -> None:
    names = {one.metadata["Name"].lower() for one in installed.satisfying("scikit-learn>=1.6\n")}
    assert {"scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl"} <= names
    assert "pytest" not in names
