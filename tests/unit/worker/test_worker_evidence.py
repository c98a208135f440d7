"""Files that count as evidence: there, regular, not empty, within the directory, once nothing runs any more (N6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelyard.worker.seats.signs import Signs, filled_file


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("model.pt", "model.pt"),
        ("*.pt", "model.pt"),
        ("export", "export/deep/part"),
        ("**/part", "export/deep/part"),
        ("empty", ""),
        ("hollow", ""),
        ("away", ""),
        ("missing", ""),
        ("../secret", ""),
        ("/etc/passwd", ""),
        ("**", "model.pt"),
        ("[", ""),
    ],
)
def test_file_counts_where_it_is_not_empty_and_lies_below(tmp_path: Path, pattern: str, found: str) -> None:
    work = tmp_path / "work"
    (work / "export" / "deep").mkdir(parents=True)
    (work / "hollow" / "inner").mkdir(parents=True)
    (work / "hollow" / "inner" / "nothing").touch()
    (tmp_path / "secret").write_text("x")
    (work / "export" / "deep" / "part").write_text("x")
    (work / "empty").touch()
    (work / "away").symlink_to(tmp_path / "secret")
    (work / "model.pt").write_text("x")
    answer = filled_file(work, pattern)
    assert bool(answer) == bool(found) and (pattern == "**" or answer == found)


def test_evidence_is_looked_for_at_the_end_only(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    launch = {"signs": [{"id": 3, "file": "model.pt", "is_filled": True}, {"id": 4, "file": "model.pt"}]}
    signs = Signs(launch, str(tmp_path), {}, [], "", told.append)
    (tmp_path / "model.pt").touch()
    signs.look()
    assert signs.seen == [4]
    (tmp_path / "model.pt").write_text("weights")
    signs.finish()
    assert signs.seen == [4, 3] and told[-1] == {"sign": {"id": 3, "detail": "model.pt"}}


def test_nothing_is_looked_for_while_processes_run_where_only_evidence_is_wanted(tmp_path: Path) -> None:
    launch = {"signs": [{"id": 0, "file": "model.pt", "is_filled": True}]}
    assert Signs(launch, str(tmp_path), {}, [], "", lambda _: None).tick_s() is None
