"""One run within one step: what every module of this room may do to it, each act with what it entails at once. Pure.

A node that ends tells its successors, opens the order, and may fail what stands behind it. What follows from that
waits in lists (`met`, `due`, `ended`, `freed`) until `moves.py` takes it up, so nothing here starts a node.
"""

import heapq
from collections.abc import Iterator
from typing import Any

import msgspec

from services.chassis.errors import ServiceError
from services.graph.model import Order, Trigger
from services.graph.runs import bodies, results
from services.graph.runs.effects import (
    CancelTasks,
    Effects,
    ReadValues,
    RecordRunState,
    StoreValues,
)
from services.graph.runs.places import Place
from services.graph.runs.state import NodeState, Run, RunState, Scope, Start, State
from services.graph.runs.values import CAUSE_SETUP, Detail, End, Failure


class Step:
    """One run within one step of the machine: the state, what is wanted, the time."""

    __slots__ = ("due", "effects", "ended", "freed", "met", "now", "run", "state", "submitted", "values")

    def __init__(self, state: State, run: Run, effects: Effects, now: int) -> None:
        self.state = state
        self.run = run
        self.effects = effects
        self.now = now
        self.met: list[tuple[Scope, int]] = []
        """Nodes whose inputs have come, to be looked at."""
        self.due: list[tuple[Scope, int]] = []
        """Nodes that begin without a place on the heap."""
        self.ended: list[Scope] = []
        """Executions of bodies that have ended, to be told to what executes them."""
        self.freed: list[Place] = []
        """Nodes of whose executions some were committed: others may begin."""
        self.submitted: list[Place] = []
        self.values: dict[str, Any] | None = None

    def open(self, scope: Scope) -> None:
        """A scope begins, or goes on after a restart: everything without open predecessors is looked at."""
        for rank, node in enumerate(scope.nodes):
            if node.end is None and (not node.unmet or self._has_any(scope, rank)):
                self.met.append((scope, rank))
        if scope.parent is not None and scope.has_ended:
            self.ended.append(scope)

    def end(self, scope: Scope, rank: int, end: End) -> None:
        """A node has ended; once only, and not behind a failure that everything fails with."""
        run, node = self.run, scope.nodes[rank]
        if node.end is not None or rank > scope.barrier:
            return
        node.end = completed(node, end, self.now)
        place = (*scope.place, rank)
        run.running.discard(place)
        run.aside.discard(place)
        scope.held.discard(rank)
        run.tasks.pop(node.task, None)
        scope.open_by_level[scope.shape.graph.nodes[rank].gradient] -= 1
        if end.detail.is_error:
            scope.errors += 1
            if scope.shape.fatal[rank]:
                self._raise_barrier(scope, rank)
        self._tell_successors(scope, rank)
        self._open_order(scope)
        if scope.parent is not None and scope.has_ended:
            self.ended.append(scope)

    def fail(self, scope: Scope, rank: int, error: ServiceError) -> None:
        """It could not be begun."""
        self.end(scope, rank, failed(CAUSE_SETUP, error.message, error.next_step))

    def touch(self, place: Place) -> None:
        """Something of the node may be told."""
        node = self.run.node_at(place)
        if node is None:
            return
        self.state.revision += 1
        node.revision = self.state.revision
        self.run.note_change(self.state.revision, place)
        self.effects.changed.add(self.run.spec.number)

    def touch_run(self) -> None:
        self.state.revision += 1
        self.run.revision = self.state.revision
        self.effects.changed.add(self.run.spec.number)

    def set_state(self, state: RunState) -> None:
        """Paused, or running again."""
        self.run.state = state
        self.touch_run()
        self.effects.rows.append(RecordRunState(self.run.spec.number, state, self.run.revision))

    def drop_behind(self, above: Place, number: int) -> None:
        """What stands below `above` behind a rank, or an execution of a body, is not wanted any more.

        Costs what there is of it, not what there is of the run: each of many executions may fail.
        """
        run, tasks = self.run, []
        for place, task in [*self._behind(above, number), *self._expected_behind(above, number)]:
            run.running.discard(place)
            run.aside.discard(place)
            run.early.pop(place, None)
            run.expected.pop(place, None)
            if task in run.tasks:
                tasks.append(task)
            if place in run.gates:
                self.forget_gates([place])
        self.cancel_tasks(tasks)

    def _behind(self, above: Place, number: int) -> Iterator[tuple[Place, str]]:
        """Places of nodes and executions that have come up, with their tasks."""
        if len(above) % 2 == 0:
            scope = self.run.scope_at((*above, 0))
            if scope is not None:
                yield from _within(scope, number + 1)
            return
        scope = self.run.scope_at(above)
        executed = scope.bodies.get(above[-1]) if scope is not None else None
        for inner in executed.scopes.values() if executed is not None else ():
            if inner.place[-1] > number:
                yield inner.place, ""
                yield from _within(inner, 0)

    def _expected_behind(self, above: Place, number: int) -> Iterator[tuple[Place, str]]:
        depth = len(above)
        for place, task in self.run.expected.items():
            if len(place) > depth and place[depth] > number and place[:depth] == above:
                yield place, task

    def forget_gates(self, places: list[Place]) -> None:
        """They wait for nobody any more."""
        for place in places:
            self.run.gates.pop(place, None)
            self.state.deadlines.pop((self.run.spec.number, place), None)

    def cancel_tasks(self, tasks: list[str]) -> None:
        if tasks:
            self.effects.wishes.append(CancelTasks(self.run.spec.account, tuple(tasks)))
        for task in tasks:
            del self.run.tasks[task]

    # What waits

    def _tell_successors(self, scope: Scope, rank: int) -> None:
        for successor in scope.shape.graph.nodes[rank].successors:
            node = scope.nodes[successor]
            node.unmet -= 1
            if not node.unmet or self._has_any(scope, successor):
                self.met.append((scope, successor))

    def _has_any(self, scope: Scope, rank: int) -> bool:
        return (
            scope.shape.graph.nodes[rank].trigger is Trigger.ANY_DONE
            and results.first_done(scope, rank) is not None
        )

    def admit(self, scope: Scope, rank: int) -> None:
        """Onto the heap, unless the order holds it back. What had left before a restart, and what needs no agent,
        is due at once."""
        run, planned = self.run, scope.shape.graph.nodes[rank]
        place = (*scope.place, rank)
        if place in run.expected:
            self.due.append((scope, rank))
            return
        is_strict = run.spec.start is Start.STRICT
        is_early = is_strict and run.spec.order is Order.LEVELS and planned.gradient > scope.level
        if is_early or (planned.has_effects and not self._is_its_turn(scope, rank)):
            scope.held.add(rank)
            return
        node = scope.nodes[rank]
        if rank in scope.held:
            scope.held.discard(rank)
            node.wait_ms = self.now - node.ready_ms
        node.detail = Detail.READY
        is_free = planned.control is not None and run.state is RunState.RUNNING
        if is_free and not (is_strict and run.spec.order is Order.BRANCHES) and not scope.is_behind(rank):
            self.due.append((scope, rank))
        else:
            heapq.heappush(run.ready, place)

    def _is_its_turn(self, scope: Scope, rank: int) -> bool:
        """Whether everything with effects before it in O has ended."""
        effects = scope.shape.effects
        if scope.next_effect >= len(effects) or rank != effects[scope.next_effect]:
            return False
        return scope.parent is None or bodies.has_turn(scope)

    def _open_order(self, scope: Scope) -> None:
        """Levels and the turn of effects move on with what has ended."""
        run, count = self.run, len(scope.nodes)
        while scope.first_open < count and scope.nodes[scope.first_open].end is not None:
            scope.first_open += 1
        level = scope.level
        while scope.level < len(scope.open_by_level) and not scope.open_by_level[scope.level]:
            scope.level += 1
        if scope.level != level and run.spec.start is Start.STRICT and run.spec.order is Order.LEVELS:
            for rank in sorted(scope.held):
                self.admit(scope, rank)
        effects, turn = scope.shape.effects, scope.next_effect
        while scope.next_effect < len(effects) and scope.nodes[effects[scope.next_effect]].end is not None:
            scope.next_effect += 1
        if scope.next_effect != turn:
            self.admit_effect(scope)
        if effects and scope.parent is not None:
            self.pass_turn(scope)

    def admit_effect(self, scope: Scope) -> None:
        """The node whose turn it is to have effects may have waited for it."""
        effects = scope.shape.effects
        if scope.next_effect < len(effects) and effects[scope.next_effect] in scope.held:
            self.admit(scope, effects[scope.next_effect])

    def pass_turn(self, inner: Scope) -> None:
        """The next item of a map may have effects, once this one has had all of its own."""
        following = bodies.pass_turn(inner)
        if following is not None:
            self.admit_effect(following)

    def _raise_barrier(self, scope: Scope, rank: int) -> None:
        """The execution fails at this node: what stands behind it in the order is ended."""
        scope.barrier = rank
        self.drop_behind(scope.place, rank)
        for other in [other for other in scope.bodies if other > rank]:
            bodies.let_go(scope.bodies.pop(other), -1)

    # What control nodes ask for

    def read(self, place: Place, digests: dict[str, str]) -> None:
        """The JSON of artefacts is wanted before it goes on."""
        self.run.aside.add(place)
        self.effects.wishes.append(ReadValues(self.run.spec.number, place, digests))

    def keep(self, place: Place, values: dict[str, str]) -> None:
        """Lists are to lie in the store before it goes on."""
        self.run.aside.add(place)
        self.effects.wishes.append(StoreValues(self.run.spec.number, place, values))


def _within(scope: Scope, first: int) -> Iterator[tuple[Place, str]]:
    """Places in a scope from a rank on, those in bodies there included, with their tasks."""
    for rank in range(first, len(scope.nodes)):
        yield (*scope.place, rank), scope.nodes[rank].task
        executed = scope.bodies.get(rank)
        for inner in executed.scopes.values() if executed is not None else ():
            yield inner.place, ""
            yield from _within(inner, 0)


def failed(cause: int, message: str, next_step: str = "") -> End:
    """A node that could not be begun."""
    return End(Detail.FAILED, failure=Failure(cause, message, next_step))


def completed(node: NodeState, end: End, now: int) -> End:
    """The end with what only the state knows."""
    return msgspec.structs.replace(
        end,
        params=node.params or "",
        key=node.key or end.key,
        reason=end.reason or node.reason,
        ready_ms=max(0, node.ready_ms),
        start_ms=end.start_ms or node.start_ms,
        end_ms=now,
    )
