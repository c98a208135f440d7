"""The file in which the ends of commands outlive their worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.worker.commands.records import Records


@pytest.fixture
def records() -> Iterator[Records]:
    opened = Records()
    yield opened
    opened.close()


def keys(path: Path) -> list[str]:
    return [json.loads(line)["key"] for line in path.read_text().splitlines()]


def test_records_are_lines_until_all_are_acknowledged(tmp_path: Path, records: Records) -> None:
    path = tmp_path / "x" / "w1.records"
    big = "x" * 20_000
    for key in ("a/1", "b/1"):
        records.append(str(path), {"key": key, "value": big})
    assert keys(path) == ["a/1", "b/1"]
    records.forget(["a/1"])
    assert keys(path) == ["a/1", "b/1"]
    records.forget(["b/1", "unknown/1"])
    assert path.read_bytes() == b""
    records.append(str(path), {"key": "c/1"})
    assert keys(path) == ["c/1"]


def test_long_file_keeps_only_what_is_not_acknowledged(tmp_path: Path, records: Records) -> None:
    path = tmp_path / "w1.records"
    for number in range(40):
        records.append(str(path), {"key": f"t{number}/1", "value": "x" * 10_000})
        if number:
            records.forget([f"t{number}/1"])
    assert keys(path)[0] == "t0/1"
    assert path.stat().st_size < 300_000
    assert not path.with_name("w1.records.new").exists()


def test_records_of_another_path_do_not_mix(tmp_path: Path, records: Records) -> None:
    records.append(str(tmp_path / "one"), {"key": "a/1"})
    records.append(str(tmp_path / "two"), {"key": "b/1"})
    assert (keys(tmp_path / "one"), keys(tmp_path / "two")) == (["a/1"], ["b/1"])
