"""The life of one attempt on this machine: accepted, prepared, handed out, ended, forgotten. Pure.

The steps that several handlers of the machine share. Each changes the state and appends effects.
"""

from __future__ import annotations

from msgspec.structs import replace

from services.agent.tasks.dispatch import take_from_queue
from services.agent.tasks.effects import (
    AckWork,
    CancelTask,
    Effect,
    ForgetTasks,
    LimitSeat,
    Prepare,
    StoreOutputs,
)
from services.agent.tasks.events import RetractAsked, StartAsked, StopAsked, WorkDone, WorkerLost
from services.agent.tasks.model import (
    Body,
    Cause,
    Exit,
    Given,
    NoteKind,
    Phase,
    Pool,
    StopOrder,
    Task,
    TaskError,
    Worker,
)
from services.agent.tasks.params import merged_params
from services.agent.tasks.pauses import wake
from services.agent.tasks.state import State

UNSTARTED = (Phase.PREPARING, Phase.WAITING)
UNREADABLE = Body(0, "", False, "", Pool(""))


def accept(state: State, asked: StartAsked, now_ms: int, effects: list[Effect]) -> None:
    key = f"{asked.task_id}/{asked.attempt}"
    if key in state.tasks:
        return
    state.rank += 1
    body = asked.body
    if body is None:
        refused = Task(key, asked.task_id, asked.attempt, asked.epoch, UNREADABLE, phase=Phase.GONE)
        message = asked.refusal or "its specification is not in this session"
        state.tell(refused, NoteKind.REJECTED, reason="NO_SPECIFICATION", message=message)
        return
    task = make_task(state, asked, body)
    if state.draining:
        _refuse(state, task, "DRAINING", state.drain_message)
    elif not state.ever_fits(body.resources):
        _refuse(state, task, "TOO_LARGE", "the machine does not have what it asks for")
    else:
        state.tasks[key] = task
        if body.silent_most_ms is not None:
            state.fenced[key] = None
        if body.start_timeout_ms:
            state.set_timer(now_ms + body.start_timeout_ms, "start", task)
        task.missing = {need for need in body.needs if need not in state.ready_needs}
        if task.missing or body.staged:
            task.phase = Phase.PREPARING
            prepare_further(state, task, staged=False, effects=effects)
        else:
            state.lanes.append(task)


def make_task(state: State, asked: StartAsked, body: Body) -> Task:
    return Task(
        f"{asked.task_id}/{asked.attempt}",
        asked.task_id,
        asked.attempt,
        asked.epoch,
        body,
        asked.params_json,
        asked.prefill,
        asked.array_index,
        asked.gpu_devices,
        asked.token,
        asked.pool or body.pool,
        rank=state.rank,
    )


def _refuse(state: State, task: Task, reason: str, message: str) -> None:
    task.phase = Phase.GONE
    state.tell(task, NoteKind.REJECTED, reason=reason, message=message)


def retract(state: State, asked: RetractAsked, effects: list[Effect]) -> None:
    task = state.tasks.get(f"{asked.task_id}/{asked.attempt}")
    if task is not None and task.stop is None:
        give_back(state, task, effects)


def give_back(state: State, task: Task, effects: list[Effect]) -> None:
    """Retracts a task that has not started; one that has stays."""
    if task.phase in UNSTARTED:
        _retracted(state, task)
    elif task.phase is Phase.HANDED and not task.retracting:
        task.retracting = True
        worker = state.workers[task.worker]
        if worker.ready:
            effects.append(CancelTask(worker.name, task, 0, if_waiting=True))
        else:
            take_from_queue(state, worker, task, 0)
            _retracted(state, task)


def _retracted(state: State, task: Task) -> None:
    state.move(task, Phase.GONE)
    del state.tasks[task.key]
    state.tell(task, NoteKind.RETRACTED)


def stop(state: State, asked: StopAsked, now_ms: int, effects: list[Effect]) -> None:
    task = state.tasks.get(f"{asked.task_id}/{asked.attempt}")
    if task is not None:
        order = StopOrder(asked.cause, asked.message, asked.grace_ms, signal=asked.signal)
        end_early(state, task, order, now_ms, effects)


def end_early(state: State, task: Task, order: StopOrder, now_ms: int, effects: list[Effect]) -> None:
    """Ends a task for a reason that is not its own."""
    if task.phase in (Phase.STORING, Phase.ENDED) or task.stop is not None:
        return
    task.stop = order
    if task.is_suspended:
        # It goes on, so that it hears the signal and can end in good order.
        wake(state, task, now_ms, effects)
    if task.phase in UNSTARTED:
        end(state, task, never_started(state, _error_of(order), now_ms))
        return
    worker = state.workers[task.worker]
    if not worker.ready:
        take_from_queue(state, worker, task, now_ms)
        end(state, task, never_started(state, _error_of(order), now_ms))
        return
    effects.append(CancelTask(worker.name, task, order.grace_ms, signal=order.signal))
    margin = state.settings.kill_margin_ms if task.body.is_command else 0
    state.set_timer(now_ms + order.grace_ms + margin, "kill", task)


def prepare_further(state: State, task: Task, *, staged: bool, effects: list[Effect]) -> None:
    """Asks for what is missing: shared things first, then its own directory, then it waits."""
    if task.missing:
        for need in sorted(task.missing):
            waiting = state.pending_needs.get(need)
            if waiting is None:
                waiting = state.pending_needs[need] = []
                effects.append(Prepare(need, task))
            if task not in waiting:
                waiting.append(task)
    elif task.body.staged and not staged:
        need = f"stage:{task.key}"
        state.pending_needs[need] = [task]
        effects.append(Prepare(need, task))
    else:
        state.move(task, Phase.WAITING)
        state.lanes.append(task)


def take_given(task: Task, given: Given) -> None:
    """Lays what this agent's environment gives over the specification's parameters; the task's own lie over both."""
    task.given = given
    task.body = replace(task.body, params_json=merged_params(task.body.params_json, given.params_json))


def begin(state: State, worker: Worker, task: Task | None, start_ms: int, now_ms: int) -> None:
    if task is None or task.phase is not Phase.HANDED or task.worker != worker.name:
        return
    state.move(task, Phase.RUNNING)
    task.start_ms = start_ms
    task.retracting = task.recalled = False
    state.tell(task, NoteKind.STARTED, start_ms=start_ms, soon_over=state.depth(task.body) > 1)
    limit_run(state, task, now_ms)


def limit_run(state: State, task: Task, now_ms: int) -> None:
    """Has a running task looked at again when its time is over; anew after a change of that time."""
    if run_limit_ms(task) and not task.is_suspended:
        state.set_timer(run_end_ms(state, task, now_ms), "run", task)


def limit_shim(task: Task, effects: list[Effect]) -> None:
    """What keeps a seat counts its time too, so that the limit holds while no agent is there."""
    if task.body.seat is not None:
        effects.append(LimitSeat(task))


def run_limit_ms(task: Task) -> int:
    """How long it may run; 0: no limit."""
    return task.body.run_timeout_ms if task.run_timeout_ms is None else task.run_timeout_ms


def run_end_ms(state: State, task: Task, now_ms: int) -> int:
    """When its time is over, on the monotonic clock. A wall clock that was set forward cannot put it off; the time
    in which it was suspended does."""
    begin_ms = min(now_ms, task.start_ms - state.wall_offset_ms)
    return begin_ms + run_limit_ms(task) + task.paused_ms


def finish(
    state: State, worker: Worker, task: Task, done: WorkDone, now_ms: int, effects: list[Effect]
) -> None:
    take_from_queue(state, worker, task, now_ms)
    if done.not_started:
        effects.append(AckWork(worker.name, (done.key,)))
        settle_unstarted(state, task, now_ms)
        return
    worker.unacked += 1
    outcome = done.exit
    state.learn(task.body, outcome.end_ms - outcome.start_ms)
    settle(state, task, outcome, effects)


def settle_unstarted(state: State, task: Task, now_ms: int) -> None:
    """A handed task came back without having begun."""
    if task.stop is not None:
        end(state, task, never_started(state, _error_of(task.stop), now_ms))
    elif task.retracting or state.draining or task.is_bare:
        _retracted(state, task)
    else:
        task.recalled = False
        task.worker = ""
        state.move(task, Phase.WAITING)
        state.lanes.put_back(task)


def settle(state: State, task: Task, outcome: Exit, effects: list[Effect]) -> None:
    """A task has run: its end is told once what it leaves is in the store."""
    if outcome.kept:
        state.move(task, Phase.STORING)
        effects.append(StoreOutputs(task, outcome))
        return
    if outcome.error is None:
        if outcome.files or outcome.value_path or task.body.keeps_outputs:
            state.move(task, Phase.STORING)
            effects.append(StoreOutputs(task, outcome))
            return
    elif task.stop is not None:
        outcome = replace(outcome, error=_error_of(task.stop, outcome.error))
    end(state, task, outcome)


def end(state: State, task: Task, outcome: Exit) -> None:
    """It has ended; the scheduler is told."""
    state.move(task, Phase.ENDED)
    task.exit = _without_order(task, outcome if task.given is None else replace(outcome, given=task.given))
    task.missing.clear()
    state.tell(task, NoteKind.EXITED)


def _without_order(task: Task, outcome: Exit) -> Exit:
    """Nobody but its worker itself can have ended a task for which there is no order, as the node was cut off; or an
    earlier process of this agent has, which was stopped and did not get to say so."""
    error = outcome.error
    if task.stop or error is None or error.cause is not Cause.CANCELLED:
        return outcome
    if task.body.silent_most_ms is not None:
        message = "its worker heard nothing of the scheduler for longer than disconnect allows"
        return replace(outcome, error=replace(error, cause=Cause.NODE_LOST, message=message))
    message = "the agent of its node was stopped while the scheduler was away"
    return replace(outcome, error=replace(error, cause=Cause.DRAINED, message=message))


def end_with_worker(state: State, task: Task, worker: Worker, event: WorkerLost, now_ms: int) -> None:
    """The first task of a worker that is gone: it is taken to have begun if the worker was ready."""
    never_begun = task.work_key in event.undelivered or (task.stop and not worker.ready)
    if task.phase is Phase.HANDED and never_begun:
        settle_unstarted(state, task, now_ms)
        return
    own = _death(event, ready=worker.ready)
    error = own if task.stop is None else _error_of(task.stop, own)
    end(state, task, Exit(error, start_ms=task.start_ms, end_ms=now_ms + state.wall_offset_ms))


def _death(event: WorkerLost, *, ready: bool) -> TaskError:
    if not ready:
        why = event.error or f"it ended with {(event.signal and f'signal {event.signal}') or event.exit_code}"
        return TaskError(Cause.SETUP, f"no worker could be started: {why}", next_step="see the agent's log")
    if event.out_of_memory:
        return TaskError(Cause.OUT_OF_MEMORY, "it used more memory than it may", signal=event.signal)
    if event.error:
        return TaskError(Cause.SIGNAL, f"its worker is lost: {event.error}", signal=event.signal)
    if event.signal:
        return TaskError(Cause.SIGNAL, f"its worker was ended by signal {event.signal}", signal=event.signal)
    code = event.exit_code
    return TaskError(Cause.EXIT, f"its worker ended with code {code}", exit_code=code)


def _error_of(order: StopOrder, own: TaskError | None = None) -> TaskError:
    """The cause is the order's; how it ended is the task's own."""
    return TaskError(
        order.cause,
        order.message,
        own.exit_code if own else 0,
        own.signal if own else 0,
        own.traceback if own else "",
        order.next_step,
    )


def never_started(state: State, error: TaskError, now_ms: int) -> Exit:
    return Exit(error, end_ms=now_ms + state.wall_offset_ms)


def forget(state: State, tasks: list[Task], effects: list[Effect]) -> None:
    """Drops tasks whose outcome is safe; their workers may drop their reports."""
    acks: dict[str, list[str]] = {}
    gone: list[Task] = []
    for task in tasks:
        if task.phase is not Phase.ENDED or state.tasks.get(task.key) is not task:
            continue
        state.move(task, Phase.GONE)
        del state.tasks[task.key]
        gone.append(task)
        if task.worker in state.workers:
            acks.setdefault(task.worker, []).append(task.work_key)
    for name, keys in acks.items():
        worker = state.workers[name]
        worker.unacked = max(0, worker.unacked - len(keys))
        effects.append(AckWork(name, tuple(keys)))
    if gone:
        effects.append(ForgetTasks(tuple(gone)))
