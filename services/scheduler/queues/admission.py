"""Whether quotas, caps and queues let a task start: asked by placement, and by `explain` in the same words. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from services.scheduler.model import Shape
from services.scheduler.queues.tenants import Account, Cap, Holder, Queue, ShapeQueue
from services.scheduler.queues.waiting import Waiting
from services.scheduler.refusals import QuotaInUse
from services.scheduler.resources import describe

QUEUE_STOPPED, QUEUE_QUOTA, ACCOUNT_QUOTA, CONCURRENCY_CAP = (
    "QUEUE_STOPPED", "QUEUE_QUOTA", "ACCOUNT_QUOTA", "CONCURRENCY_CAP",
)  # fmt: skip


class Obstacle(msgspec.Struct, frozen=True):
    """``holder`` must hold less, or be allowed more."""

    holder: Holder
    reason: str
    message: str
    next_step: str


def obstacle(queue: ShapeQueue, count: int = 1) -> Obstacle | None:
    """What keeps ``count`` tasks of a shape from starting together, whatever the nodes say; None: nothing does."""
    return together(((queue, count),))


def together(asks: Sequence[tuple[ShapeQueue, int]]) -> Obstacle | None:
    """The same for so many tasks of several shapes of one account in one queue."""
    tenant = asks[0][0].tenant
    if tenant.is_limited:
        place, account = tenant.queue, tenant.account
        if place.settings.is_stopped:
            return _stopped(place)
        if excess := _excess(place, asks):
            return _exceeded(
                QUEUE_QUOTA, place, f"queue {place.name}", f"yard queues get {place.name}", excess
            )
        if excess := _excess(account, asks):
            return _exceeded(ACCOUNT_QUOTA, account, f"account {account.name}", "yard quotas get", excess)
    wanted: dict[Cap, int] = {}
    for queue, count in asks:
        for cap, most in queue.caps:
            wanted[cap] = wanted.get(cap, 0) + count
            if cap.running_count + wanted[cap] <= most:
                continue
            excess = f"{cap.running_count} of at most {most} tasks with the key {cap.key} are on nodes"
            return Obstacle(cap, CONCURRENCY_CAP, excess, "it starts when one of them ends")
    return None


def _stopped(queue: Queue) -> Obstacle:
    message = f"queue {queue.name} is stopped"
    return Obstacle(queue, QUEUE_STOPPED, message, f"start it: yard queues start {queue.name}")


def _exceeded(reason: str, holder: Queue | Account, name: str, command: str, excess: str) -> Obstacle:
    return Obstacle(holder, reason, f"{name}: {excess}", f"it starts when less is held; see {command}")


def _excess(holder: Holder, asks: Sequence[tuple[ShapeQueue, int]]) -> str:
    """What would be too much; empty: nothing."""
    quota = holder.quota
    count = sum(count for _, count in asks)
    if quota.max_running and holder.running_count + count > quota.max_running:
        return f"{holder.running_count} of at most {quota.max_running} tasks are on nodes"
    if quota.limit:
        for name, limit in quota.limit:
            held = holder.held.get(name, 0)
            wanted = sum(count * dict(queue.shape.amounts).get(name, 0) for queue, count in asks)
            if wanted and held + wanted > limit:
                return (
                    f"{describe(name, held)} held of at most {describe(name, limit)}, "
                    f"{describe(name, wanted)} asked"
                )
        if all(holder.claim is not queue for queue, _ in asks) and any(
            holder.is_kept_from(q) for q, _ in asks
        ):
            return "what is left is kept for a larger task that has waited long"
    return ""


def growth(queue: ShapeQueue, more: Mapping[str, int]) -> str:
    """Why a task on a node may not hold so much more; empty: it may."""
    tenant = queue.tenant
    if not tenant.is_limited:
        return ""
    holders = (
        (tenant.queue, f"queue {tenant.queue.name}"),
        (tenant.account, f"account {tenant.account.name}"),
    )
    for holder, name in holders:
        for resource, limit in holder.quota.limit:
            held, wanted = holder.held.get(resource, 0), more.get(resource, 0)
            if wanted > 0 and held + wanted > limit:
                return (
                    f"{name} holds {describe(resource, held)} of at most {describe(resource, limit)}, "
                    f"and it asks for {describe(resource, wanted)} more"
                )
    return ""


def check_together(waiting: Waiting, wanted: Iterable[tuple[Shape, int]]) -> None:
    """Raises `QuotaInUse` unless so many tasks of each shape may start now, all of them."""
    taken: list[tuple[Holder, ShapeQueue, int]] = []
    try:
        for shape, count in wanted:
            queue = waiting.queue(shape)
            if not queue.is_limited:
                continue
            found = obstacle(queue, count)
            if found is not None:
                raise QuotaInUse(found.message, next_step=found.next_step, metadata={"gate": found.reason})
            for holder in (queue.tenant.queue, queue.tenant.account, *(cap for cap, _ in queue.caps)):
                holder.take(shape.amounts, count)
                taken.append((holder, queue, count))
    finally:
        for holder, queue, count in taken:
            holder.take(queue.shape.amounts, -count)
