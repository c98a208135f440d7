"""SuspendTasks and ResumeTasks: asked of the machine, then awaited for a moment: mostly the answer says done."""

import asyncio
from collections.abc import Callable

from services.scheduler.engine import Engine
from services.scheduler.model import TaskState
from services.scheduler.state.events import ResumeRequested, SuspendRequested
from services.scheduler.state.task import Task

# How long an answer waits for the agents' word; what they have not done by then is under way.
ANSWER_S = 3.0


async def suspend(engine: Engine, keys: tuple[int, ...]) -> None:
    """Safe to cancel: they are suspended all the same."""
    reply, answer = engine.new_reply()
    engine.post(SuspendRequested(reply, keys))
    await answer
    await _settle(engine, keys, lambda task: task.wants_suspension and task.state is not TaskState.SUSPENDED)


async def resume(engine: Engine, keys: tuple[int, ...]) -> None:
    """Safe to cancel: they are resumed all the same."""
    reply, answer = engine.new_reply()
    engine.post(ResumeRequested(reply, keys))
    await answer
    await _settle(engine, keys, lambda task: not task.wants_suspension and task.state is TaskState.SUSPENDED)


async def _settle(engine: Engine, keys: tuple[int, ...], is_under_way: Callable[[Task], bool]) -> None:
    with engine.watch() as changed:
        try:
            async with asyncio.timeout(ANSWER_S):
                while any(_waits(engine, key, is_under_way) for key in keys):
                    changed.clear()
                    await changed.wait()
                end = engine.state.revision
                # What was just seen may still be on its way to the disk.
                while engine.released_revision < end:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            return


def _waits(engine: Engine, key: int, is_under_way: Callable[[Task], bool]) -> bool:
    """Whether an agent that can hear has yet to do it; arrays are not waited for."""
    task = engine.state.tasks.get(key)
    if task is None or not task.node or not is_under_way(task):
        return False
    return engine.state.cluster.nodes[task.node].session != 0
