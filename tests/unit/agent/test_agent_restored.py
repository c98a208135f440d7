"""Tasks that a new agent process finds in workers of an earlier one: it knows their keys, not what they were given."""

from __future__ import annotations

import pytest

from services.agent.tasks.events import ClockTicked, StartAsked, TaskRestored, WorkerLost, WorkerRestored
from services.agent.tasks.model import Pool
from tests.support.agent_machine import Bench, body


def restored() -> Bench:
    """A worker that runs t-1 and has t-2 waiting."""
    bench = Bench()
    starts = [StartAsked(task_id, 1, 7, body()) for task_id in ("t-1", "t-2")]
    tasks = (TaskRestored(starts[0], running=True, start_ms=1), TaskRestored(starts[1]))
    bench.queues["w1"] = []
    bench.apply(WorkerRestored("w1", Pool("ann"), tasks))
    bench.queues["w1"] += bench.state.tasks.values()
    return bench


@pytest.mark.parametrize("way", ["called back", "worker lost"])
def test_restored_task_that_has_not_begun_is_given_back_and_never_started_without_its_parameters(
    way: str,
) -> None:
    bench = restored()
    if way == "called back":
        bench.now_ms += 1_000
        bench.apply(ClockTicked())
        bench.withdraw("t-2")
    else:
        del bench.queues["w1"]
        bench.apply(WorkerLost("w1", signal=9))
    assert ("RETRACTED", "t-2") in bench.tell()
    assert "t-2" not in bench.handed()
    assert "t-2/1" not in bench.state.tasks
