"""Other resources for a task that a node has (S0.7): room first, then the agent, then what is over is given back. Pure.

Cores and memory can change while a task runs. What it asks for more is reserved before its agent is told, what it gives
up is kept until the agent has said that it holds; so the node never promises what something still uses.
"""

from services.scheduler.model import Spec
from services.scheduler.placement.cluster import Node
from services.scheduler.queues import admission
from services.scheduler.resources import CPU, MEMORY, describe
from services.scheduler.state.state import State
from services.scheduler.state.task import Task

CHANGING = (CPU, MEMORY)


def refusal(task: Task, node: Node, spec: Spec) -> str:
    """Why the task cannot have what the specification asks for where it is; empty: it can."""
    held = node.tasks.get(task.key)
    if held is None:
        return f"it waits on {node.id} and holds nothing yet; change it once it runs"
    if task.spec.quote:
        return "its room is that of a quote"
    now, then = dict(held), dict(spec.shape.amounts)
    for name in sorted({*now, *then} - set(CHANGING)):
        if now.get(name, 0) != then.get(name, 0):
            return f"{name} cannot change while it is on a node"
    for name in CHANGING:
        more = then.get(name, 0) - now.get(name, 0)
        if more > 0 and not node.has_room(((name, more),)):
            left = max(node.capacity.get(name, 0) - node.reserved.get(name, 0), 0)
            return f"{node.id} has {describe(name, left)} left, and it asks for {describe(name, more)} more"
    return admission.growth(task.queue, {name: then.get(name, 0) - now.get(name, 0) for name in CHANGING})


def settle(state: State, task: Task, node: Node) -> None:
    """Has the node hold what the task needs by its specification and by what its agent has yet to answer."""
    if task.key in node.tasks:
        state.cluster.change(node, task.key, task.holding)


def respecify(state: State, task: Task, spec: Spec) -> None:
    """Gives a task that a node has another specification; with another shape it counts to another queue."""
    task.spec = spec
    if task.queue.shape == spec.shape or spec.quote:
        return
    held = task.holds_share
    state.waiting.give(task)
    state.waiting.leave(task)
    task.queue = state.waiting.queue(spec.shape)
    state.waiting.enter(task)
    if held:
        state.waiting.take(task, is_fact=True)
