"""Room for who goes first, taken from who said that they can be interrupted (``TaskSpec.preemption``). Pure.

On ticks the first few who find no room, and whose specification says that they may, get the node where the fewest and
youngest preemptible tasks that go after them make room. Those are asked to save their state and to end; the node is
kept, so that nobody else takes what they leave. They wait again at their place, uncounted; one that ends well in its
grace has succeeded. Nobody is interrupted where that would not make room, and a head has one preemption at a time.
Members of gangs neither preempt nor are preempted.
"""

from collections.abc import Sequence

from services.scheduler.model import Cause, Now, TaskState, format_task_id
from services.scheduler.placement.cluster import Node
from services.scheduler.queues.tenants import Holder, Tenant
from services.scheduler.resources import GPU, SCALE, Amounts
from services.scheduler.scheduling import holds
from services.scheduler.state.effects import Effects
from services.scheduler.state.preemption import Preemption
from services.scheduler.state.state import State
from services.scheduler.state.task import Task
from services.scheduler.tasks import changes, commands


def renew(state: State, now: Now, effects: Effects) -> None:
    """Ends what is over, and begins what the first of those who wait are allowed to."""
    for key in [key for key, one in state.preemptions.items() if not _is_under_way(state, key, one)]:
        del state.preemptions[key]
    if not state.waiting.aside.has_entries:
        return
    for queue, head in holds.heads(state):
        if head.spec.preempts and not queue.shape.gang and head.key not in state.preemptions:
            _begin(state, head, now, effects)


def _is_under_way(state: State, key: int, one: Preemption) -> bool:
    head = state.tasks.get(key)
    if head is None or head.node or head.state is TaskState.HELD:
        return False
    return any(
        (task := state.tasks.get(victim)) is not None and task.attempt == attempt and task.node == one.node
        for victim, attempt in one.victims
    )


def _begin(state: State, head: Task, now: Now, effects: Effects) -> None:
    offers = []
    for node in list(state.cluster.nodes.values())[: holds.MOST_NODES]:
        if node.takes_work() and node.matches(head.queue.shape) and not _is_taken(state, node):
            victims = choose_victims(state, node, head, now)
            if victims:
                lost_ms = sum(now.wall_ms - (task.start_ms or now.wall_ms) for task in victims)
                offers.append((len(victims), lost_ms, node.ordinal, node, victims))
    if not offers:
        return
    *_, node, victims = min(offers, key=lambda offer: offer[:3])
    name = format_task_id(head.key)
    for task in victims:
        task.reason = f"PREEMPTED: asked to make room for {name}"
        changes.record(state, task, now, effects)
        spec = task.spec
        commands.stop(
            task, node, effects, Cause.PREEMPTED, f"it makes room for {name}", spec.preemption_grace_ms,
            spec.checkpoint_signal,
        )  # fmt: skip
    end_ms = now.wall_ms + max(task.spec.preemption_grace_ms for task in victims)
    attempts = tuple((task.key, task.attempt) for task in victims)
    state.preemptions[head.key] = Preemption(node.id, attempts, end_ms)


def _is_taken(state: State, node: Node) -> bool:
    return any(one.node == node.id for one in state.preemptions.values())


def choose_victims(state: State, node: Node, head: Task, now: Now) -> list[Task]:
    """The fewest tasks, youngest first, that make room for the head there; none: they could not."""
    amounts = head.queue.shape.amounts
    usable = [
        task
        for key in node.tasks
        if (task := state.tasks[key]).spec.is_preemptible
        and task.stop is None
        and task.state in (TaskState.RUNNING, TaskState.ASSIGNED)
        and not task.queue.shape.gang
        and goes_after(task, head)
    ]
    usable.sort(key=lambda task: (task.queue.shape.priority, -(task.start_ms or now.wall_ms), task.key))
    chosen: list[Task] = []
    for task in usable:
        if _makes_room(node, amounts, chosen):
            break
        # Who borrows no more once those have left keeps the rest.
        if goes_after(task, head, chosen):
            chosen.append(task)
    if not _makes_room(node, amounts, chosen):
        return []
    for task in list(chosen):
        fewer = [other for other in chosen if other is not task]
        if _makes_room(node, amounts, fewer):
            chosen = fewer
    return chosen


def _makes_room(node: Node, amounts: Amounts, leaving: list[Task]) -> bool:
    """Whether the amounts fit once these have left."""
    freed: dict[str, int] = {}
    left = list(node.devices.left)
    for task in leaving:
        for name, amount in node.tasks[task.key]:
            freed[name] = freed.get(name, 0) + amount
            if name == GPU:
                for index in task.devices:
                    left[index] += min(amount, SCALE)
    for name, amount in amounts:
        if node.capacity.get(name, 0) - node.reserved.get(name, 0) + freed.get(name, 0) < amount:
            return False
        if name == GPU and not _has_devices(left, amount):
            return False
    return True


def _has_devices(left: list[int], amount: int) -> bool:
    if amount < SCALE:
        return any(share >= amount for share in left)
    return sum(share == SCALE for share in left) * SCALE >= amount


def goes_after(task: Task, head: Task, leaving: Sequence[Task] = ()) -> bool:
    """Whether a task on a node would have its turn after the head once others have left: by its queue's priority, its
    own, or because it borrows what is guaranteed to the head."""
    victim, mine = task.queue, head.queue
    theirs, ours = victim.tenant.queue.settings.priority, mine.tenant.queue.settings.priority
    if theirs != ours:
        return theirs < ours
    if _is_within(mine.tenant) and _borrows(victim.tenant, leaving):
        return True
    return not (_is_within(victim.tenant) and not _is_within(mine.tenant)) and (
        victim.shape.priority < mine.shape.priority
    )


def _is_within(tenant: Tenant) -> bool:
    return tenant.queue.is_within_guarantee or tenant.account.is_within_guarantee


def _borrows(tenant: Tenant, leaving: Sequence[Task]) -> bool:
    queue = [task for task in leaving if task.queue.tenant.queue is tenant.queue]
    account = [task for task in leaving if task.queue.tenant.account is tenant.account]
    return _is_beyond(tenant.queue, queue) and _is_beyond(tenant.account, account)


def _is_beyond(holder: Holder, leaving: Sequence[Task]) -> bool:
    guaranteed = holder.quota.guaranteed
    if not guaranteed:
        return True
    freed: dict[str, int] = {}
    for task in leaving:
        for name, amount in task.queue.shape.amounts:
            freed[name] = freed.get(name, 0) + amount
    return any(holder.held.get(name, 0) - freed.get(name, 0) > amount for name, amount in guaranteed)
