"""Why a task waits, or why it is where it is: a typed reason for every node. Pure.

It asks the very functions that placement asks, so what it says fits is what the next step would take.
"""

import math

import msgspec

from services.scheduler.model import ENGINE_LABEL, NodeState, Now, Shape, Spec, TaskState, task_key
from services.scheduler.placement.cluster import Cluster, Node
from services.scheduler.queues.tenants import ShapeQueue, Tenant
from services.scheduler.resources import describe
from services.scheduler.scheduling import estimates
from services.scheduler.scheduling.gates import Gate, closed
from services.scheduler.scheduling.suggestions import MOST_NODES, Suggestion, suggest
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import lifecycle


class Verdict(msgspec.Struct, frozen=True):
    node: str
    fits: bool
    reason: str
    message: str
    score: float


class Explanation(msgspec.Struct, frozen=True):
    summary: str
    # How many tasks go before it.
    position: int = 0
    nodes: tuple[Verdict, ...] = ()
    next_step: str = ""
    gates: tuple[Gate, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    # When it may start; 0: unknown.
    start_ms: int = 0

    @property
    def starts_now(self) -> bool:
        return not self.gates and any(verdict.fits for verdict in self.nodes)


def _verdict(state: State, task: Task, node: Node) -> Verdict:
    """What one node says to a task."""
    shape = task.queue.shape
    verdict = judge(node, shape)
    if (
        shape.is_distinct
        and not task.node
        and node.id in state.apart.get(lifecycle.group_of(state, task), ())
    ):
        return msgspec.structs.replace(
            verdict, fits=False, reason="DISTINCT_NODES", message="it has one of these tasks already"
        )
    return verdict


def judge(node: Node, shape: Shape) -> Verdict:
    """What one node says to a shape."""
    reason, message = _objection(node, shape)
    return Verdict(node.id, not reason, reason or "FITS", message or "it could start here now", node.score)


def _objection(node: Node, shape: Shape) -> tuple[str, str]:
    if shape.node and shape.node != node.id:
        return "PINNED_ELSEWHERE", f"the task is pinned to {shape.node}"
    if node.id in shape.avoid:
        return "AVOIDED", "the task is to leave it out"
    if node.session == 0 or node.state is NodeState.LOST:
        return "NOT_CONNECTED", "its agent is not connected"
    if node.state is not NodeState.READY:
        return node.state.name, f"it takes no new work: {node.state.name.lower()}"
    if shape.pool != node.pool:
        return "POOL", _pool_objection(node, shape)
    missing = [f"{k}={v}" for k, v in shape.labels if node.labels.get(k) != v]
    if missing == ["=".join(ENGINE_LABEL)]:
        return "NO_CONTAINERS", "it has no container engine"
    if missing:
        return "LABELS", f"it lacks the label {missing[0]}"
    if shape.operator and shape.operator not in node.operators:
        return "NO_OPERATOR", f"it does not offer {shape.operator}"
    for name, amount in shape.amounts:
        if node.capacity.get(name, 0) < amount:
            return (
                "TOO_SMALL",
                f"it has {describe(name, node.capacity.get(name, 0))} in all, {describe(name, amount)} asked",
            )
    for name, amount in shape.amounts:
        free = node.capacity.get(name, 0) - node.reserved.get(name, 0)
        if free < amount:
            return "NOT_ENOUGH", f"{describe(name, free)} free, {describe(name, amount)} asked"
    if not node.fits(shape.amounts):
        return "NOT_ENOUGH", "other tasks wait there already, or no one device has enough left"
    if node.hold is not None and not node.hold.admits(node, shape):
        return "RESERVED", node.hold.words()
    return "", ""


def _pool_objection(node: Node, shape: Shape) -> str:
    if not node.pool:
        return f"it is in no pool, the task asks for pool {shape.pool}"
    asks = f"asks for {shape.pool}" if shape.pool else "names none"
    return f"it takes only tasks of pool {node.pool}, the task {asks}"


def explain(state: State, task: Task, now: Now) -> Explanation:
    """The whole answer for an unfinished task, and for one that was never submitted."""
    # Not the specification's: whoever used a quote is tied to its node.
    shape = task.queue.shape
    nodes = tuple(_verdict(state, task, node) for node in _nodes(state.cluster))
    if task.node:
        summary = f"{task.state.name.lower()} on {task.node}, attempt {task.attempt}"
        if task.state is TaskState.ASSIGNED and task.progress is not None:
            summary += f": {task.progress[1]}"
        return Explanation(summary, nodes=nodes)
    gates = closed(state, task, now)
    position = _position(state, task)
    if gates:
        summary = "waiting: " + "; ".join(gate.message for gate in gates)
        next_step = next((gate.next_step for gate in gates if gate.next_step), "")
        return Explanation(summary, position, nodes, next_step, gates)
    if any(verdict.fits for verdict in nodes):
        return Explanation("a node fits; it starts with the next step", position, nodes, start_ms=now.wall_ms)
    suggestions = suggest(state.cluster, shape)
    start_ms = _start_ms(state, task, position, now)
    return Explanation(
        _why(nodes), position, nodes, _advice(nodes, suggestions), gates, suggestions, start_ms
    )


def plan(state: State, account: str, spec: Spec, now: Now) -> Explanation:
    """The same for a specification, as if it were submitted now."""
    queue = state.waiting.glimpse(spec.shape)
    task = Task(task_key(state.next_number), spec, queue, account, "", now.wall_ms, state.revision)
    if spec.hold:
        task.state, task.reason = TaskState.HELD, "HELD: submitted with hold"
    return explain(state, task, now)


def _start_ms(state: State, task: Task, position: int, now: Now) -> int:
    """When it may start: the first room on any node, and the time that those before it take; 0: unknown."""
    shape = task.queue.shape
    nodes = [node for node in state.cluster.nodes.values() if node.takes_work() and node.matches(shape)]
    rooms = [
        at
        for node in nodes[:MOST_NODES]
        if (at := estimates.room_ms(state, node, shape.amounts, now)) is not None
    ]
    run_ms = estimates.run_ms(task)
    if not rooms or (position and run_ms is None):
        return 0
    slots = sum(len(node.tasks) for node in nodes)
    return int(min(rooms) + position * (run_ms or 0) / max(slots, 1))


def _nodes(cluster: Cluster) -> list[Node]:
    return sorted(cluster.nodes.values(), key=lambda node: node.id)


def _position(state: State, task: Task) -> int:
    """How many tasks go before it. Those of its own account in its queue are counted; of the others it is the number
    that have their turn by then if all go on to share by weight."""
    mine, tenant = task.queue, task.queue.tenant
    ticket = next((ticket for ticket, key in mine.keys if key == task.key), state.waiting.ticket)
    own = sum(
        queue.key(other) < mine.key(ticket) and _waits(state, queue, key)
        for queue in tenant.shapes
        for other, key in queue.keys
    )
    before = own
    for other in state.waiting.tenancy.tenants.values():
        if other is not tenant:
            before += _turns_before(state, other, tenant, own)
    return before


def _turns_before(state: State, other: Tenant, tenant: Tenant, own: int) -> int:
    """How many tasks of another have their turn before the one that ``own`` ones of its own go before."""
    count = sum(_waits(state, queue, key) for queue in other.shapes for _, key in queue.keys)
    if not count:
        return 0
    priority = other.queue.settings.priority - tenant.queue.settings.priority
    if priority:
        return count if priority > 0 else 0
    ratio = other.weight / tenant.weight
    if (other.queue.place(), other.place()) < (tenant.queue.place(), tenant.place()):
        return min(count, math.ceil((own + 1) * ratio))
    return min(count, math.floor(own * ratio))


def _waits(state: State, queue: ShapeQueue, key: int) -> bool:
    """Keys of tasks that were cancelled, held or moved to another queue are still in the queues."""
    task = state.tasks.get(key)
    return task is not None and task.queue is queue and not task.node and task.state is not TaskState.HELD


def _why(nodes: tuple[Verdict, ...]) -> str:
    if not nodes:
        return "there is no node yet"
    counts: dict[str, int] = {}
    for verdict in nodes:
        counts[verdict.reason] = counts.get(verdict.reason, 0) + 1
    return "waiting: " + ", ".join(
        f"{reason} on {count} of {len(nodes)} nodes" for reason, count in sorted(counts.items())
    )


def _advice(nodes: tuple[Verdict, ...], suggestions: tuple[Suggestion, ...]) -> str:
    reasons = {verdict.reason for verdict in nodes}
    if suggestions and "NOT_ENOUGH" not in reasons:
        return suggestions[0].message
    if not nodes:
        return "add a machine: yard nodes token"
    if "NOT_ENOUGH" in reasons:
        instead = f"; {suggestions[0].message}" if suggestions else ""
        return f"it starts when running tasks end{instead}; or add a machine: yard nodes token"
    if "CORDONED" in reasons:
        return "uncordon a node: yard nodes uncordon NODE"
    if "NOT_CONNECTED" in reasons or "SUSPECT" in reasons:
        return "see what became of the agents: yard nodes ls"
    return "change what it asks for, or a node's labels: yard nodes label"
