"""What must hold of the machine's state between any two steps. Pure; changes nothing."""

from services.chassis.errors import InvariantViolation
from services.scheduler.model import ON_NODE, TERMINAL, NodeState, TaskState, format_task_id
from services.scheduler.placement.cluster import Node
from services.scheduler.resources import GPU, SCALE
from services.scheduler.state.census import wrong_with_shares
from services.scheduler.state.members import wrong_with as wrong_with_gangs
from services.scheduler.state.state import State
from services.scheduler.state.task import Task


def check_invariants(state: State) -> None:
    """Raises `InvariantViolation` with what is wrong (reliability.md, promises 1, 2 and 5)."""
    for node in state.cluster.nodes.values():
        for name, held in node.reserved.items():
            _require(0 <= held <= node.capacity.get(name, 0), f"{node.id}: {held} of {name} reserved")
            kept = [room.amounts for room in node.rooms.values()]
            total = sum(dict(amounts).get(name, 0) for amounts in (*node.tasks.values(), *kept))
            _require(total == held, f"{node.id}: {name} adds up to {total}, not {held}")
        _check_devices(state, node)
        _require(node.pool == node.labels.get("pool", ""), f"{node.id}: pool {node.pool!r} is not its label")
        for key in (*node.tasks, *node.prefilled):
            task = state.tasks.get(key)
            _require(
                task is not None and task.node == node.id,
                f"{node.id} holds {format_task_id(key)}, which is not its",
            )
    wrong = state.quotes.wrong_with(state.cluster) or wrong_with_gangs(state)
    _require(not wrong, wrong)
    for account, contacts in state.contacts.items():
        _require(bool(contacts), f"{account} is among those with contacts and has none")
    for task in state.tasks.values():
        _check_task(state, task)
    _check_absent(state)
    _check_held_back(state)
    shares = wrong_with_shares(state.waiting.tenancy, state.tasks.values())
    _require(not shares, shares)


def _check_devices(state: State, node: Node) -> None:
    left = [SCALE] * len(node.devices.names)
    for key, amounts in node.tasks.items():
        share = min(dict(amounts).get(GPU, 0), SCALE)
        for index in state.tasks[key].devices:
            left[index] -= share
    for room in node.rooms.values():
        share = min(dict(room.amounts).get(GPU, 0), SCALE)
        for index in room.devices:
            left[index] -= share
    _require(left == node.devices.left, f"{node.id}: its devices have {node.devices.left} left, not {left}")
    _require(all(share >= 0 for share in left), f"{node.id}: a device is oversubscribed")


def _check_held_back(state: State) -> None:
    for node in state.cluster.nodes.values():
        is_held = node.state is NodeState.HELD_BACK
        _require(not is_held or node.held_until_ms > 0, f"{node.id} is held back for no time")


def _check_absent(state: State) -> None:
    for name in state.absent:
        node = state.cluster.nodes[name]
        _require(node.state is NodeState.LOST and not node.session, f"{name} is waited for and not lost")
    kept = {key for key, task in state.tasks.items() if task.original is not None}
    _require(
        kept == state.originals, f"originals of {kept ^ state.originals} are not listed, or too many are"
    )


def _check_task(state: State, task: Task) -> None:
    wrong = _wrong_with(state, task)
    if wrong:
        raise InvariantViolation(f"{format_task_id(task.key)} {wrong}")


def _wrong_with(state: State, task: Task) -> str:
    """What contradicts itself about a task; empty where nothing does. Called for each task at each step of a test."""
    if task.state in TERMINAL:
        return "has ended and is still here"
    if task.tally is not None:
        tally = task.tally
        passed = tally.total - tally.left
        if 0 < tally.most_active < tally.active:
            return f"has {tally.active} elements under way, more than {tally.most_active}"
        return "" if tally.made == passed else f"counts {tally.made} elements, {passed} were made"
    if task.spec.is_at_most_once and task.has_started and task.state is TaskState.QUEUED:
        return "is started at most once, has started, and waits again"
    if task.awaits and (task.node or task.attempt):
        return "waits for what it depends on, and was started"
    if task.state not in ON_NODE:
        if task.pending:
            return f"is {task.state.name} and waits for an agent to take in a change"
        return f"is {task.state.name} and on {task.node}" if task.node else ""
    node = state.cluster.nodes.get(task.node)
    if node is None:
        return f"is on unknown node {task.node!r}"
    if not (task.key in node.tasks or task.key in node.expected or task.key in node.prefilled):
        return f"is {task.state.name} and {task.node} does not hold it"
    if task.original is not None and task.original.attempt == task.attempt:
        return f"is its own original, attempt {task.attempt}"
    return "" if 0 < task.attempt <= task.attempts else f"is {task.state.name} in attempt {task.attempt}"


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise InvariantViolation(otherwise)
