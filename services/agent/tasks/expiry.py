"""What happens to an attempt when its time is over: timeouts, kills after a grace, the end of a drain. Pure."""

from __future__ import annotations

from collections.abc import Callable

from services.agent.tasks.dispatch import leave
from services.agent.tasks.effects import Effect, KillWorker
from services.agent.tasks.lifecycle import UNSTARTED, end_early, run_end_ms, run_limit_ms
from services.agent.tasks.model import Cause, Phase, StopOrder, Task
from services.agent.tasks.state import State

KILL_AGAIN_MS = 1_000


def _start_is_over(state: State, task: Task, now_ms: int, effects: list[Effect]) -> None:
    if task.phase in (*UNSTARTED, Phase.HANDED):
        limit = task.body.start_timeout_ms / 1000
        order = StopOrder(
            Cause.TIMEOUT,
            f"it did not start within its start_timeout of {limit:g} s",
            0,
            "raise timeouts.start_timeout, or ask why it waited with ExplainTask",
        )
        end_early(state, task, order, now_ms, effects)


def _run_is_over(state: State, task: Task, now_ms: int, effects: list[Effect]) -> None:
    # A timer that was set before the time was changed is not its end.
    if task.phase is not Phase.RUNNING or task.is_suspended:
        return
    if run_limit_ms(task) and run_end_ms(state, task, now_ms) <= now_ms:
        limit = run_limit_ms(task) / 1000
        order = StopOrder(
            Cause.TIMEOUT,
            f"it ran longer than its run_timeout of {limit:g} s",
            state.settings.stop_grace_ms,
            "raise timeouts.run_timeout, or make it shorter",
        )
        end_early(state, task, order, now_ms, effects)


def _kill(state: State, task: Task, now_ms: int, effects: list[Effect]) -> None:
    if task.phase not in (Phase.HANDED, Phase.RUNNING):
        return
    worker = state.workers[task.worker]
    if worker.queue[0] != task.key:
        state.set_timer(now_ms + KILL_AGAIN_MS, "kill", task)
    elif not worker.leaving:
        leave(state, worker)
        effects.append(KillWorker(worker.name))


def end_drained(state: State, now_ms: int, effects: list[Effect]) -> None:
    order = StopOrder(Cause.DRAINED, state.drain_message, state.settings.stop_grace_ms)
    for task in list(state.tasks.values()):
        end_early(state, task, order, now_ms, effects)


TIMERS: dict[str, Callable[[State, Task, int, list[Effect]], None]] = {
    "start": _start_is_over,
    "run": _run_is_over,
    "kill": _kill,
}
