"""What the scheduler shows of its state when it is scraped: tasks, queues, nodes, streams, messages.

Looks at every unfinished task once for each scrape, in portions, so that nothing else waits for it.
"""

import asyncio
from collections import Counter

from services.chassis.metrics.figures import Family, counter, gauge
from services.scheduler.engine import Engine
from services.scheduler.model import NodeState, TaskState
from services.scheduler.notify.deliveries import Deliveries
from services.scheduler.notify.outbox import Outbox
from services.scheduler.placement.cluster import Node
from services.scheduler.resources import natural
from services.scheduler.state.state import State

PORTION = 10_000
MOST_NODES = 500
"""Of so many nodes each has its own figures; of more only the sums are shown."""


async def of_state(engine: Engine) -> list[Family]:
    """All families that need no counting."""
    state = engine.state
    return [*await _tasks(engine), *_nodes(state), *_process(engine)]


async def of_outbox(outbox: Outbox, deliveries: Deliveries, now_ms: int) -> list[Family]:
    """What contacts are yet to be told, and what became of it since the start."""
    count, oldest_ms = await deliveries.backlog()
    age_s = max(now_ms - oldest_ms, 0) / 1000 if count else 0.0
    settled = [
        (("delivered",), float(outbox.delivered_count)), (("not_taken",), float(outbox.failed_count)),
        (("dead",), float(outbox.dead_count)),
    ]  # fmt: skip
    return [
        gauge("yard_deliveries_pending", "Messages to contacts that are still to be sent.", count),
        gauge("yard_deliveries_oldest_seconds", "How long the oldest of them has waited.", age_s),
        Family("counter", "yard_deliveries", "Messages that contacts took, attempts that they did not, messages "
               "that were given up.", ("result",), settled),
    ]  # fmt: skip


async def _tasks(engine: Engine) -> list[Family]:
    states: Counter[TaskState] = Counter()
    waiting: Counter[str] = Counter()
    oldest_ms: dict[str, int] = {}
    tasks = list(engine.state.tasks.values())
    for begin in range(0, len(tasks), PORTION):
        for task in tasks[begin : begin + PORTION]:
            # Those of an array that are not made yet wait with it.
            count = task.tally.size - task.tally.next_index if task.tally is not None else 1
            states[task.state] += 1
            if task.state is TaskState.QUEUED or (task.tally is not None and count):
                queue = task.queue.tenant.queue.name
                waiting[queue] += count
                oldest_ms[queue] = min(oldest_ms.get(queue, task.queued_ms), task.queued_ms)
        await asyncio.sleep(0)
    now_ms = engine.clock.now_ms()
    kinds = [state for state in TaskState if not state.is_terminal]
    by_state = [((kind.name.lower(),), float(states[kind])) for kind in kinds]
    lengths = [((queue,), float(count)) for queue, count in waiting.items()]
    ages = [((queue,), (now_ms - since_ms) / 1000) for queue, since_ms in oldest_ms.items()]
    return [
        Family("gauge", "yard_tasks", "Unfinished tasks by state; an array is one.", ("state",), by_state),
        Family("gauge", "yard_queue_tasks", "Tasks and elements that wait.", ("queue",), lengths),
        Family(
            "gauge", "yard_queue_oldest_wait_seconds", "Since when the oldest one waits.", ("queue",), ages
        ),
    ]


def _nodes(state: State) -> list[Family]:
    nodes = state.cluster.nodes
    states = Counter(node.state for node in nodes.values())
    by_state = [((kind.name.lower(),), float(states[kind])) for kind in NodeState]
    capacity: Counter[str] = Counter()
    reserved: Counter[str] = Counter()
    for node in nodes.values():
        if node.session:
            capacity.update(node.capacity)
            reserved.update(node.reserved)
    amounts = [((name,), natural(name, amount)) for name, amount in capacity.items()]
    held = [((name,), natural(name, reserved[name])) for name in capacity]
    families = [
        Family("gauge", "yard_nodes", "Nodes by state.", ("state",), by_state),
        Family("gauge", "yard_capacity", "What connected nodes offer.", ("resource",), amounts),
        Family("gauge", "yard_reserved", "What is promised to tasks on them.", ("resource",), held),
    ]
    return [*families, *_each(nodes)] if len(nodes) <= MOST_NODES else families


def _each(nodes: dict[str, Node]) -> list[Family]:
    occupied = [((node.id,), node.score) for node in nodes.values()]
    tasks = [((node.id,), float(len(node.tasks) + len(node.prefilled))) for node in nodes.values()]
    return [
        Family("gauge", "yard_node_occupancy_ratio", "A node's busiest resource.", ("node",), occupied),
        Family("gauge", "yard_node_tasks", "Tasks that a node has, running or not.", ("node",), tasks),
    ]


def _process(engine: Engine) -> list[Family]:
    state = engine.state
    return [
        gauge("yard_agent_streams", "Agents that are connected.", len(engine.links)),
        gauge(
            "yard_followed_tasks", "Tasks whose outcome a session or a waiting call follows.", engine.followed
        ),
        gauge("yard_inbox_events", "Events that the next step takes.", engine.inbox_size),
        gauge("yard_revision", "Grows with every change.", float(engine.released_revision)),
        gauge("yard_epoch", "Grows with every start.", float(state.epoch)),
        gauge("yard_requests_remembered", "Request ids in memory.", len(state.requests)),
        counter("yard_stale_reports", "Reports with a token that was not current.", state.stale_reports),
    ]
