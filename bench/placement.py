"""What one placement decision costs with few and with many nodes, in the pure machine."""

import time

from bench.figures import Figure
from services.chassis.process.memory import settle
from services.scheduler import machine
from services.scheduler.model import Cause, Now, Policy, Shape, Spec
from services.scheduler.resources import amounts
from services.scheduler.state.events import (
    AgentConnected,
    BeatReceived,
    Event,
    TaskExited,
    TasksReported,
    TasksSubmitted,
)
from services.scheduler.state.state import State

DECISIONS = 5_000
RUNNING = 10_000
QUEUED = 100_000
NOW = Now(1_700_000_000_000, 1_000)


def cluster_of(count: int, cpu: float = 64.0) -> State:
    """A state with this many equal, connected nodes."""
    state = State(1, 1, 0)
    capacity = dict(amounts({"cpu": cpu}))
    hellos = [
        AgentConnected(
            node=f"n{i}", session=i + 1, boot_id="b", incarnation=1, labels={}, capacity=capacity,
            gpu_devices=(), operators=frozenset({"echo"}), tasks=(),
        )
        for i in range(count)
    ]  # fmt: skip
    machine.step(state, hellos, NOW)
    return state


def shape(cpu: float = 1.0) -> Shape:
    return Shape("a", amounts({"cpu": cpu}), "", (), Policy.LEAST_LOADED, "echo", 0)


def _submitted(count: int, cpu: float = 1.0) -> TasksSubmitted:
    spec = Spec(0, f"bench {cpu}".encode(), shape(cpu))
    return TasksSubmitted(1, "a", "", b"", (spec,), tuple((0, "") for _ in range(count)))


def decision_us(nodes: int) -> float:
    """Microseconds for a beat, the end of a task, and the next task placed on the then least loaded node.

    As many tasks run in either case, and tasks end all over the place, as in a busy cluster: only the number of nodes
    that they are spread over differs.
    """
    state = cluster_of(nodes, cpu=64.0 * RUNNING / nodes)
    machine.step(state, [_submitted(RUNNING)], NOW)
    running = [(task.key, task.node) for task in state.tasks.values()]
    settle()
    begun = time.perf_counter()
    for i in range(DECISIONS):
        slot = i * 7919 % len(running)
        effects = machine.step(state, [*_ended(state, *running[slot], i), _submitted(1)], NOW)
        (_, (start,)) = next(iter(effects.commands.values()))
        running[slot] = (start.key, state.tasks[start.key].node)
    return (time.perf_counter() - begun) / DECISIONS * 1e6


def queued_us(nodes: int, shapes: int, queued: int) -> float:
    """Microseconds for a beat, the end of a task, and one of the queued tasks placed where it ran.

    Every node is full; the tasks that wait are of as many shapes as given, each of which fits where one ends.
    """
    state = cluster_of(nodes, cpu=RUNNING / nodes)
    machine.step(state, [_submitted(RUNNING)], NOW)
    running = [(task.key, task.node) for task in state.tasks.values()]
    for number in range(shapes):
        machine.step(state, [_submitted(queued // shapes, 1.0 - number * 1e-4)], NOW)
    settle()
    begun = time.perf_counter()
    for i in range(DECISIONS):
        slot = i * 7919 % len(running)
        effects = machine.step(state, _ended(state, *running[slot], i), NOW)
        (_, (start, *_)) = next(iter(effects.commands.values()))
        running[slot] = (start.key, state.tasks[start.key].node)
    return (time.perf_counter() - begun) / DECISIONS * 1e6


def _ended(state: State, key: int, node_id: str, number: int) -> list[Event]:
    """A beat of the node, and the end of its task."""
    task, node = state.tasks[key], state.cluster.nodes[node_id]
    ended = TaskExited(key, task.attempt, task.epoch, Cause.NONE, b"", 1, 5_000)
    beat = BeatReceived(node_id, node.session, number, 0, {10: {"cpu": number % 97 * 1_000}})
    return [beat, TasksReported(node_id, node.session, node.last_event + 1, (ended,))]


def measure() -> list[Figure]:
    few, many = [], []
    for _ in range(5):
        few.append(decision_us(10))
        many.append(decision_us(10_000))
    queued: dict[tuple[int, int], list[float]] = {(10, 100): [], (10_000, 100): [], (10_000, 1): []}
    for _ in range(5):
        for (nodes, shapes), runs in queued.items():
            runs.append(queued_us(nodes, shapes, QUEUED))
    return [
        Figure("task ended → next one placed, 10 nodes", "µs", tuple(few)),
        Figure("the same, 10,000 nodes", "µs", tuple(many)),
        Figure("ratio of the two", "", _ratios(many, few), "0.7 – 1.3"),
        Figure("100,000 of 100 shapes wait: task ended → one of them placed, 10 nodes", "µs", tuple(queued[10, 100])),
        Figure("the same, 10,000 nodes", "µs", tuple(queued[10_000, 100])),
        Figure("ratio of the two", "", _ratios(queued[10_000, 100], queued[10, 100]), "0.7 – 1.3"),
        Figure("the same of one shape, 10,000 nodes", "µs", tuple(queued[10_000, 1])),
        Figure("ratio, 100 shapes to one", "", _ratios(queued[10_000, 100], queued[10_000, 1]), "0.7 – 1.3"),
    ]  # fmt: skip


def _ratios(some: list[float], others: list[float]) -> tuple[float, ...]:
    """Of what was measured side by side."""
    return tuple(a / b for a, b in zip(some, others, strict=True))
