"""Logs of `yard up`: emptied in place while services append to them, old copies go."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cli.supervisor.rotation import KEEP_S, rotate_all


def test_large_log_is_copied_aside_and_goes_on_in_place(tmp_path: Path) -> None:
    log = tmp_path / "scheduler.log"
    (tmp_path / "small.log").write_text("small")
    with log.open("ab", buffering=0) as service:
        for number in range(5):
            service.write(f"{number}".encode() * 100)
            rotate_all(tmp_path, most_bytes=50, keep=3)
        service.write(b"next")
    assert log.read_bytes() == b"next"
    assert [(tmp_path / f"scheduler.log.{n}").read_bytes()[:1] for n in (1, 2, 3)] == [b"4", b"3", b"2"]
    assert not (tmp_path / "scheduler.log.4").exists()
    assert (tmp_path / "small.log").read_text() == "small"


def test_copies_go_by_age(tmp_path: Path) -> None:
    old = tmp_path / "scheduler.log.1"
    old.write_text("old")
    rotate_all(tmp_path)
    assert old.exists()
    os.utime(old, (1, time.time() - KEEP_S - 10))
    rotate_all(tmp_path)
    assert not old.exists()
