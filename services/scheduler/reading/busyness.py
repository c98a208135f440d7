"""What nodes are busy with, side by side: amounts over every window, and the tasks that hold them (S0.4, S0.5).

From the live state into messages; decides nothing. A ratio is what placement counts, shown as at most 1 unless more
than that was measured: the estimate of a command just sent is added to a measurement that may show a part of it
already, so the sum can be more than there is.
"""

from modelyard.v1 import node_pb2, task_pb2
from services.chassis.security import ADMIN, Principal
from services.scheduler.model import format_task_id
from services.scheduler.placement import occupancy
from services.scheduler.placement.cluster import Node
from services.scheduler.placement.occupancy import WINDOWS_S
from services.scheduler.resources import CPU, GPU, MEMORY, SCALE, Amounts, natural
from services.scheduler.state.state import State

# Beyond so many nodes tasks are told only of nodes that are asked for by name: an answer is one message.
MOST_NODES_WITH_TASKS = 1_000


def all_nodes(
    state: State, names: frozenset[str], window_s: int, caller: Principal
) -> list[node_pb2.NodeOccupancy]:
    """Those of these names, or all where none is given."""
    nodes = sorted(state.cluster.nodes.values(), key=lambda node: node.id)
    chosen = [node for node in nodes if not names or node.id in names]
    views = [node_occupancy(node, window_s) for node in chosen]
    if len(chosen) <= MOST_NODES_WITH_TASKS:
        for node, view in zip(chosen, views, strict=True):
            add_tasks(view, node, state, caller)
    return views


def node_occupancy(found: Node, window_s: int) -> node_pb2.NodeOccupancy:
    """One node, resource by resource; ``window_s`` is the one that the whole node's ratio is of."""
    view = node_pb2.NodeOccupancy(
        node=found.id,
        state=node_pb2.NodeState.ValueType(found.state),
        window_s=window_s,
        running_count=len(found.tasks),
    )
    for name, amount in sorted(found.capacity.items()):
        ratio = _shown_ratio(found, name, window_s)
        view.occupancy_ratio = max(view.occupancy_ratio, ratio if amount else 0.0)
        shown = view.resources.add(
            resource=name,
            capacity=natural(name, amount),
            reserved=natural(name, found.reserved.get(name, 0)),
            measured=natural(name, _measured(found, name, window_s)),
            occupancy_ratio=ratio,
        )
        for window in WINDOWS_S:
            shown.windows.add(
                window_s=window,
                measured=natural(name, _measured(found, name, window)),
                occupancy_ratio=_shown_ratio(found, name, window),
            )
    return view


def _measured(found: Node, name: str, window_s: int) -> int:
    return found.windows.get(window_s, {}).get(name, 0)


def _shown_ratio(found: Node, name: str, window_s: int) -> float:
    capacity, measured = found.capacity[name], _measured(found, name, window_s)
    counted = occupancy.ratio(capacity, found.reserved.get(name, 0), measured, found.newer_sum.get(name, 0))
    return min(counted, max(1.0, measured / capacity)) if capacity > 0 else counted


def add_tasks(view: node_pb2.NodeOccupancy, found: Node, state: State, caller: Principal) -> None:
    """What holds room there, tasks first, oldest first; of other accounts only the amounts."""
    for key in sorted(found.tasks):
        shown = view.tasks.add(resources=resources(found.tasks[key]))
        if key in found.samples:
            cpu, memory = found.samples[key]
            shown.measured_cpu, shown.measured_memory_bytes = cpu / SCALE, memory
        task = state.tasks[key]
        if task.start_ms:
            shown.start_time.FromMilliseconds(task.start_ms)
        if caller.role == ADMIN or caller.account == task.account:
            shown.task_id, shown.name, shown.account = format_task_id(key), task.spec.name, task.account
    for room in found.rooms.values():
        view.tasks.add(resources=resources(room.amounts), is_quote=True)


def resources(amounts: Amounts) -> task_pb2.Resources:
    """Amounts as a message has them."""
    view = task_pb2.Resources()
    for name, amount in amounts:
        if name == CPU:
            view.cpu = natural(name, amount)
        elif name == MEMORY:
            view.memory_bytes = amount
        elif name == GPU:
            view.gpu = natural(name, amount)
        else:
            view.custom[name] = natural(name, amount)
    return view
