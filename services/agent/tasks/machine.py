"""The agent's machine: one event in, effects out. All changes of state happen here.

Pure and deterministic: no clock, no I/O, no randomness; `now_ms` is the monotonic clock. It does
not know how tasks are run, only which worker has which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from services.agent.tasks import fences
from services.agent.tasks.dispatch import call_back, hand_out, keep_warm, remove, retire
from services.agent.tasks.effects import AckWork, Effect, RunTasks
from services.agent.tasks.events import (
    AttachmentsPlaced,
    BeatAcknowledged,
    ClockTicked,
    CommandsReceived,
    DrainBegan,
    Event,
    EventsAcknowledged,
    HelloSaid,
    HoldingChanged,
    ModifyAsked,
    NeedDropped,
    NeedFailed,
    NeedMoved,
    NeedReady,
    OutcomeRestored,
    OutputsStored,
    ResumeAsked,
    RetractAsked,
    SessionLost,
    SessionOpened,
    StartAsked,
    SuspendAsked,
    WorkerLost,
    WorkerReady,
    WorkerRestored,
    WorkReported,
)
from services.agent.tasks.expiry import TIMERS, end_drained
from services.agent.tasks.lifecycle import (
    accept,
    begin,
    end,
    end_early,
    end_with_worker,
    finish,
    forget,
    give_back,
    never_started,
    prepare_further,
    retract,
    settle_unstarted,
    stop,
    take_given,
)
from services.agent.tasks.model import (
    Cause,
    NoteKind,
    Phase,
    StopOrder,
    Task,
    TaskError,
    key_of_work,
)
from services.agent.tasks.modify import (
    change_postponed,
    modify,
    on_attachments_placed,
    on_holding_changed,
    on_work_modified,
)
from services.agent.tasks.outbox import Outbox
from services.agent.tasks.restoring import on_outcome_restored, on_worker_restored
from services.agent.tasks.state import TRANSITIONS, State, check_invariants
from services.agent.tasks.suspension import halt, resume, suspend

FLEETING = ("stage:", "image:")
"""Needs that are looked after for each task anew: they are its own, or others may take them away."""

__all__ = ["TRANSITIONS", "State", "apply", "check_invariants", "wake_ms"]


def apply(state: State, event: Event, now_ms: int) -> list[Effect]:
    """Steps the machine. Same state, event and time: same effects."""
    return HANDLERS[type(event)](state, event, now_ms)


def wake_ms(state: State, now_ms: int) -> int | None:
    """When the machine wants its next ClockTicked; None: it waits for nothing."""
    due = [state.timers[0][0]] if state.timers else []
    if state.drain_until_ms >= 0:
        due.append(state.drain_until_ms)
    if state.is_backlogged:
        due.append(now_ms + 50)
    return min(due) if due else None


def on_commands(state: State, event: CommandsReceived, now_ms: int) -> list[Effect]:
    """Applies each command once."""
    effects: list[Effect] = []
    for number, command in enumerate(event.commands, event.first_number):
        if number <= state.last_command:
            continue
        state.last_command = number
        if isinstance(command, StartAsked):
            accept(state, command, now_ms, effects)
        elif isinstance(command, RetractAsked):
            retract(state, command, effects)
        elif isinstance(command, ModifyAsked):
            modify(state, command, now_ms, effects)
        elif isinstance(command, SuspendAsked):
            suspend(state, command, now_ms, effects)
        elif isinstance(command, ResumeAsked):
            resume(state, command, now_ms, effects)
        else:
            stop(state, command, now_ms, effects)
    return effects + hand_out(state, now_ms)


def on_hello(state: State, event: HelloSaid, now_ms: int) -> list[Effect]:
    """A new session begins: what is true now is in the Hello, what comes later are events."""
    state.outbox = Outbox()
    state.last_command = 0
    for task in state.tasks.values():
        task.stated = task.phase is Phase.ENDED
    return []


def on_session_opened(state: State, event: SessionOpened, now_ms: int) -> list[Effect]:
    """Obeys the verdicts; ends that were stated and not taken are told again."""
    state.outbox.credit = event.credits
    state.lease_ms = event.lease_ms
    state.lease_until_ms = event.sent_ms + event.lease_ms
    effects: list[Effect] = []
    forgotten: list[Task] = []
    for verdict in event.verdicts:
        task = state.tasks.get(f"{verdict.task_id}/{verdict.attempt}")
        if task is None:
            continue
        if verdict.kind == "FORGET" and task.phase is Phase.ENDED:
            forgotten.append(task)
        elif verdict.kind != "KEEP" and task.phase is not Phase.ENDED:
            order = StopOrder(Cause.CANCELLED, "the scheduler no longer wants it here", 5_000)
            end_early(state, task, order, now_ms, effects)
    forget(state, forgotten, effects)
    effects += fences.renew(state)
    for task in state.tasks.values():
        if task.phase is Phase.ENDED and task.stated:
            task.stated = False
            state.tell(task, NoteKind.EXITED)
    return effects + hand_out(state, now_ms)


def on_session_lost(state: State, event: SessionLost, now_ms: int) -> list[Effect]:
    """Nothing: what runs runs on, and the lease says how long new work may start."""
    return []


def on_beat(state: State, event: BeatAcknowledged, now_ms: int) -> list[Effect]:
    """Renews the lease."""
    over = now_ms >= state.lease_until_ms
    state.lease_ms = event.lease_ms or state.lease_ms
    state.lease_until_ms = max(state.lease_until_ms, event.sent_ms + state.lease_ms)
    effects = fences.renew(state) if state.fenced else []
    return effects + hand_out(state, now_ms) if over else effects


def on_events_acknowledged(state: State, event: EventsAcknowledged, now_ms: int) -> list[Effect]:
    """What is on the scheduler's disk need not be kept here."""
    effects: list[Effect] = []
    forget(state, state.outbox.acknowledge(event.number), effects)
    return effects


def on_need_moved(state: State, event: NeedMoved, now_ms: int) -> list[Effect]:
    """Those who wait for it can be told why."""
    for task in state.pending_needs.get(event.need, ()):
        if task.phase is Phase.PREPARING:
            state.tell(task, NoteKind.PROGRESS, message=event.message)
    return []


def on_need_ready(state: State, event: NeedReady, now_ms: int) -> list[Effect]:
    """Tasks that lacked nothing else may start."""
    if not event.need.startswith(FLEETING):
        state.ready_needs.add(event.need)
    effects: list[Effect] = []
    for task in state.pending_needs.pop(event.need, ()):
        if task.phase is Phase.PREPARING:
            task.missing.discard(event.need)
            if event.given is not None:
                take_given(task, event.given)
            prepare_further(state, task, staged=event.need.startswith("stage:"), effects=effects)
    return effects + hand_out(state, now_ms)


def on_need_failed(state: State, event: NeedFailed, now_ms: int) -> list[Effect]:
    """Tasks that need it cannot run; a later one tries again."""
    error = TaskError(Cause.SETUP, event.message, next_step=event.next_step)
    for task in state.pending_needs.pop(event.need, ()):
        if task.phase is Phase.PREPARING:
            end(state, task, never_started(state, error, now_ms))
    return []


def on_need_dropped(state: State, event: NeedDropped, now_ms: int) -> list[Effect]:
    """It was collected as garbage."""
    state.ready_needs.discard(event.need)
    return []


def on_worker_ready(state: State, event: WorkerReady, now_ms: int) -> list[Effect]:
    """Sends what was waiting for it."""
    worker = state.workers.get(event.worker)
    if worker is None or worker.ready:
        return []
    worker.ready = True
    state.starting -= 1
    worker.idle_since_ms = now_ms
    effects: list[Effect] = []
    if worker.queue:
        effects.append(RunTasks(worker.name, tuple(state.tasks[key] for key in worker.queue)))
    return effects + hand_out(state, now_ms)


def on_worker_lost(state: State, event: WorkerLost, now_ms: int) -> list[Effect]:
    """Its first task ends with it, the others wait again."""
    worker = state.workers.get(event.worker)
    if worker is None:
        return []
    queue = [state.tasks[key] for key in worker.queue]
    worker.queue.clear()
    remove(state, worker)
    for task in reversed(queue[1:]):
        settle_unstarted(state, task, now_ms)
    if queue:
        end_with_worker(state, queue[0], worker, event, now_ms)
    return hand_out(state, now_ms)


def on_work_reported(state: State, event: WorkReported, now_ms: int) -> list[Effect]:
    """Starts, progress and ends of one worker's tasks."""
    worker = state.workers.get(event.worker)
    if worker is None:
        return []
    effects: list[Effect] = []
    for begun in event.begun:
        begin(state, worker, state.tasks.get(key_of_work(begun.key)), begun.start_ms, now_ms)
    for moved in event.moved:
        task = state.tasks.get(key_of_work(moved.key))
        if task is not None and task.phase is Phase.RUNNING:
            state.tell(task, NoteKind.PROGRESS, ratio=moved.ratio, message=moved.message)
    unknown: list[str] = []
    _hear_modified(state, event, accepted=True)
    for done in event.done:
        task = state.tasks.get(key_of_work(done.key))
        if task is None or task.worker != worker.name:
            unknown.append(done.key)
        elif task.phase in (Phase.HANDED, Phase.RUNNING):
            finish(state, worker, task, done, now_ms, effects)
    # After the ends: what was refused because the task was called back comes with it to its next start.
    _hear_modified(state, event, accepted=False)
    if worker.queue:
        head = state.tasks[worker.queue[0]]
        if head.postponed and head.phase is Phase.RUNNING:
            change_postponed(state, head, effects)
        if head.suspend_asked:
            halt(state, head, now_ms, effects)
    if unknown:
        effects.append(AckWork(worker.name, tuple(unknown)))
    return effects + hand_out(state, now_ms)


def _hear_modified(state: State, event: WorkReported, *, accepted: bool) -> None:
    for said in event.modified:
        task = state.tasks.get(key_of_work(said.key))
        if task is not None and said.accepted is accepted:
            on_work_modified(state, task, said)


def on_outputs_stored(state: State, event: OutputsStored, now_ms: int) -> list[Effect]:
    """Now its end can be told."""
    task = state.tasks.get(event.key)
    if task is not None and task.phase is Phase.STORING:
        end(state, task, event.exit)
    return []


def on_clock(state: State, event: ClockTicked, now_ms: int) -> list[Effect]:
    """Timeouts, kills, idle workers, the end of a drain."""
    effects: list[Effect] = []
    while state.timers and state.timers[0][0] <= now_ms:
        _, _, kind, task = state.pop_timer()
        TIMERS[kind](state, task, now_ms, effects)
    fences.end_overdue(state, now_ms, effects)
    if 0 <= state.drain_until_ms <= now_ms:
        state.drain_until_ms = -1
        end_drained(state, now_ms, effects)
    effects += call_back(state, now_ms) + retire(state, now_ms) + hand_out(state, now_ms)
    return effects + keep_warm(state)


def on_drain(state: State, event: DrainBegan, now_ms: int) -> list[Effect]:
    """Gives everything back that has not started; what runs may go on until the deadline."""
    state.draining = True
    state.drain_message = event.message
    state.drain_until_ms = event.deadline_ms
    effects: list[Effect] = []
    for task in list(state.tasks.values()):
        give_back(state, task, effects)
    return effects


HANDLERS: dict[type, Callable[[State, Any, int], list[Effect]]] = {
    CommandsReceived: on_commands,
    HelloSaid: on_hello,
    SessionOpened: on_session_opened,
    SessionLost: on_session_lost,
    BeatAcknowledged: on_beat,
    EventsAcknowledged: on_events_acknowledged,
    NeedReady: on_need_ready,
    NeedFailed: on_need_failed,
    NeedDropped: on_need_dropped,
    NeedMoved: on_need_moved,
    WorkerReady: on_worker_ready,
    WorkerLost: on_worker_lost,
    WorkReported: on_work_reported,
    WorkerRestored: on_worker_restored,
    OutcomeRestored: on_outcome_restored,
    OutputsStored: on_outputs_stored,
    AttachmentsPlaced: on_attachments_placed,
    HoldingChanged: on_holding_changed,
    ClockTicked: on_clock,
    DrainBegan: on_drain,
}
