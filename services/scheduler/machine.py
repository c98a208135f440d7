"""The scheduler's pure machine: ``step(state, events, now) -> effects``.

Every change of state happens here and in the modules it calls. No clock, no randomness, no I/O: the same events
give the same state. `TRANSITIONS` says which states follow which; a terminal state is never left, and only the
holder of an attempt's token (epoch, attempt) moves it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from services.scheduler import timers
from services.scheduler.model import Now, TaskState
from services.scheduler.nodes import agents, maintenance
from services.scheduler.requests import modification, quotes, sharing, suspension, tasks
from services.scheduler.scheduling import gathering, schedule
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Answer, Effects, RecordRequest
from services.scheduler.state.invariants import check_invariants
from services.scheduler.state.state import State
from services.scheduler.tasks import arrays, dependencies

__all__ = ["TRANSITIONS", "apply", "check_invariants", "step"]

TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.QUEUED: frozenset(
        # Of an array: RUNNING once an element was made, and an end when all are done. RUNNING and SUSPENDED also where
        # an attempt that was given up comes back with its node.
        {
            TaskState.ASSIGNED,
            TaskState.SUSPENDED,
            TaskState.HELD,
            TaskState.RUNNING,
            TaskState.SUCCEEDED,
            TaskState.FAILED,
            TaskState.CANCELLED,
        }
    ),
    TaskState.HELD: frozenset(
        # An array goes on, or ends when the elements that it had made have; a suspended one comes back with its node.
        {
            TaskState.QUEUED,
            TaskState.SUSPENDED,
            TaskState.RUNNING,
            TaskState.SUCCEEDED,
            TaskState.FAILED,
            TaskState.CANCELLED,
        }
    ),
    TaskState.ASSIGNED: frozenset(
        # HELD: it was to be suspended and had not begun. SUSPENDED: an earlier attempt came back so.
        {
            TaskState.RUNNING,
            TaskState.SUSPENDED,
            TaskState.QUEUED,
            TaskState.HELD,
            TaskState.SUCCEEDED,
            TaskState.FAILED,
            TaskState.CANCELLED,
        }
    ),
    TaskState.RUNNING: frozenset(
        # HELD: arrays, and tasks that were to be suspended when their node was lost.
        {
            TaskState.SUSPENDED,
            TaskState.QUEUED,
            TaskState.HELD,
            TaskState.SUCCEEDED,
            TaskState.FAILED,
            TaskState.CANCELLED,
        }
    ),
    TaskState.SUSPENDED: frozenset(
        {
            TaskState.RUNNING,
            TaskState.QUEUED,
            TaskState.HELD,
            TaskState.SUCCEEDED,
            TaskState.FAILED,
            TaskState.CANCELLED,
        }
    ),
    TaskState.SUCCEEDED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.CANCELLED: frozenset(),
}


def _on_marked(state: State, event: ev.Marked, now: Now, effects: Effects) -> None:
    """Once for each request id; a refusal is not remembered."""
    known = state.requests.get((event.account, event.request_id))
    if known is not None:
        effects.answers.append(tasks.repeat(event.reply, event.content, known))
        return
    before = len(effects.answers)
    apply(state, event.event, now, effects)
    answer = next((a for a in effects.answers[before:] if a.reply == event.reply), Answer(event.reply))
    if answer.error is None:
        request = (event.account, event.request_id, event.content, answer.first, answer.count)
        state.remember_request(*request)
        effects.rows.append(RecordRequest(*request))


HANDLERS: dict[type[ev.Event], Callable[[State, Any, Now, Effects], None]] = {
    ev.TasksSubmitted: tasks.on_tasks_submitted,
    ev.RequestRecalled: tasks.on_request_recalled,
    ev.Marked: _on_marked,
    ev.SpecsRetired: tasks.on_specs_retired,
    ev.AccountClosed: tasks.on_account_closed,
    ev.AccountOpened: tasks.on_account_opened,
    ev.ContactsChanged: tasks.on_contacts_changed,
    ev.ModifyRequested: modification.on_modify_requested,
    ev.TasksModifyRequested: modification.on_tasks_modify_requested,
    ev.QuoteRequested: quotes.on_quote_requested,
    ev.QuoteRenewed: quotes.on_quote_renewed,
    ev.QuoteDeleted: quotes.on_quote_deleted,
    ev.CancelRequested: tasks.on_cancel_requested,
    ev.HoldRequested: tasks.on_hold_requested,
    ev.ReleaseRequested: tasks.on_release_requested,
    ev.SuspendRequested: suspension.on_suspend_requested,
    ev.ResumeRequested: suspension.on_resume_requested,
    ev.AgentConnected: agents.on_agent_connected,
    ev.AgentDisconnected: agents.on_agent_disconnected,
    ev.AgentDrained: agents.on_agent_drained,
    ev.BeatReceived: agents.on_beat_received,
    ev.CommandsAcknowledged: agents.on_commands_acknowledged,
    ev.CapacityChanged: agents.on_capacity_changed,
    ev.TasksReported: agents.on_tasks_reported,
    ev.NodeCordoned: maintenance.on_node_cordoned,
    ev.NodeDrainRequested: maintenance.on_node_drain_requested,
    ev.NodeLabelled: maintenance.on_node_labelled,
    ev.NodeForgotten: maintenance.on_node_forgotten,
    ev.QueueCreated: sharing.on_queue_created,
    ev.QueueChanged: sharing.on_queue_changed,
    ev.QueueDeleted: sharing.on_queue_deleted,
    ev.AccountChanged: sharing.on_account_changed,
    ev.Ticked: timers.on_ticked,
}


def apply(state: State, event: ev.Event, now: Now, effects: Effects) -> None:
    """Takes one event in; what it wants done is added to ``effects``."""
    HANDLERS[type(event)](state, event, now, effects)


def step(state: State, events: Iterable[ev.Event], now: Now) -> Effects:
    """Takes a batch of events in, closes arrays that are done, places what can be placed, and says what to do."""
    effects = Effects()
    state.waiting.advance(now, state.cluster)
    for event in events:
        apply(state, event, now, effects)
    while True:
        _settle(state, now, effects)
        state.waiting.advance(now, state.cluster)
        schedule.place_waiting(state, now, effects)
        if not state.dependents.happened:
            return effects


def _settle(state: State, now: Now, effects: Effects) -> None:
    """What follows from ends: of arrays, of those that depend on them, of gangs."""
    arrays.close_complete(state, now, effects)
    while dependencies.settle(state, now, effects) or gathering.settle(state, now, effects):
        arrays.close_complete(state, now, effects)
