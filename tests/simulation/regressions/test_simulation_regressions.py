"""What seeds of the simulator found, told as the shortest story of each."""

from __future__ import annotations

from typing import Any

from services.chassis.security import ADMIN, Principal
from services.scheduler import machine
from services.scheduler.model import (
    MAIN_QUEUE,
    Cause,
    Condition,
    Dependency,
    NodeState,
    Now,
    Policy,
    Quota,
    Shape,
    Spec,
    element_key,
    task_key,
)
from services.scheduler.queues.shares import QueueSettings
from services.scheduler.reading.watching import changed_since
from services.scheduler.records import recovery
from services.scheduler.records.rows import Counters
from services.scheduler.scheduling import explain
from services.scheduler.state import events as ev
from services.scheduler.state.effects import Effects, StopTask
from services.scheduler.state.state import State
from tests.simulation.disk import Disk

WALL_MS = 1_800_000_000_000
CPU = (("cpu", 10_000),)


class Yard:
    """A scheduler's machine on a disk, step by step."""

    def __init__(self) -> None:
        self.disk = Disk()
        self.now_ms = 1_000
        self.state = State(0, 1, 0)
        self.restart()

    def now(self) -> Now:
        return Now(WALL_MS + self.now_ms, self.now_ms)

    def restart(self) -> None:
        self.disk.begin_epoch()
        recovered = self.disk.recover(self.now().wall_ms, 100, 100)
        self.state = recovery.restore(recovered, self.now())

    def step(self, *events: ev.Event, is_committed: bool = True) -> Effects:
        state = self.state
        effects = machine.step(state, events, self.now())
        machine.check_invariants(state)
        if effects.rows and is_committed:
            counters = Counters(state.epoch, state.next_number, state.revision, state.next_spec, 0)
            self.disk.persist(effects.rows, counters, self.now().wall_ms)
        return effects

    def connect(self, *tasks: ev.HeldTask, cpu: int = 40_000) -> Effects:
        capacity = {"cpu": cpu}
        return self.step(
            ev.AgentConnected("n0", 1, "boot", 1, {}, capacity, (), frozenset(), tasks), ev.Ticked()
        )

    def submit(self, array_size: int = 0, policy: Policy = Policy.LEAST_LOADED, **fields: Any) -> int:
        shape = Shape("ann", CPU, "", (), policy, "", 0)
        body = repr((array_size, policy, fields)).encode()
        spec = Spec(0, body, shape, array_size=array_size, **fields)
        number = self.state.next_number
        self.step(ev.TasksSubmitted(1, "ann", "", b"", (spec,), ((0, ""),)))
        return task_key(number)


def test_stall_before_the_first_tick_loses_no_node() -> None:
    """SIGSTOP for 60 s right after a restart: seed 107."""
    yard = Yard()
    yard.connect()
    yard.submit()
    yard.restart()
    yard.now_ms += 60_000
    yard.step(ev.Ticked())
    assert yard.state.cluster.nodes["n0"].expected


def test_cancelled_array_after_a_restart_starts_no_element_again() -> None:
    """The elements' cancel is the array's one row: seed 2218."""
    yard = Yard()
    yard.connect()
    array = yard.submit(array_size=2)
    yard.step(ev.CancelRequested(2, (array,), 5_000, "no more"))
    yard.restart()
    effects = yard.connect()
    assert not yard.state.tasks
    assert not effects.commands


def test_watch_after_progress_and_a_restart_misses_nothing() -> None:
    """Progress raises the revision and is not on disk: seed 3."""
    yard = Yard()
    yard.connect()
    key = yard.submit()
    task = yard.state.tasks[key]
    token = (key, task.attempt, task.epoch)
    for number in range(1, 6):
        report = ev.TaskProgressed(*token, number / 10, "")
        yard.step(ev.TasksReported("n0", 1, number, (report,)))
    position = yard.state.revision
    yard.restart()
    yard.connect(ev.HeldTask(*token, True))
    shown = changed_since(yard.state, position, yard.state.revision, Principal(ADMIN), frozenset())
    assert list(shown) == [key]


def test_watch_during_a_commit_shows_only_what_is_on_disk() -> None:
    """A task that ends in the step under way is shown by the next look: seed 0."""
    yard = Yard()
    yard.connect()
    key = yard.submit()
    released = yard.state.revision
    task = yard.state.tasks[key]
    ended = ev.TaskExited(key, task.attempt, task.epoch, Cause.NONE, b"")
    yard.step(ev.TasksReported("n0", 1, 1, (ended,)), is_committed=False)
    everybody = Principal(ADMIN)
    assert not changed_since(yard.state, released, released, everybody, frozenset())
    assert list(changed_since(yard.state, released, yard.state.revision, everybody, frozenset())) == [key]
    assert yard.state.cluster.nodes["n0"].state is NodeState.READY


def test_drain_whose_orders_were_lost_says_them_again() -> None:
    """The stream breaks with the orders to stop in it, and comes back."""
    yard = Yard()
    yard.connect()
    key = yard.submit()
    task = yard.state.tasks[key]
    yard.step(ev.NodeDrainRequested(2, "n0", 0))
    yard.step(ev.Ticked())
    yard.step(ev.AgentDisconnected("n0", 1))
    yard.connect(ev.HeldTask(key, task.attempt, task.epoch, True))
    yard.now_ms += 11_000
    effects = yard.step(ev.Ticked())
    assert [type(command) for command in effects.commands["n0"][1]] == [StopTask]


def _end(yard: Yard, key: int) -> None:
    """The only task on the node has succeeded."""
    task = yard.state.tasks[key]
    node = yard.state.cluster.nodes["n0"]
    report = ev.TaskExited(key, task.attempt, task.epoch, Cause.NONE, b"")
    yard.step(ev.TasksReported("n0", 1, node.last_event + 1, (report,)))


def test_turn_of_an_array_that_is_over_goes_to_nobody_younger() -> None:
    """A younger task of its shape does not inherit its place before an older one of another: seed 22."""
    yard = Yard()
    yard.connect(cpu=10_000)
    array = yard.submit(array_size=1)
    older = yard.submit(policy=Policy.SPREAD)
    younger = yard.submit()
    _end(yard, element_key(array, 0))
    assert yard.state.tasks[older].node
    assert not yard.state.tasks[younger].node


def test_queue_that_changes_after_its_tasks_were_cancelled_in_one_step_goes_on() -> None:
    """A shape whose tasks are all gone stays listed until its turn comes."""
    yard = Yard()
    yard.connect()
    number = yard.state.next_number
    spec = Spec(0, b"body", Shape("ann", CPU, "", (), Policy.LEAST_LOADED, "", 0))
    yard.step(
        ev.TasksSubmitted(2, "ann", "", b"", (spec,), ((0, ""),)),
        ev.CancelRequested(3, (task_key(number),), 0, "no more"),
        ev.QueueChanged(4, MAIN_QUEUE, ("weight",), QueueSettings(weight=2.0)),
    )
    assert not yard.state.tasks
    yard.step(ev.TasksSubmitted(5, "ann", "", b"", (spec,), ((0, ""),)))
    assert yard.state.tasks[task_key(number + 1)].node


def test_limit_that_is_set_in_the_step_in_which_tasks_were_placed_counts_them() -> None:
    """What is on nodes by then is tolerated, and nothing comes in addition: seed 1302."""
    yard = Yard()
    yard.connect()
    shape = Shape("ann", CPU, "", (), Policy.LEAST_LOADED, "", 0)
    yard.step(ev.QuoteRequested(2, "ann", "q-1", (ev.QuoteWish(shape, 2),), 10_000))
    quoted = Spec(0, b"quoted", shape, quote="q-1")
    yard.step(
        ev.TasksSubmitted(3, "ann", "", b"", (quoted,), ((0, ""), (0, ""))),
        ev.QueueChanged(4, MAIN_QUEUE, ("quota",), QueueSettings(quota=Quota(max_running=2))),
        ev.TasksSubmitted(5, "ann", "", b"", (Spec(0, b"plain", shape),), ((0, ""),)),
    )
    assert [bool(task.node) for task in yard.state.tasks.values()] == [True, True, False]


def test_gang_of_two_shapes_is_not_kept_out_of_the_node_that_is_kept_for_it() -> None:
    """What is kept for one member is kept for all: seed 66."""
    yard = Yard()
    yard.connect(cpu=20_000)
    yard.submit(run_timeout_ms=10_000)
    members = [
        Spec(0, policy.name.encode(), Shape("ann", CPU, "", (), policy, "", 0, gang="g"))
        for policy in (Policy.SPREAD, Policy.BINPACK)
    ]
    yard.step(ev.TasksSubmitted(2, "ann", "", b"", tuple(members), ((0, ""), (1, ""))))
    for _ in range(12):
        yard.now_ms += 500
        yard.step(ev.BeatReceived("n0", 1, 1, 0, {}), ev.Ticked())
    first = next(key for key, task in yard.state.tasks.items() if task.node)
    _end(yard, first)
    assert len(yard.state.tasks) == 2
    assert all(task.node for task in yard.state.tasks.values())


def test_task_that_was_held_and_released_waits_at_the_end() -> None:
    """As after a restart: its old place is gone, once: seed 54."""
    yard = Yard()
    yard.connect(cpu=10_000)
    first, held, other = yard.submit(), yard.submit(), yard.submit()
    yard.step(ev.HoldRequested(2, (held,)))
    yard.step(ev.ReleaseRequested(3, (held,)))
    _end(yard, first)
    assert yard.state.tasks[other].node
    assert not yard.state.tasks[held].node


def test_dependent_on_an_unmade_element_waits_on_after_a_restart() -> None:
    """The database has no row of an element whose turn has not come; it has not ended for that."""
    yard = Yard()
    array = yard.submit(array_size=2)
    for condition in (Condition.ENDED, Condition.SUCCEEDED):
        yard.submit(dependencies=(Dependency(element_key(array, 1), condition),))
    before = {key: task.awaits for key, task in yard.state.tasks.items()}
    yard.restart()
    assert {key: task.awaits for key, task in yard.state.tasks.items()} == before
    yard.step(ev.Ticked())
    assert len(yard.state.tasks) == 3


def test_explain_of_whoever_used_a_quote_knows_its_node() -> None:
    """It is tied to the node of the quote for further attempts; another node that is free does not fit."""
    yard = Yard()
    yard.connect()
    wish = ev.QuoteWish(Shape("ann", CPU, "n0", (), Policy.LEAST_LOADED, "", 0), 1)
    yard.step(ev.QuoteRequested(2, "ann", "q-1", (wish,), 10_000))
    key = yard.submit(quote="q-1")
    task = yard.state.tasks[key]
    hello = ev.AgentConnected("n1", 2, "boot", 1, {}, {"cpu": 40_000}, (), frozenset(), ())
    yard.step(hello, ev.TasksReported("n0", 1, 1, (ev.TaskRejected(key, 1, task.epoch, "no"),)))
    yard.step(ev.NodeCordoned(3, "n0", True))
    yard.now_ms += 2_000
    yard.step(ev.Ticked())
    assert not task.node
    assert not explain.explain(yard.state, task, yard.now()).starts_now
