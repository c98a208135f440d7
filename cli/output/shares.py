"""Queues, quotas and shares in words: the columns and fields of the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cli.output.render import show_document, show_list, show_one, to_document
from modelyard.quantities import format_duration, format_size

if TYPE_CHECKING:
    from cli.output.render import Columns
    from modelyard.v1 import account_pb2, model_pb2, queue_pb2

Quotas = Mapping[str, "model_pb2.AccountModelQuota"]
"""Of models, by account; empty where there is no models service."""


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


def show_account(output: str, account: account_pb2.Account, of_models: Quotas) -> None:
    """One, with its quotas of both kinds. In JSON that of models is `models`."""
    if output in ("table", "name"):
        show_one(output, account, (*ACCOUNT_FIELDS, *_model_columns(of_models)), lambda one: one.name)
    else:
        show_document(output, _document(account, of_models))


def show_accounts(output: str, response: account_pb2.ListAccountsResponse, of_models: Quotas) -> None:
    """A page of accounts, each as `show_account` shows it."""
    if output in ("table", "name"):
        columns = (*ACCOUNT_COLUMNS, *((name.upper(), cell) for name, cell in _model_columns(of_models)))
        show_list(output, response, response.accounts, columns, lambda one: one.name)
        return
    documents = [_document(one, of_models) for one in response.accounts]
    if output == "jsonl":
        for one in documents:
            show_document(output, one)
        return
    show_document(output, {**to_document(response), "accounts": documents})


def _document(account: account_pb2.Account, of_models: Quotas) -> dict[str, Any]:
    found: dict[str, Any] = to_document(account)
    if account.name in of_models:
        found["models"] = to_document(of_models[account.name])
        del found["models"]["account"]
    return found


def _model_columns(of_models: Quotas) -> Columns:
    """Used, of how much; without a models service none."""
    if not of_models:
        return ()
    return (
        ("versions", lambda one: _of(of_models, one.name, "version_count", "max_versions", str)),
        (
            "components",
            lambda one: _of(of_models, one.name, "component_bytes", "max_component_bytes", format_size),
        ),
        ("calls", lambda one: _of(of_models, one.name, "call_count", "max_calls", str)),
    )


def _of(of_models: Quotas, account: str, used: str, most: str, word: Callable[[int], str]) -> str:
    one = of_models.get(account)
    if one is None:
        return ""
    limit = getattr(one.quota, most)
    told = word(getattr(one.usage, used))
    return f"{told}/{word(limit)}" if limit else told
