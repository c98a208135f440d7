"""The whole yard in a short chaos: `python -m tests.chaos` tells longer ones (issue 7, point 3).

Tasks, tasks that may begin once, canvases that train and call a model, jobs, calls and changes of a deployment go on
while services and agents are killed, stopped, cut off and have no room; what is made of a backup taken meanwhile keeps
the promises as well. Which faults there are is a matter of the dice; that no promise breaks is not.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from tests.chaos.story import tell

SECONDS = 12.0


@pytest.mark.timeout(900)
def test_whole_yard_in_chaos_keeps_every_promise_and_its_backup_does_too() -> None:
    told = asyncio.run(tell(SECONDS, int(os.environ.get("CHAOS_SEED", "20"))))
    assert not told.wrong, "\n".join([*told.wrong, *map(str, told.rows)])
