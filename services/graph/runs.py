"""How one run moves: what may start, what has ended, what follows from it (S1.4–S1.10). Pure.

Nodes end in any order and are committed in O (`commits.py`). What starts when is decided in two places only: `_admit`
says whether a node whose inputs are there waits for the order, `_start` takes what may start off the heap, least place
first. A completion costs its out-degree, however large the run is.
"""

import heapq
from collections.abc import Iterator
from typing import Any

import msgspec

from services.chassis.errors import ServiceError
from services.graph import bodies, commits, gates, launching, loops, maps, results
from services.graph.effects import (
    CancelTasks,
    Effects,
    ReadValues,
    RecordRunState,
    StoreValues,
)
from services.graph.model import Order, Trigger
from services.graph.places import Place
from services.graph.skipping import why_skipped
from services.graph.state import MapBodies, NodeState, Run, RunState, Scope, Start, State
from services.graph.values import Detail, End, Failure

CAUSE_TIMEOUT, CAUSE_ERROR, CAUSE_SETUP, CAUSE_CANCELLED = 5, 6, 7, 9
"""Of modelyard.v1.TaskCause."""


class Step:
    """One run within one step of the machine: the state, what is wanted, the time."""

    __slots__ = ("effects", "ended", "freed", "met", "now", "run", "state", "submitted", "values")

    def __init__(self, state: State, run: Run, effects: Effects, now: int) -> None:
        self.state = state
        self.run = run
        self.effects = effects
        self.now = now
        self.met: list[tuple[Scope, int]] = []
        """Nodes whose inputs have come, to be looked at."""
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
        node.end = _complete(node, end, self.now)
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

    def move(self) -> None:
        """Everything that follows: skips, starts, commits, the end of the run."""
        while True:
            self._settle()
            self._start()
            if self.met or self.ended:
                continue
            commits.commit(self)
            while self.freed:
                self._go_on(self.freed.pop())
            if not self.met and not self.ended:
                break
        if self.submitted:
            self.effects.starts.setdefault(self.run.spec.number, []).extend(self.submitted)

    def _settle(self) -> None:
        while self.met or self.ended:
            while self.met:
                self._on_inputs(*self.met.pop())
            if self.ended:
                self._on_ended(self.ended.pop())

    def _on_ended(self, inner: Scope) -> None:
        """An execution of a body has ended: the node that executes it is told."""
        scope = inner.parent
        if scope is None or inner.is_gone:
            return
        if isinstance(scope.bodies[inner.place[-2]], MapBodies):
            maps.on_ended(self, scope, inner)
        else:
            loops.on_ended(self, scope, inner)

    def _go_on(self, place: Place) -> None:
        """Executions of the node there were committed: others may begin."""
        scope, rank = self.run.scope_at(place), place[-1]
        executed = scope.bodies.get(rank) if scope is not None else None
        if scope is None or executed is None or scope.nodes[rank].end is not None:
            return
        if isinstance(executed, MapBodies):
            maps.begin_more(self, scope, rank, executed)
        else:
            loops.begin_more(self, scope, rank)

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

    def cancel(self, message: str) -> None:
        """Ends the run at once: what has not ended is cancelled."""
        run = self.run
        run.state = RunState.CANCELLED
        self._cancel_tasks([*run.tasks])
        self._cancel_scope(run.root, Failure(CAUSE_CANCELLED, message))
        for known in (run.running, run.aside, run.ready, run.expected, run.early):
            known.clear()
        gates.forget(self, [*run.gates])
        commits.commit(self)

    def _cancel_scope(self, scope: Scope, failure: Failure) -> None:
        for executed in scope.bodies.values():
            executed.last = executed.next - 1
            for inner in executed.scopes.values():
                self._cancel_scope(inner, failure)
        for node in scope.nodes[scope.committed :]:
            if node.end is None:
                node.end = _complete(node, End(Detail.CANCELLED, failure=failure), self.now)

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
                gates.forget(self, [place])
        self._cancel_tasks(tasks)

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

    def _cancel_tasks(self, tasks: list[str]) -> None:
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

    def _on_inputs(self, scope: Scope, rank: int) -> None:
        """All that it waits for has ended: it is skipped, or may start when the order lets it."""
        node = scope.nodes[rank]
        if node.end is not None or node.ready_ms >= 0 or scope.is_gone:
            return
        node.ready_ms = self.now
        why = why_skipped(scope, rank)
        if why:
            self.end(scope, rank, End(Detail.SKIPPED, note=why))
        else:
            self.admit(scope, rank)

    def admit(self, scope: Scope, rank: int) -> None:
        """Onto the heap, unless the order holds it back. What had left before a restart, and what needs no agent,
        begins at once."""
        run, planned = self.run, scope.shape.graph.nodes[rank]
        place = (*scope.place, rank)
        if place in run.expected:
            launching.launch(self, scope, rank)
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
            launching.launch(self, scope, rank)
        else:
            heapq.heappush(run.ready, place)

    def _is_its_turn(self, scope: Scope, rank: int) -> bool:
        """Whether everything with effects before it in O has ended."""
        effects = scope.shape.effects
        if scope.next_effect >= len(effects) or rank != effects[scope.next_effect]:
            return False
        return scope.parent is None or maps.has_turn(scope)

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
                # One that ends at once may have opened a level, and have let others go.
                if rank in scope.held:
                    self.admit(scope, rank)
        effects, turn = scope.shape.effects, scope.next_effect
        while scope.next_effect < len(effects) and scope.nodes[effects[scope.next_effect]].end is not None:
            scope.next_effect += 1
        if scope.next_effect != turn:
            self.admit_effect(scope)
        if effects and scope.parent is not None:
            maps.pass_turn(self, scope)

    def admit_effect(self, scope: Scope) -> None:
        """The node whose turn it is to have effects may have waited for it."""
        effects = scope.shape.effects
        if scope.next_effect < len(effects) and effects[scope.next_effect] in scope.held:
            self.admit(scope, effects[scope.next_effect])

    def _raise_barrier(self, scope: Scope, rank: int) -> None:
        """The execution fails at this node: what stands behind it in the order is ended."""
        scope.barrier = rank
        self.drop_behind(scope.place, rank)
        for other in [other for other in scope.bodies if other > rank]:
            bodies.let_go(scope.bodies.pop(other), -1)

    # What starts

    def _start(self) -> None:
        run = self.run
        if run.state is not RunState.RUNNING:
            return
        most = run.spec.max_parallel or run.node_count
        one_by_one = run.spec.start is Start.STRICT and run.spec.order is Order.BRANCHES
        while run.ready and run.busy < most:
            place = run.ready[0]
            scope, rank = run.scope_at(place), place[-1]
            if scope is None or not run.may_start(place):
                heapq.heappop(run.ready)
                continue
            if one_by_one and (run.running or run.aside or not _is_first_open(scope, rank)):
                return
            heapq.heappop(run.ready)
            node = scope.nodes[rank]
            if one_by_one:
                node.wait_ms = self.now - node.ready_ms
            run.order_wait_ms += node.wait_ms
            launching.launch(self, scope, rank)
            if self.met or self.ended:
                return

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


def _complete(node: NodeState, end: End, now: int) -> End:
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


def _is_first_open(scope: Scope, rank: int) -> bool:
    """Whether everything before it in O has ended."""
    if rank != scope.first_open:
        return False
    if scope.parent is None:
        return True
    at, number = scope.place[-2:]
    return bodies.first_open(scope.parent.bodies[at]) == number and _is_first_open(scope.parent, at)
