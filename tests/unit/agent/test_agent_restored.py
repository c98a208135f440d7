"""Tasks that a new agent process finds in workers of an earlier one: it knows their keys, not what they were given."""

from __future__ import annotations

import pytest

from services.agent.tasks.events import (
    ClockTicked,
    OutcomeRestored,
    StartAsked,
    TaskRestored,
    WorkerLost,
    WorkerRestored,
)
from services.agent.tasks.model import Cause, Exit, Pool, TaskError
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


@pytest.mark.parametrize(("silent_most_ms", "cause"), [(None, Cause.DRAINED), (30_000, Cause.NODE_LOST)])
def test_command_that_a_stopped_agent_ended_unheard_is_not_taken_for_one_that_somebody_cancelled(
    silent_most_ms: int | None, cause: Cause
) -> None:
    """The scheduler was away as well: it tries the task again, as where it was told in time."""
    bench = Bench()
    start = StartAsked("t-1", 1, 7, body(silent_most_ms=silent_most_ms))
    end = Exit(TaskError(Cause.CANCELLED, "it ended: cancelled", signal=15), start_ms=1, end_ms=2)
    bench.apply(OutcomeRestored(start, end, "w1"))
    told = bench.state.tasks["t-1/1"].exit
    assert told is not None and told.error is not None
    assert (told.error.cause, told.error.signal, told.start_ms) == (cause, 15, 1)
