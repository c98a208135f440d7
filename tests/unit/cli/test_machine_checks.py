"""What `yard doctor` says of this machine's packages."""

from __future__ import annotations

import tomllib

import pytest

from cli import checks
from modelyard.settings import load
from tests.support.yard import ROOT

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


@pytest.mark.parametrize("extra", checks.OPTIONAL)
def test_what_an_extra_brings_is_what_is_looked_for(extra: str) -> None:
    brought = {requirement.split(">=")[0] for requirement in EXTRAS[extra]}
    assert {names.split()[0] for names in checks.OPTIONAL[extra][1]} == brought


def test_missing_package_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checks.OPTIONAL, "models", ("looking into models", ("no-such-package", "numpy")))
    found = [finding for finding in checks.check_machine(load()) if finding.check == "dependencies"]
    [note] = [finding for finding in found if "no-such-package" in finding.message]
    assert note.status == checks.NOTE and note.next_step == "pip install 'modelyard[models]'"
    assert not [finding for finding in found if finding.status == checks.OK]
