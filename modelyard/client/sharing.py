"""Weights and quotas from plain Python values: what a change names is changed, the rest stays. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from modelyard.client.specs import InvalidSpecification, duration
from modelyard.quantities import parse_size
from modelyard.v1 import account_pb2, queue_pb2

Amounts = Mapping[str, float | str]


class QuotaChanges(TypedDict, total=False):
    """Amounts by resource: cores, devices, bytes or text such as "4Gi". An empty mapping, and a count of 0, takes a
    limit away."""

    weight: float
    limit: Amounts
    guaranteed: Amounts
    max_running: int
    max_unfinished: int


class ModelQuotaChanges(TypedDict, total=False):
    """What an account may have of models; 0 takes a limit away."""

    max_versions: int
    # Bytes, or text such as "40Gi".
    max_component_bytes: int | str
    max_calls: int


class QueueChanges(QuotaChanges, total=False):
    """What can be said of a queue."""

    priority: int
    # Time for which waiting makes up for one point of priority; 0: never.
    ageing: float | str
    stopped: bool
    # Who may use it; none: all.
    accounts: Sequence[str]


def fill(target: queue_pb2.Queue | account_pb2.Account, changes: QuotaChanges) -> list[str]:
    """Sets what both have; the paths for the field mask."""
    paths = []
    if "weight" in changes:
        target.weight = changes["weight"]
        paths.append("weight")
    if "limit" in changes:
        _set_amounts(target.quota.limit, changes["limit"], "quota.limit")
        paths.append("quota.limit")
    if "guaranteed" in changes:
        _set_amounts(target.quota.guaranteed, changes["guaranteed"], "quota.guaranteed")
        paths.append("quota.guaranteed")
    if "max_running" in changes:
        target.quota.max_running = changes["max_running"]
        paths.append("quota.max_running")
    if "max_unfinished" in changes:
        target.quota.max_unfinished = changes["max_unfinished"]
        paths.append("quota.max_unfinished")
    return paths


def fill_queue(target: queue_pb2.Queue, changes: QueueChanges) -> list[str]:
    """Sets what a queue has; the paths for the field mask."""
    paths = fill(target, changes)
    if "priority" in changes:
        target.priority = changes["priority"]
        paths.append("priority")
    if "ageing" in changes:
        target.ageing_interval.CopyFrom(duration(changes["ageing"], "ageing_interval"))
        paths.append("ageing_interval")
    if "stopped" in changes:
        target.is_stopped = changes["stopped"]
        paths.append("is_stopped")
    if "accounts" in changes:
        target.accounts.extend(changes["accounts"])
        paths.append("accounts")
    return paths


def _set_amounts(target: queue_pb2.ResourceAmounts, amounts: Amounts, field: str) -> None:
    for name, amount in amounts.items():
        try:
            is_size = isinstance(amount, str) and name == "memory"
            target.amounts[name] = parse_size(str(amount)) if is_size else float(amount)
        except ValueError as error:
            raise InvalidSpecification(f"{name}: {error}", field) from error
