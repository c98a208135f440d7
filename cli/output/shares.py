"""Queues, quotas and shares in words: the columns and fields of the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelyard.quantities import format_duration, format_size

if TYPE_CHECKING:
    from cli.output.render import Columns
    from modelyard.v1 import account_pb2, queue_pb2


def amounts(message: queue_pb2.ResourceAmounts) -> str:
    """For example ``cpu 8, memory 1.0 GiB``."""
    return ", ".join(
        f"{name} {format_size(value) if name == 'memory' else f'{value:g}'}"
        for name, value in sorted(message.amounts.items())
    )


def running(holder: queue_pb2.Queue | account_pb2.Account) -> str:
    """Tasks on nodes, of how many."""
    most = holder.quota.max_running
    return f"{holder.usage.running_count}/{most}" if most else str(holder.usage.running_count)


def _state(queue: queue_pb2.Queue) -> str:
    return "stopped" if queue.is_stopped else "open"


def _ageing(queue: queue_pb2.Queue) -> str:
    seconds = queue.ageing_interval.seconds + queue.ageing_interval.nanos / 1e9
    return f"{format_duration(seconds)} a point" if seconds else "never"


def _shares(queue: queue_pb2.Queue) -> str:
    return "\n".join(
        f"{share.account} (weight {share.weight:g}): {share.current_share:.1%} now, "
        f"{share.decayed_share:.1%} lately, {share.waiting_count} waiting"
        for share in queue.shares
    )


QUEUE_COLUMNS: Columns = (
    ("QUEUE", lambda queue: queue.name),
    ("STATE", _state),
    ("PRIORITY", lambda queue: str(queue.priority)),
    ("WEIGHT", lambda queue: f"{queue.weight:g}"),
    ("RUNNING", running),
    ("WAITING", lambda queue: str(queue.waiting_count)),
    ("HELD", lambda queue: amounts(queue.usage.held)),
    ("LIMIT", lambda queue: amounts(queue.quota.limit)),
)

_QUOTA_FIELDS: Columns = (
    ("weight", lambda holder: f"{holder.weight:g}"),
    ("running", running),
    ("held", lambda holder: amounts(holder.usage.held)),
    ("limit", lambda holder: amounts(holder.quota.limit)),
    ("guaranteed", lambda holder: amounts(holder.quota.guaranteed)),
    ("max unfinished", lambda holder: str(holder.quota.max_unfinished or "")),
)

QUEUE_FIELDS: Columns = (
    ("queue", lambda queue: queue.name),
    ("state", _state),
    ("priority", lambda queue: str(queue.priority)),
    *_QUOTA_FIELDS,
    ("ageing", _ageing),
    ("open to", lambda queue: ", ".join(queue.accounts)),
    ("waiting", lambda queue: str(queue.waiting_count)),
    ("shares", _shares),
)

ACCOUNT_COLUMNS: Columns = (
    ("ACCOUNT", lambda account: account.name),
    ("WEIGHT", lambda account: f"{account.weight:g}"),
    ("RUNNING", running),
    ("HELD", lambda account: amounts(account.usage.held)),
    ("LIMIT", lambda account: amounts(account.quota.limit)),
    ("GUARANTEED", lambda account: amounts(account.quota.guaranteed)),
)

ACCOUNT_FIELDS: Columns = (("account", lambda account: account.name), *_QUOTA_FIELDS)
