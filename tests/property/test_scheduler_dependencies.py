"""Any graph of tasks and arrays: nothing starts before its conditions hold, all end, a restart changes nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.scheduler.model import (
    TERMINAL,
    Cause,
    Condition,
    Dependency,
    Retry,
    Spec,
    TaskState,
    array_of,
    element_key,
    index_of,
)
from services.scheduler.state.effects import RecordChange, StartTask
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from tests.support.conduct import after_item, conduct_spec, submit_all
from tests.support.scheduler_cluster import MachineCluster
from tests.support.scheduler_disk import Disk

CAUSES = (Cause.NONE, Cause.NONE, Cause.NONE, Cause.EXIT, Cause.NODE_LOST)
CONDITIONS = tuple(Condition)
SIZE = 3

# (of which kind, what it depends on: (how far back, condition, element by element)).
NODES = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.lists(st.tuples(st.integers(1, 6), st.sampled_from(CONDITIONS), st.booleans()), max_size=3),
    ),
    min_size=2,
    max_size=9,
)
MOVES = st.lists(
    st.tuples(
        st.sampled_from(["exit", "exit", "exit", "start", "cancel", "element", "hold", "release", "restart"]),
        st.integers(0, 1_000),
        st.integers(0, 1_000),
    ),
    max_size=40,
)


def graph(nodes: list[tuple[int, list[tuple[int, Condition, bool]]]]) -> list[Spec]:
    specs: list[Spec] = []
    for number, (kind, edges) in enumerate(nodes):
        wanted: dict[Dependency, None] = {}
        is_array = kind >= 4
        for back, condition, element_wise in edges:
            item = number - back
            if item >= 0:
                wise = element_wise and is_array and bool(specs[item].array_size)
                wanted[after_item(item, condition, element_wise=wise)] = None
        fields: dict[str, Any] = {"array_size": SIZE} if is_array else {}
        if kind == 1:
            fields["retry"] = Retry(2)
        if kind == 2:
            fields["hold"] = True
        if kind == 5:
            fields["array_indexes"] = (0, 2)
        if kind == 6:
            fields["max_running"] = 1
        if kind == 7:
            fields["max_fails"] = 0
        specs.append(conduct_spec(b"%d" % number, dependencies=tuple(wanted), **fields))
    return specs


class Witness:
    """Sees every start and every end, and judges each start by what had happened before it."""

    def __init__(self, cluster: MachineCluster, specs: list[Spec], keys: list[int]) -> None:
        self.cluster = cluster
        self.specs = dict(zip(keys, specs, strict=True))
        self.keys = keys
        self.final: dict[int, TaskState] = {}
        self.started: set[int] = set()
        self.seen = 0

    def look(self) -> None:
        for row in self.cluster.rows[self.seen :]:
            if not isinstance(row, RecordChange):
                continue
            if row.state is TaskState.ASSIGNED:
                self._judge(row.task)
            if row.start_ms:
                self.started.add(row.task)
            if row.state in TERMINAL:
                self.final[row.task] = row.state
        self.seen = len(self.cluster.rows)

    def _judge(self, key: int) -> None:
        for one in self.specs[array_of(key)].dependencies:
            on = self.keys[one.item]
            if one.is_element_wise:
                on = element_key(on, index_of(key))
                if on not in self.final and array_of(on) in self.final:
                    assert one.condition is Condition.ENDED or self.final[array_of(on)] is TaskState.SUCCEEDED
                    continue
            if one.condition is Condition.STARTED:
                assert on in self.started, f"{key} before {on} has started"
                continue
            final = self.final.get(on)
            assert final is not None, f"{key} before {on} has ended"
            if one.condition is Condition.SUCCEEDED:
                assert final is TaskState.SUCCEEDED
            if one.condition is Condition.FAILED:
                assert final is TaskState.FAILED


def act(cluster: MachineCluster, disk: Disk, move: tuple[str, int, int]) -> None:
    kind, number, other = move
    tasks = sorted(cluster.state.tasks.items())
    placed = [key for key, task in tasks if task.node]
    if kind == "exit" and placed:
        cluster.exit(placed[number % len(placed)], cause=CAUSES[other % len(CAUSES)])
    elif kind == "start" and placed:
        cluster.start(placed[number % len(placed)])
    elif kind == "cancel" and tasks and other % 3 == 0:
        cluster.cancel(tasks[number % len(tasks)][0])
    elif kind == "element" and tasks:
        arrays = [key for key, task in tasks if task.tally is not None]
        if arrays:
            cluster.cancel(element_key(arrays[number % len(arrays)], other % SIZE))
    elif kind == "hold":
        waiting = [key for key, task in tasks if not task.node]
        if waiting:
            cluster.hold(waiting[number % len(waiting)])
    elif kind == "release":
        held = [key for key, task in tasks if task.state is TaskState.HELD]
        if held:
            cluster.release(held[number % len(held)])
    elif kind == "restart":
        disk.restart(cluster)
        held_there = tuple(
            cluster.held(key, is_running=task.state is TaskState.RUNNING)
            for key, task in sorted(cluster.state.tasks.items())
            if task.node
        )
        cluster.connect("n0", cpu=3, tasks=held_there, incarnation=1)


def picture(state: State) -> dict[int, Any]:
    return {key: _task_picture(state, task) for key, task in sorted(state.tasks.items())}


def _task_picture(state: State, task: Task) -> tuple[Any, ...]:
    tally: tuple[Any, ...] = ()
    if task.tally is not None:
        t = task.tally
        tally = (t.left, t.active, t.succeeded, t.failed, t.cancelled, t.has_turn(), t.needed, dict(t.seen))
    waits = any(key == task.key for _, key in task.queue.keys) and not task.awaits
    if task.tally is not None or task.state is not TaskState.QUEUED:
        waits = False
    return (task.state, task.attempt, task.awaits, task.counterparts, waits, tally, task.has_started)


SLOW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(NODES, MOVES)
def test_any_graph_starts_in_order_and_comes_to_its_end(
    nodes: list[tuple[int, list[tuple[int, Condition, bool]]]], moves: list[tuple[str, int, int]]
) -> None:
    disk = Disk()
    try:
        cluster = MachineCluster(cpu=3)
        specs = graph(nodes)
        witness = Witness(cluster, specs, submit_all(cluster, *specs))
        for move in moves:
            witness.look()
            act(cluster, disk, move)
            disk.persist(cluster)
            assert picture(disk.restore(cluster)) == picture(cluster.state)
        witness.look()
        _finish(cluster, witness)
        assert not cluster.state.tasks
        assert not cluster.state.dependents.happened
    finally:
        disk.connection.close()


def _finish(cluster: MachineCluster, witness: Witness) -> None:
    for _ in range(200):
        if not cluster.state.tasks:
            return
        held = [key for key, task in cluster.state.tasks.items() if task.state is TaskState.HELD]
        if held:
            cluster.release(*held)
        placed = [key for key, task in cluster.state.tasks.items() if task.node]
        if placed:
            cluster.exit(*placed)
        cluster.turn(500)
        cluster.beat("n0")
        cluster.tick(500)
        witness.look()


@SLOW
@given(NODES)
def test_the_same_graph_has_the_same_effects(
    nodes: list[tuple[int, list[tuple[int, Condition, bool]]]],
) -> None:
    rows = []
    for _ in range(2):
        cluster = MachineCluster(cpu=2)
        submit_all(cluster, *graph(nodes))
        while placed := [key for key, task in cluster.state.tasks.items() if task.node]:
            cluster.exit(*placed, cause=CAUSES[len(placed) % 4])
        rows.append(cluster.rows)
    assert rows[0] == rows[1]
    assert not any(isinstance(row, StartTask) for row in rows[0])
