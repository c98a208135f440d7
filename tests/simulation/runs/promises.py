"""What must be true of runs after every step, and at the end of a story."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

from services.graph.engine import Engine
from services.graph.model import Kind, MapControl, Order, Trigger
from services.graph.runs.places import Place, node_at
from services.graph.runs.state import MapBodies, Run, RunState, Scope, Start, check_invariants
from services.graph.runs.values import End

if TYPE_CHECKING:
    from tests.simulation.runs.world import World

LATE_MS = 50
"""So long an order to end may be under way."""


def look(world: World, engine: Engine) -> None:
    """After a step."""
    check_invariants(engine.state)
    for number, run in engine.state.runs.items():
        _is_paused_as_it_was(world, number, run)
        wanted = run.running | set(run.expected)
        tasks = [task for task in world.scheduler.tasks.values() if task.run == number and task.is_open]
        count = sum(task.place in wanted for task in tasks)
        assert count <= world.plan.workers, f"{count} tasks at a time"
        row = world.disk.run(number)
        assert row is not None and row.state is run.state, "the disk knows of another state"
        _decided_stays_decided(world, number)
        for scope in _scopes(run.root):
            _no_map_is_too_wide(scope)
        is_free = run.state is RunState.RUNNING and run.busy < world.plan.workers
        if world.plan.start is Start.READY and is_free:
            left = [place for scope in _scopes(run.root) for place in _eligible(run, scope)]
            assert not left, f"{left} may start, and a slot is free (S1.10)"


def _is_paused_as_it_was(world: World, number: int, run: Run) -> None:
    if run.state is not RunState.PAUSED:
        world.frozen.pop(number, None)
        return
    left = world.disk.left(number)
    known = world.frozen.setdefault(number, left | run.running)
    assert left <= known, f"{left - known} started while the run was paused"


def _decided_stays_decided(world: World, number: int) -> None:
    for place, record in world.disk.gates(number).items():
        if record.is_approved is not None:
            known = world.decided.setdefault((number, place), record)
            assert known == record, f"{place} was decided over again"


def _scopes(scope: Scope) -> Iterator[Scope]:
    yield scope
    for rank, executed in scope.bodies.items():
        if rank <= scope.barrier:
            for inner in executed.scopes.values():
                yield from _scopes(inner)


def _no_map_is_too_wide(scope: Scope) -> None:
    for rank, executed in scope.bodies.items():
        control = scope.shape.graph.nodes[rank].control
        if isinstance(executed, MapBodies) and isinstance(control, MapControl) and control.max_parallel:
            open_ = [inner for inner in executed.scopes.values() if not inner.has_ended]
            assert len(open_) <= control.max_parallel, f"{len(open_)} items of a map at a time"


def _eligible(run: Run, scope: Scope) -> Iterator[Place]:
    """Tasks whose inputs are there, by the graph alone, and which are not under way."""
    if scope.place in run.aside:
        return
    for rank, planned in enumerate(scope.shape.graph.nodes):
        place = (*scope.place, rank)
        is_task = (
            planned.kind is Kind.TASK and not planned.has_effects and planned.trigger is Trigger.ALL_ENDED
        )
        if not is_task or place in run.running or scope.nodes[rank].end is not None or scope.is_behind(rank):
            continue
        if all(scope.nodes[edge.source].end is not None for edge in planned.inputs):
            yield place


def look_back(world: World) -> None:
    """At the end."""
    tasks = world.scheduler.tasks
    times = Counter((task.run, task.place) for task in tasks.values())
    assert all(number == 1 for number in times.values()), f"executed twice: {times.most_common(3)}"
    for number in (1, 2):
        row = world.disk.run(number)
        if row is None:
            continue
        committed = {node.place: node.end for node in world.disk.committed(number)}
        for place, end in committed.items():
            if end.task and not end.reason.startswith(("kept", "computed by")):
                assert tasks[end.task].place == place and tasks[end.task].run == number
        _are_let_go_of(world, number, row.end_ms)
        _are_held(world, number, committed)
        _stand_in_order(world, number)


def _are_let_go_of(world: World, number: int, end_ms: int) -> None:
    """What still ran when the run ended was asked to end."""
    for task in world.scheduler.tasks.values():
        if task.run == number and task.end_ms > end_ms + LATE_MS:
            assert not task.is_wanted, f"nobody cancelled {task.id} of {task.place}"


def _are_held(world: World, number: int, committed: dict[Place, End]) -> None:
    for place, end in committed.items():
        if node_at(world.graph, place).record:
            wanted = {digest for output in end.outputs for digest in output.digests}
            assert wanted <= world.scheduler.held.get(f"run:r-{number}", set()), (
                f"what {place} gave is not held"
            )


def _stand_in_order(world: World, number: int) -> None:
    """Effects in the total order; strict starts likewise, within every scope."""
    places = [task.place for task in world.scheduler.started if task.run == number]
    effects = [place for place in places if node_at(world.graph, place).has_effects]
    assert effects == sorted(effects), f"effects out of order: {effects}"
    if world.plan.start is not Start.STRICT:
        return
    if world.plan.order is Order.BRANCHES:
        assert places == sorted(places), "strict branches start out of order (S1.9)"
        return
    levels: dict[Place, list[int]] = defaultdict(list)
    for place in places:
        levels[place[:-1]].append(node_at(world.graph, place).gradient)
    for scope, found in levels.items():
        assert found == sorted(found), f"strict levels of {scope} start out of order (S1.10): {found}"
