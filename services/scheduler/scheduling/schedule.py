"""Gives what waits to the nodes that have room, and keeps a little work waiting at busy agents. Pure."""

from collections.abc import Container

from services.scheduler.model import Now, TaskState
from services.scheduler.placement.cluster import Node
from services.scheduler.queues import admission
from services.scheduler.queues.tenants import ShapeQueue
from services.scheduler.resources import GPU
from services.scheduler.scheduling import gathering, holds
from services.scheduler.state.effects import Effects
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import arrays, lifecycle


def place_waiting(state: State, now: Now, effects: Effects) -> None:
    """Places tasks until nothing more fits; then fills the agents' own queues where a short task just ended."""
    waiting, cluster = state.waiting, state.cluster
    _give_turns(state, now, effects)
    while cluster.gained:
        # Who was placed gave up what was kept for them elsewhere.
        _give_turns(state, now, effects)
    for node_id, queue in effects.finished.items():
        if node_id in cluster.nodes:
            _prefill(state, cluster.nodes[node_id], queue, now, effects)
    waiting.tell()


def _give_turns(state: State, now: Now, effects: Effects) -> None:
    """Each in their turn, until nobody whose turn it is finds room."""
    waiting = state.waiting
    aside = waiting.aside
    if state.cluster.gained:
        aside.begin(state.cluster)
    while (queue := waiting.next()) is not None:
        # While nobody else waits for a turn, it is this one's again.
        while queue.keys and _place_one(state, queue, now, effects) and not waiting.turns.listed:
            if aside.gained:
                break
        waiting.list(queue)
        aside.wake(queue.tenant)
    aside.end()


def _place_one(state: State, queue: ShapeQueue, now: Now, effects: Effects) -> bool:
    """Gives the first task of a queue to the best node; False: the queue was set aside."""
    if _drop_past(state, queue):
        # Whose turn it was is gone; that of the next one has its own place.
        return True
    if queue.is_limited and (obstacle := admission.obstacle(queue)) is not None:
        state.waiting.set_aside(queue, obstacle.holder)
        return False
    others: Container[str] = ()
    if queue.is_bound:
        if queue.shape.gang and gathering.take_turn(state, queue, now, effects):
            return not queue.is_blocked
        others = _others(state, queue)
    node = queue.candidates.choose(state.cluster, others)
    if node is None:
        state.waiting.set_aside(queue)
        return False
    task = take_head(state, queue, now, effects)
    if task is not None:
        task.considered = queue.candidates.considered(state.cluster)
        lifecycle.assign(state, task, node, now, effects)
        if state.held_nodes:
            holds.release(state, task.key)
        state.waiting.aside.settle(node)
    return True


def _others(state: State, queue: ShapeQueue) -> Container[str]:
    """Nodes that the first task of a queue must keep away from."""
    task = next((task for _, key in queue.keys if (task := state.tasks.get(key)) is not None), None)
    if task is None or not queue.shape.is_distinct:
        return ()
    return state.apart.get(lifecycle.group_of(state, task), ())


def take_head(state: State, queue: ShapeQueue, now: Now, effects: Effects) -> Task | None:
    """The next task of a queue, an array's next element included; None when nothing of it waits any more."""
    _drop_past(state, queue)
    if not queue.keys:
        return None
    task = state.tasks[queue.keys[0][1]]
    if task.tally is not None:
        return arrays.take_element(state, task, now, effects)
    queue.keys.popleft()
    return task


def _drop_past(state: State, queue: ShapeQueue) -> bool:
    """Drops what is first in a queue and waits there no more; whether there was any."""
    count = len(queue.keys)
    while queue.keys:
        ticket, key = queue.keys[0]
        task = state.tasks.get(key)
        # Others have ended, or wait elsewhere since they were modified, or held and released.
        if task is not None and task.ticket == ticket and task.queue is queue and _waits(state, task):
            break
        queue.keys.popleft()
    return len(queue.keys) < count


def _waits(state: State, task: Task) -> bool:
    """Whether a task that is in its queue is to have its turn."""
    if task.tally is None:
        return task.state is TaskState.QUEUED and task.key not in state.backing_off and not task.awaits
    if task.state is TaskState.HELD or task.awaits:
        return False
    # Something must happen before an element may start; with nothing left it is over.
    task.tally.is_parked = not task.tally.has_turn()
    return not task.tally.is_parked


def _prefill(state: State, node: Node, queue: ShapeQueue, now: Now, effects: Effects) -> None:
    """Lets tasks of a short-running shape wait at the agent, so that the next one starts with no round trip."""
    if not queue.keys or not queue.is_blocked or queue.is_limited or queue.is_bound:
        return
    if not node.takes_work() or node.rooms or node.hold is not None:
        return
    shape = queue.shape
    # Devices are chosen when a task starts, and the agent must know them by then.
    if any(name == GPU for name, _ in shape.amounts) or not node.matches(shape):
        return
    if not state.waiting.goes_first(queue, node):
        return
    slots = min((node.capacity[name] // amount for name, amount in shape.amounts), default=1)
    depth = queue.prefill_depth(slots)
    while len(node.prefilled) < depth:
        task = take_head(state, queue, now, effects)
        if task is None:
            return
        lifecycle.assign(state, task, node, now, effects, is_prefill=True)
