"""The comparison with other systems that run work: its own side does what all of them are asked."""

from __future__ import annotations

from pathlib import Path

from bench.rival_systems import CONTESTANTS, driven
from tests.support.yard import free_port_base


def test_own_side_of_the_comparison_runs(tmp_path: Path) -> None:
    own, notes = CONTESTANTS[0], tmp_path / "notes"
    with driven(own, free_port_base()) as driver:
        assert len(driver.ask("lone", 2)) == 2
        assert driver.ask("many", 20) > 0
        assert driver.ask("chain", 3) > 0
        assert driver.memory_mb() > 0 and driver.processor_s() > 0
        driver.ask("hand_in", 6, 0.1, str(notes))
        assert driver.ask("results", 120.0) == 6
    assert sorted(notes.read_text().split()) == [str(number) for number in range(6)]
