"""Signs of a launch as they come over the wire, where a number that is 0 is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelyard.worker.seats.signs import Signs


def test_first_sign_of_a_launch_whose_number_is_left_out_is_watched_for(tmp_path: Path) -> None:
    # S3.5
    (tmp_path / "ready").touch()
    told: list[dict[str, Any]] = []
    signs = Signs({"signs": [{"file": "ready"}]}, str(tmp_path), {}, [], "127.0.0.1", told.append)
    signs.look()
    signs.close()
    assert [(told[0]["sign"]["id"], signs.seen)] == [(0, [0])]
