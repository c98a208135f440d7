"""What of a directory is sent as it is, and what is packed."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelyard.client.components import WHOLE, files_of, packed_of
from modelyard.client.specs import InvalidSpecification


def many(folder: str, count: int) -> list[str]:
    return [f"{folder}{number}" for number in range(count)]


def test_few_files_are_sent_as_they_are() -> None:
    assert packed_of(many("a/", 900)) == []


def test_directories_with_the_most_files_are_packed_and_weights_beside_them_are_not() -> None:
    names = ["model.safetensors", *many("tokens/", 800), *many("code/deep/", 300), *many("few/", 20)]
    assert packed_of(names) == ["tokens/"]
    assert packed_of([*names, *many("code/", 800)]) == ["code/"]


def test_directory_that_is_itself_too_full_is_packed_whole() -> None:
    assert packed_of([*many("", 901), *many("a/", 5)]) == [WHOLE]


def test_what_is_not_there_is_told_with_what_is(tmp_path: Path) -> None:
    (tmp_path / "iris.onnx").write_bytes(b"x")
    with pytest.raises(InvalidSpecification) as refused:
        files_of(tmp_path / "irsi.onnx")
    assert refused.value.next_step == f"yard model push {tmp_path / 'iris.onnx'}"
    with pytest.raises(InvalidSpecification) as refused:
        files_of(tmp_path / "none" / "x.onnx")
    assert refused.value.next_step == f"ls {tmp_path}"
