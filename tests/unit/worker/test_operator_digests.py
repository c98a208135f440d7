"""What an agent says of an operator beside its signature: its effects, and the digest of its code."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from modelyard.operator.declaration import declared, describe

SOURCE = """
from modelyard.operator.declaration import operator

@operator(name="double", version="{version}", libraries={libraries})
def double(n: int) -> int:
    "Doubles."
    return n * {factor}
"""


def _digest(place: Path, monkeypatch: pytest.MonkeyPatch, **values: object) -> str:
    path = place / "sample_of_digests.py"
    path.write_text(SOURCE.format(**{"version": "1", "factor": 2, "libraries": (), **values}))
    module = ModuleType("sample_of_digests")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "sample_of_digests", module)
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    digest: str = describe(module.double)["code_digest"]
    return digest


def test_code_digest_changes_with_code_version_and_libraries_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # S1.3
    first = _digest(tmp_path, monkeypatch)
    assert first == _digest(tmp_path, monkeypatch)
    others = [
        _digest(tmp_path, monkeypatch, factor=3),
        _digest(tmp_path, monkeypatch, version="2"),
        _digest(tmp_path, monkeypatch, libraries=("msgspec",)),
        _digest(tmp_path, monkeypatch, libraries=("no-such-distribution",)),
    ]
    assert len({first, *others}) == 5


def test_code_digest_of_a_builtin_function_is_stable() -> None:
    import math

    assert describe_digest(math.gcd) == describe_digest(math.gcd) != describe_digest(math.lcm)


def describe_digest(function: object) -> str:
    from modelyard.operator.digests import code_digest

    of = declared(function)  # type: ignore[arg-type]
    return code_digest(of.function, of.name, of.version, of.libraries)
