"""Any canvas under any sky: the committed log is the same byte for byte, and nothing is lost or done twice (issue 4).

`python -m tests.simulation.runs --seeds 500` tells more stories; tests/simulation/README.md says what is what.
"""

from __future__ import annotations

import pytest

from tests.simulation.runs.world import failure_of, skies

CANVASES = 60
GROUP = 10


@pytest.mark.parametrize("first", range(0, CANVASES, GROUP))
def test_log_any_canvas_is_the_same_for_both_starts_any_workers_delays_and_deaths(first: int) -> None:
    """# S1.4 S1.6 S1.7 S1.8 S1.9 S1.10"""
    for canvas in range(first, first + GROUP):
        assert not (found := failure_of(skies(canvas, 2))), found
