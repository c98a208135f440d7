"""What one placement decision costs with few and with many nodes, in the pure machine."""

import time

from bench.figures import Figure
from services.chassis.memory import settle
from services.scheduler import machine
from services.scheduler.events import AgentConnected, BeatReceived, TaskExited, TasksReported, TasksSubmitted
from services.scheduler.model import Cause, Now, Policy, Shape, Spec
from services.scheduler.resources import amounts
from services.scheduler.state import State

DECISIONS = 5_000
NOW = Now(1_700_000_000_000, 1_000)


def cluster_of(count: int) -> State:
    """A state with this many equal, connected nodes."""
    state = State(1, 1, 0)
    hellos = [
        AgentConnected(
            node=f"n{i}", session=i + 1, boot_id="b", incarnation=1, labels={}, capacity={"cpu": 640_000},
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

    Every node has a task and tasks end all over the place, as in a busy cluster.
    """
    state = cluster_of(nodes)
    machine.step(state, [_submitted(nodes)], NOW)
    running = [(task.key, task.node) for task in state.tasks.values()]
    settle()
    begun = time.perf_counter()
    for i in range(DECISIONS):
        slot = i * 7919 % len(running)
        key, node_id = running[slot]
        task, node = state.tasks[key], state.cluster.nodes[node_id]
        ended = TaskExited(key, task.attempt, task.epoch, Cause.NONE, b"", 1, 5_000)
        beat = BeatReceived(node_id, node.session, i, 0, {10: {"cpu": i % 97 * 1_000}})
        reported = TasksReported(node_id, node.session, node.last_event + 1, (ended,))
        effects = machine.step(state, [beat, reported, _submitted(1)], NOW)
        (_, (start,)) = next(iter(effects.commands.values()))
        running[slot] = (start.key, state.tasks[start.key].node)
    return (time.perf_counter() - begun) / DECISIONS * 1e6


def array_submit_ms(size: int = 1_000_000) -> tuple[float, int]:
    """Milliseconds and rows that an array costs the machine at submission."""
    state = State(1, 1, 0)
    spec = Spec(0, b"array", shape(), array_size=size)
    begun = time.perf_counter()
    effects = machine.step(state, [TasksSubmitted(1, "a", "", b"", (spec,), ((0, ""),))], NOW)
    return (time.perf_counter() - begun) * 1e3, len(effects.rows)


def measure() -> list[Figure]:
    few, many = [], []
    for _ in range(5):
        few.append(decision_us(10))
        many.append(decision_us(10_000))
    ratios = tuple(m / f for m, f in zip(many, few, strict=True))
    return [
        Figure("task ended → next one placed, 10 nodes", "µs", tuple(few)),
        Figure("the same, 10,000 nodes", "µs", tuple(many)),
        Figure("ratio of the two", "", ratios, "0.7 – 1.3"),
    ]
