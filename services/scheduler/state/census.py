"""Counts anew who holds what, and compares it with what was kept count of: no quota is ever exceeded. Pure."""

from collections import defaultdict
from collections.abc import Iterable

from services.scheduler.queues.tenants import Cap, Holder, Tenancy
from services.scheduler.state.task import Task


def wrong_with_shares(tenancy: Tenancy, tasks: Iterable[Task]) -> str:
    """What contradicts itself, or exceeds a quota; empty where nothing does."""
    held: defaultdict[Holder, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    counts: defaultdict[Holder, int] = defaultdict(int)
    for task in tasks:
        # What a restart found on a node may turn out to wait there, and counts still.
        if not task.node if task.holds_share else bool(task.node and not task.is_prefilled):
            return f"task {task.key} holds a share: {task.holds_share}, and is on {task.node!r}"
        if not task.holds_share:
            continue
        tenant = task.queue.tenant
        for holder in (tenant, tenant.queue, tenant.account, *(cap for cap, _ in task.queue.caps)):
            counts[holder] += 1
            if not isinstance(holder, Cap):
                for name, amount in task.spec.shape.amounts:
                    held[holder][name] += amount
    named: list[tuple[str, Holder]] = [(f"queue {name}", queue) for name, queue in tenancy.queues.items()]
    named += [(f"account {name}", account) for name, account in tenancy.accounts.items()]
    named += [(f"{account} in {queue}", tenant) for (queue, account), tenant in tenancy.tenants.items()]
    named += [(f"cap {key} of {account}", cap) for (account, key), cap in tenancy.caps.items()]
    for name, holder in named:
        if wrong := _wrong_with(holder, held[holder], counts[holder]):
            return f"{name}: {wrong}"
    return ""


def _wrong_with(holder: Holder, held: dict[str, int], count: int) -> str:
    if count != holder.running_count:
        return f"{count} tasks are on nodes, not {holder.running_count}"
    kept = {name: amount for name, amount in holder.held.items() if amount}
    if kept != {name: amount for name, amount in held.items() if amount}:
        return f"{dict(held)} is held, not {kept}"
    quota = holder.quota
    for name, limit in quota.limit:
        if kept.get(name, 0) > max(limit, holder.tolerated.get(name, 0)):
            return f"{kept[name]} of {name} is held, {limit} is the limit"
    if quota.max_running and count > max(quota.max_running, holder.tolerated_count):
        return f"{count} tasks are on nodes, {quota.max_running} is the limit"
    return ""
