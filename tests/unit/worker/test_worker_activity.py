"""How busy the processes below this one are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from modelyard.worker.seats.activity import Activity, below
from tests.support.frames import wait_for


def test_busy_child_is_seen_and_a_spared_one_is_not(tmp_path: Path) -> None:
    log = tmp_path / "stdout"
    log.write_text("a line")
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        activity = Activity([str(log), str(tmp_path / "none")])
        wait_for(lambda: activity.look()["cpu"] > 0)
        assert activity.look()["memory_bytes"] > 1_000_000
        assert child.pid in below()
        assert child.pid not in below([child.pid])
        child.kill()


def test_silence_counts_from_the_last_byte(tmp_path: Path) -> None:
    log = tmp_path / "stdout"
    log.write_text("a line")
    activity = Activity([str(log)])
    os.utime(log, (0, 0))
    began = activity.look()["silent_ms"]
    wait_for(lambda: activity.look()["silent_ms"] > began)
    os.utime(log, (2**33, 2**33))
    assert activity.look()["silent_ms"] == 0
