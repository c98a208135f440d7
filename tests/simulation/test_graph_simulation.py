"""Any canvas under any sky: the committed log is the same byte for byte, and nothing is lost or done twice (issue 4).

`python -m tests.simulation.runs --seeds 500` tells more stories; tests/simulation/README.md says what is what.
"""

from __future__ import annotations

import pytest

from services.graph.model import Order
from services.graph.runs.state import Start
from tests.simulation.runs.world import Plan, World, failure_of, skies

CANVASES = 60
GROUP = 10


@pytest.mark.parametrize("first", range(0, CANVASES, GROUP))
def test_log_any_canvas_is_the_same_for_both_starts_any_workers_delays_and_deaths(first: int) -> None:
    """# S1.4 S1.6 S1.7 S1.8 S1.9 S1.10"""
    for canvas in range(first, first + GROUP):
        assert not (found := failure_of(skies(canvas, 2))), found


@pytest.mark.parametrize("canvas", range(20))
def test_cancelled_run_ends_and_nothing_of_it_goes_on(canvas: int) -> None:
    """Whenever, whatever had begun, whoever dies: `World.tell` looks for tasks that nobody cancelled."""
    order, start = list(Order)[canvas % 2], list(Start)[canvas // 2 % 2]
    for seed in range(3):
        World(Plan(canvas, order, start, 3, seed, deaths=seed * 2, is_cancelled=True)).tell()
