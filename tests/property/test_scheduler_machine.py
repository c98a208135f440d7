"""Any order of events: invariants hold, the same events give the same effects, and what is on disk is the state."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.chassis.errors import ServiceError
from services.scheduler.model import (
    Cause,
    Disconnect,
    DisconnectMode,
    Policy,
    Quota,
    Reconciliation,
    Retry,
    TaskState,
    element_key,
)
from services.scheduler.placement import placement
from services.scheduler.placement.cluster import Node
from services.scheduler.placement.placement import Candidates
from services.scheduler.queues.admission import obstacle
from services.scheduler.queues.shares import AccountSettings, QueueSettings
from services.scheduler.queues.tenants import ShapeQueue
from services.scheduler.requests import modification
from services.scheduler.resources import amounts
from services.scheduler.scheduling.explain import judge
from services.scheduler.state import events as ev
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from tests.support.modifications import answer, change
from tests.support.scheduler_cluster import MachineCluster, make_shape, make_spec
from tests.support.scheduler_disk import Disk

NODES = ("n0", "n1", "n2")
SPECS = (
    make_spec(),
    make_spec(b"retry", retry=Retry(3)),
    make_spec(b"backoff", retry=Retry(2, backoff_ms=1_500)),
    make_spec(b"large", cpu=3, priority=2),
    make_spec(b"gpu", gpu=0.5),
    make_spec(b"gpus", gpu=2, policy=Policy.BINPACK),
    make_spec(b"pinned", node="n1"),
    make_spec(b"labelled", labels={"zone": "a"}, policy=Policy.SPREAD),
    make_spec(b"hasty", queue_timeout_ms=2_000, memory=1 << 28),
    make_spec(b"held", hold=True),
    make_spec(b"array", array_size=4),
    make_spec(b"awaited", disconnect=Disconnect(DisconnectMode.KEEP)),
    make_spec(b"patient", disconnect=Disconnect(DisconnectMode.KEEP, 40_000, Reconciliation.LONGEST_RUNNING)),
    make_spec(b"strict", disconnect=Disconnect(DisconnectMode.STOP)),
    make_spec(b"first", disconnect=Disconnect(reconciliation=Reconciliation.KEEP_ORIGINAL), retry=Retry(2)),
    make_spec(b"best", disconnect=Disconnect(reconciliation=Reconciliation.BEST_SCORE)),
    make_spec(b"pooled", pool="fast"),
    make_spec(b"gang", gang="g", cpu=2),
    make_spec(b"modest", cpu=2, preemptible=True),
    make_spec(b"pressing", cpu=3, priority=4, preempts=True),
    make_spec(b"gang-retry", gang="h", cpu=1, retry=Retry(2)),
    make_spec(b"gang-array", gang="a", array_size=4, gang_min=2, retry=Retry(2)),
    make_spec(b"gang-apart", gang="p", is_distinct=True, queue_timeout_ms=3_000),
    make_spec(b"array-apart", array_size=3, is_distinct=True),
    make_spec(b"array-retry", array_size=3, retry=Retry(2), queue_timeout_ms=3_000),
    make_spec(b"small", queue="small"),
    make_spec(b"small-large", queue="small", cpu=2, priority=3),
    make_spec(b"small-array", queue="small", array_size=3, cpu=0.5),
    make_spec(b"capped", caps=(("licence", 2),), cpu=0.5),
    make_spec(b"capped-array", caps=(("disk", 1), ("licence", 3)), array_size=3),
)
CAUSES = (Cause.PREEMPTED, Cause.NONE, Cause.NONE, Cause.EXIT, Cause.NODE_LOST, Cause.DRAINED, Cause.TIMEOUT)

Move = tuple[str, int, int, int]
MOVES = st.lists(
    st.tuples(
        st.sampled_from(
            ["submit", "submit", "exit", "exit", "exit", "start", "cancel", "hold", "release", "tick", "hello",
             "leave", "bye", "reject", "retract", "beat", "cordon", "drain", "label", "capacity", "stale",
             "pool", "forget", "silence", "silence", "quote", "quoted", "renew", "unquote", "roles",
             "element", "progress", "modify", "modify", "modified", "queue", "grant"]
        ),
        st.integers(0, 1_000),
        st.integers(0, 1_000),
        st.integers(0, 1_000),
    ),
    max_size=60,
)  # fmt: skip


# Attachments and resources come with what to fall back on; they have tests of their own.
MODIFIED = (
    modification.PARAMS_JSON,
    modification.PRIORITY,
    modification.QUEUE_TIMEOUT,
    modification.RUN_TIMEOUT,
    modification.LABELS,
)


class Player:
    """Turns numbers into events that make sense in the state of the moment, and some that make none."""

    def __init__(self, cluster: MachineCluster) -> None:
        self.cluster = cluster
        for node in NODES:
            self._connect(node, 0)
        if "small" not in cluster.state.waiting.tenancy.queues:
            quota = Quota(limit=amounts({"cpu": 3}), max_running=4)
            cluster.ask(ev.QueueCreated, "small", QueueSettings(quota=quota))

    def play(self, move: Move) -> None:
        kind, *numbers = move
        act: Callable[[int, int, int], None] = getattr(self, f"_{kind}")
        try:
            act(*numbers)
        except ServiceError:
            return

    def _connect(self, node: str, keeps: int) -> None:
        cluster = self.cluster
        held = []
        known = cluster.state.cluster.nodes.get(node)
        for number, key in enumerate(known.believed() if known else []):
            if (keeps + number) % 4 == 3:
                continue  # the agent lost it
            ended = cluster.exited(key) if (keeps + number) % 4 == 2 else None
            held.append(
                cluster.held(key, is_running=(keeps + number) % 4 == 0 and ended is None, ended=ended)
            )
        for number, key in enumerate(sorted(cluster.state.originals)):
            was = cluster.state.tasks[key].original
            kind = (keeps + number) % 5
            if was is None or was.node != node or kind == 4:
                continue  # another's, or its agent was started anew
            end = ev.TaskExited(key, was.attempt, was.epoch, CAUSES[kind + 1], b"", 1, cluster.wall_ms)
            ended = end if kind in (1, 2) else None
            is_suspended = kind == 0 and keeps % 3 == 0
            held.append(ev.HeldTask(key, was.attempt, was.epoch, kind == 0, ended, is_suspended))
        labels = {"zone": "a"} if node == "n2" else {}
        cluster.connect(node, cpu=4, gpus=("0", "1"), labels=labels, tasks=tuple(held))

    def _key(self, number: int, *states: TaskState) -> int:
        keys = sorted(k for k, t in self.cluster.state.tasks.items() if not states or t.state in states)
        return keys[number % len(keys)] if keys else 0

    def _placed(self, number: int) -> Task | None:
        key = self._key(number, TaskState.ASSIGNED, TaskState.RUNNING)
        task = self.cluster.state.tasks.get(key)
        if task is None or task.tally is not None:
            return None
        return task if self.cluster.state.cluster.nodes[task.node].session else None

    def _submit(self, spec: int, count: int, request: int) -> None:
        request_id = f"r{request % 20}" if request % 3 == 0 else ""
        self.cluster.submit(
            SPECS[spec % len(SPECS)], 1 + count % 4, request_id=request_id, content=b"%d" % spec
        )

    def _quote(self, cpu: int, count: int, ttl: int) -> None:
        wish = ev.QuoteWish(make_shape(cpu=1 + cpu % 4), 1 + count % 3, bool(cpu % 2))
        self.cluster.quote(wish, ttl_ms=1 + ttl * 10)

    def _quoted(self, number: int, cpu: int, count: int) -> None:
        if quotes := sorted(self.cluster.state.quotes.live):
            spec = make_spec(
                quote=quotes[number % len(quotes)], cpu=1 + cpu % 4, array_size=(0, 0, 2)[count % 3]
            )
            self.cluster.submit(spec, 1 + count % 2)

    def _renew(self, number: int, ttl: int, *_: int) -> None:
        if quotes := sorted(self.cluster.state.quotes.live):
            self.cluster.ask(ev.QuoteRenewed, "ada", quotes[number % len(quotes)], 1 + ttl * 10)

    def _unquote(self, number: int, *_: int) -> None:
        if quotes := sorted(self.cluster.state.quotes.live):
            self.cluster.ask(ev.QuoteDeleted, "ada", quotes[number % len(quotes)])

    def _roles(self, first: int, second: int, third: int) -> None:
        """A gang of several shapes."""
        ask = [make_spec(b"role%d" % (n % 3), gang="r", cpu=1 + n % 3) for n in (first, second, third)]
        self.cluster.submit_all(*ask)

    def _exit(self, number: int, cause: int, run_ms: int) -> None:
        if task := self._placed(number):
            self.cluster.exit(task.key, cause=CAUSES[cause % len(CAUSES)], run_ms=1 + run_ms // 100)

    def _start(self, number: int, *_: int) -> None:
        if task := self._placed(number):
            self.cluster.start(task.key)

    def _progress(self, number: int, *_: int) -> None:
        if task := self._placed(number):
            report = ev.TaskProgressed(task.key, task.attempt, task.epoch, 0.5, "")
            self.cluster.report(task.node, report)

    def _modify(self, number: int, fields: int, value: int) -> None:
        paths = [path for bit, path in enumerate(MODIFIED) if fields >> bit & 1]
        params = json.dumps({"abc"[value % 3]: value}) if modification.PARAMS_JSON in paths else ""
        wanted: dict[str, Any] = {}
        for path, name, most in (
            (modification.PRIORITY, "priority", 3),
            (modification.QUEUE_TIMEOUT, "queue_timeout_ms", 3_000),
            (modification.RUN_TIMEOUT, "run_timeout_ms", 1_000),
            (modification.LABELS, "labels", 2),
        ):
            if path in paths:
                wanted[name] = value % most
        request = {"request_id": f"r{value % 20}", "content": b"%d" % fields} if value % 4 == 0 else {}
        if paths:
            change(self.cluster, self._key(number), *paths, params=params, **request, **wanted)

    def _modified(self, number: int, accepted: int, lag: int) -> None:
        placed = [key for key, task in sorted(self.cluster.state.tasks.items()) if task.pending]
        task = self.cluster.state.tasks[placed[number % len(placed)]] if placed else None
        if task is not None and self.cluster.state.cluster.nodes[task.node].session:
            pending = task.pending[lag % len(task.pending)]
            fields = tuple((path, bool(accepted % 2), "no") for path in pending.paths[: 1 + accepted % 2])
            answer(self.cluster, task.key, pending.revision, *fields)

    def _reject(self, number: int, *_: int) -> None:
        if task := self._placed(number):
            self.cluster.report(task.node, ev.TaskRejected(task.key, task.attempt, task.epoch, "full"))

    def _retract(self, number: int, *_: int) -> None:
        if task := self._placed(number):
            self.cluster.report(task.node, ev.TaskRetracted(task.key, task.attempt, task.epoch))

    def _stale(self, number: int, attempt: int, epoch: int) -> None:
        key = self._key(number) or 77
        reports = (
            ev.TaskExited(key, attempt % 3 + 50, epoch % 3, Cause.NONE, b""),
            ev.TaskStarted(key, 99, 1, 1),
        )
        self.cluster.report(NODES[epoch % 3], *reports)

    def _cancel(self, number: int, *_: int) -> None:
        self.cluster.cancel(self._key(number), grace_ms=(5_000, number)[number % 2])

    def _element(self, number: int, index: int, *_: int) -> None:
        arrays = [key for key, task in self.cluster.state.tasks.items() if task.tally is not None]
        if arrays:
            self.cluster.cancel(element_key(arrays[number % len(arrays)], index % 5))

    def _hold(self, number: int, *_: int) -> None:
        self.cluster.hold(self._key(number))

    def _release(self, number: int, *_: int) -> None:
        self.cluster.release(self._key(number, TaskState.HELD))

    def _tick(self, number: int, *_: int) -> None:
        self.cluster.tick((500, 1_000, 3_000, 25_000)[number % 4])

    def _hello(self, node: int, keeps: int, *_: int) -> None:
        self._connect(NODES[node % 3], keeps)

    def _leave(self, node: int, *_: int) -> None:
        self.cluster.disconnect(NODES[node % 3])

    def _bye(self, node: int, *_: int) -> None:
        self.cluster.disconnect(NODES[node % 3], is_final=True)

    def _queue(self, what: int, number: int, amount: int) -> None:
        name = ("small", "small", "default")[number % 3]
        quota = Quota(limit=amounts({"cpu": amount % 5 + 1}), max_running=amount % 6)
        settings = QueueSettings(
            amount % 3, 1.0 + amount % 2, quota, (0, 1_000, 300_000)[amount % 3], amount % 4 == 0
        )
        paths = ("is_stopped", "quota.limit", "quota.max_running", "weight", "priority", "ageing_ms")
        path = paths[what % len(paths)]
        # The default one stays without limits, so that work goes on.
        if name == "small" or not path.startswith("quota"):
            self.cluster.ask(ev.QueueChanged, name, (path,), settings)

    def _grant(self, what: int, amount: int, *_: int) -> None:
        quota = Quota(
            amounts({"cpu": amount % 9 + 1}) if amount % 3 else (), amounts({"cpu": amount % 4}), amount % 7
        )
        path = ("quota.limit", "quota.guaranteed", "quota.max_running")[what % 3]
        self.cluster.ask(ev.AccountChanged, "ada", (path,), AccountSettings(quota=quota))

    def _beat(self, node: int, cpu: int, as_of: int) -> None:
        self.cluster.beat(NODES[node % 3], as_of=as_of % 10, cpu=cpu / 250)

    def _cordon(self, node: int, is_cordoned: int, *_: int) -> None:
        self.cluster.ask(ev.NodeCordoned, NODES[node % 3], bool(is_cordoned % 2))

    def _drain(self, node: int, timeout: int, *_: int) -> None:
        self.cluster.ask(ev.NodeDrainRequested, NODES[node % 3], timeout * 5)

    def _label(self, node: int, value: int, *_: int) -> None:
        self.cluster.ask(ev.NodeLabelled, NODES[node % 3], {"zone": "ab"[value % 2]}, ())

    def _silence(self, node: int, how_long: int, *_: int) -> None:
        name = NODES[node % 3]
        if name in self.cluster.state.cluster.nodes:
            self.cluster.silence(name, milliseconds=(21_000, 21_000, 45_000)[how_long % 3])

    def _pool(self, node: int, value: int, *_: int) -> None:
        labels = ({"pool": "fast"}, ()) if value % 2 else ({}, ("pool",))
        self.cluster.ask(ev.NodeLabelled, NODES[node % 3], *labels)

    def _forget(self, node: int, *_: int) -> None:
        if NODES[node % 3] in self.cluster.state.cluster.nodes:
            self.cluster.ask(ev.NodeForgotten, NODES[node % 3])

    def _capacity(self, node: int, cpu: int, *_: int) -> None:
        name = NODES[node % 3]
        event = ev.CapacityChanged(
            name, self.cluster.sessions[name], {"cpu": cpu % 6 * 10_000, "memory": 1 << 30}
        )
        self.cluster.step(event)


def _played(
    moves: list[Move], after_each: Callable[[MachineCluster], None] = lambda _: None
) -> MachineCluster:
    cluster = MachineCluster(nodes=0)
    player = Player(cluster)
    for move in moves:
        player.play(move)
        after_each(cluster)
    return cluster


SLOW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(MOVES)
def test_machine_after_any_events_keeps_its_invariants(moves: list[Move]) -> None:
    _played(moves)  # every step of the cluster checks them, and the transitions


@settings(SLOW, max_examples=30)
@given(MOVES)
def test_machine_given_the_same_events_has_the_same_effects(moves: list[Move]) -> None:
    first, second = _played(moves), _played(moves)
    assert first.rows == second.rows
    assert _picture(first.state) == _picture(second.state)


def _brute_force(cluster: MachineCluster, candidates: Candidates) -> Node | None:
    shape = candidates.shape
    fitting = [node for node in cluster.state.cluster.nodes.values() if placement.admits(node, shape)]
    return min(fitting, key=lambda node: placement.rank(node, shape.policy), default=None)


@settings(SLOW, max_examples=60)
@given(MOVES)
def test_index_chooses_what_a_scan_would_and_explain_agrees(moves: list[Move]) -> None:
    shapes = [spec.shape for spec in SPECS] + [make_shape(cpu=0.5), make_shape(cpu=0, policy=Policy.SPREAD)]
    indexes = [Candidates(shape) for shape in shapes]

    def compare(cluster: MachineCluster) -> None:
        for index in indexes:
            chosen = index.choose(cluster.state.cluster)
            assert chosen is _brute_force(cluster, index)
            fitting = {n.id for n in cluster.state.cluster.nodes.values() if judge(n, index.shape).fits}
            assert (chosen is not None) == bool(fitting)
            assert chosen is None or chosen.id in fitting
        for queue in cluster.state.waiting.queues.values():
            waits = any(_starts(cluster.state, queue, key) for _, key in queue.keys)
            # What explain says fits would have been placed in this very step.
            if waits and obstacle(queue) is None:
                assert not queue.candidates.choose(cluster.state.cluster)

    _played(moves, compare)


def _starts(state: State, queue: ShapeQueue, key: int) -> bool:
    task = state.tasks.get(key)
    if (
        task is None
        or task.queue is not queue
        or queue.is_bound
        or key in state.backing_off
        or task.state is TaskState.HELD
    ):
        return False
    if task.tally is not None:
        return task.tally.has_turn()
    return task.state is TaskState.QUEUED


# --- recovery


def _picture(state: State) -> dict[str, Any]:
    """What must be the same after a restart."""
    return {
        "tasks": {key: _task_picture(state, task) for key, task in sorted(state.tasks.items())},
        "gangs": {key: (gang.name, gang.units, gang.phase) for key, gang in state.gangs.by_unit.items()},
        "apart": state.apart,
        "next": (state.next_number, state.next_spec),
        "requests": dict(state.requests),
        "specs": dict(state.specs),
        "queues": {name: queue.settings for name, queue in state.waiting.tenancy.queues.items()},
        "grants": {
            name: account.settings
            for name, account in state.waiting.tenancy.accounts.items()
            if account.settings != AccountSettings()
        },
        "nodes": {
            node.id: (node.is_cordoned, node.drain_deadline_ms, node.label_overrides)
            for node in state.cluster.nodes.values()
        },
    }


def _task_picture(state: State, task: Task) -> tuple[Any, ...]:
    tally = task.tally
    counts: tuple[Any, ...] = ()
    if tally is not None:
        counts = (
            tally.next_index, tally.active, tally.succeeded, tally.failed, tally.cancelled, frozenset(tally.skipped),
        )  # fmt: skip
    # A rejection's short delay need not outlast a restart.
    waits = _waits(state, task)
    return (
        task.state, task.attempt, task.epoch, task.node, task.failures, task.params, task.submit_ms, task.queued_ms,
        task.devices, task.stop, task.account, task.spec.number, counts, waits, task.pending,
        task.limit_revision, task.recorded, task.attempts, task.original,
    )  # fmt: skip


def _waits(state: State, task: Task) -> bool:
    if task.state is TaskState.HELD or task.queue.is_bound:
        return False
    return task.key in state.backing_off or any(
        key == task.key and _starts(state, task.queue, key) for _, key in task.queue.keys
    )


@settings(SLOW, max_examples=60)
@given(MOVES)
def test_state_restored_from_any_commit_is_the_live_one(moves: list[Move]) -> None:
    disk = Disk()

    def compare(cluster: MachineCluster) -> None:
        disk.persist(cluster)
        restored = disk.restore(cluster)
        assert _picture(restored) == _picture(cluster.state)
        assert restored.revision <= cluster.state.revision
        known = set(restored.changes)
        assert list(restored.changes) == [change for change in cluster.state.changes if change in known]

    try:
        _played(moves, compare)
    finally:
        disk.connection.close()


@settings(SLOW, max_examples=40)
@given(MOVES, MOVES)
def test_machine_restored_in_the_middle_goes_on_to_the_end(before: list[Move], after: list[Move]) -> None:
    """After a restart agents come back with what they have, and every task reaches exactly one end."""
    disk = Disk()
    try:
        cluster = _played(before, disk.persist)
        disk.persist(cluster)
        old = cluster.state
        cluster.state = disk.restore(cluster)
        cluster.state.epoch = old.epoch + 1
        player = Player(cluster)
        for move in after:
            player.play(move)
        _finish(cluster)
        assert not cluster.state.tasks
        for node in cluster.state.cluster.nodes.values():
            assert not any(node.reserved.values())
    finally:
        disk.connection.close()


def _finish(cluster: MachineCluster) -> None:
    """Healthy nodes for all, everything released and let succeed: nothing may be left."""
    for node in NODES:
        cluster.connect(node, cpu=8, gpus=("0", "1"), labels={"zone": "a"}, incarnation=2)
        cluster.ask(ev.NodeCordoned, node, False)
        labels = {"zone": "a", "pool": "fast"} if node == NODES[0] else {"zone": "a"}
        cluster.ask(ev.NodeLabelled, node, labels, () if node == NODES[0] else ("pool",))
    everything = ("is_stopped", "quota.limit", "quota.max_running")
    for name in ("small", "default"):
        cluster.ask(ev.QueueChanged, name, everything, QueueSettings())
    cluster.ask(ev.AccountChanged, "ada", everything[1:], AccountSettings())
    for quote in sorted(cluster.state.quotes.live):
        cluster.ask(ev.QuoteDeleted, "ada", quote)
    for node in ("n3", "n4"):
        # A gang of four that must keep apart needs as many outside the pool.
        cluster.connect(node, cpu=8)
    held = [key for key, task in cluster.state.tasks.items() if task.state is TaskState.HELD]
    if held:
        cluster.release(*held)
    for turn in range(200):
        if not cluster.state.tasks:
            return
        if turn == 150:
            # Who used a quote on the first node waits for that node, without its pool.
            cluster.ask(ev.NodeLabelled, NODES[0], {}, ("pool",))
        placed = [key for key, task in cluster.state.tasks.items() if task.node]
        if placed:
            cluster.exit(*placed)
        cluster.turn(2_000)
        for node in (*NODES, "n3", "n4"):
            cluster.beat(node)
        cluster.tick()
