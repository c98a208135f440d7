"""What administrators say of queues and accounts as messages have it, checked; and how it is shown (the edge)."""

import math
from collections.abc import Iterable

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from modelyard.v1 import account_pb2, queue_pb2
from services.chassis.requests.masks import check_paths, set_paths
from services.chassis.security import ADMIN, Principal
from services.scheduler.intake.specs import NAME, PRIORITY_MOST
from services.scheduler.model import Quota
from services.scheduler.queues.shares import AGEING_MS, AccountSettings, QueueSettings
from services.scheduler.queues.tenants import Holder, Queue, Tenant
from services.scheduler.refusals import InvalidRequest
from services.scheduler.requests.sharing import waiting_count
from services.scheduler.resources import MEMORY, SCALE, Amounts, describe, natural
from services.scheduler.state.state import State

QUEUE_PATHS = (
    "priority", "weight", "quota.limit", "quota.guaranteed", "quota.max_running", "quota.max_unfinished",
    "ageing_interval", "is_stopped", "accounts",
)  # fmt: skip
ACCOUNT_PATHS = (
    "weight",
    "quota.limit",
    "quota.guaranteed",
    "quota.max_running",
    "quota.max_unfinished",
)
WEIGHT_MOST = 1e6
AMOUNT_MOST = 1e15
COUNT_MOST = 1 << 30
AGEING_MOST_MS = 366 * 86_400_000
ACCOUNTS_MOST = 1_000


def meant_paths(message: Message, mask: FieldMask, known: tuple[str, ...]) -> tuple[str, ...]:
    """The fields that an update means. Raises `UnknownPath`, `EmptyMask`."""
    return check_paths(mask.paths or set_paths(message, known), known, "update_mask")


def setting_paths(paths: Iterable[str]) -> tuple[str, ...]:
    """In the words of the settings."""
    return tuple("ageing_ms" if path == "ageing_interval" else path for path in paths)


def check_name(name: str, field: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{field}: {name[:80]!r} is not a queue's name", field=field,
            next_step="letters, digits, '_', '-' and '.', beginning with a letter",
        )  # fmt: skip


def queue_settings(queue: queue_pb2.Queue) -> QueueSettings:
    """Raises `InvalidRequest`."""
    if abs(queue.priority) > PRIORITY_MOST:
        raise _invalid("queue.priority", f"{queue.priority} is not within −{PRIORITY_MOST} … {PRIORITY_MOST}")
    if len(queue.accounts) > ACCOUNTS_MOST:
        raise _invalid("queue.accounts", f"{len(queue.accounts)} accounts are more than {ACCOUNTS_MOST}")
    ageing_ms = AGEING_MS
    if queue.HasField("ageing_interval"):
        interval = queue.ageing_interval
        ageing_ms = interval.seconds * 1000 + interval.nanos // 1_000_000
        if interval.seconds < 0 or interval.nanos < 0 or ageing_ms > AGEING_MOST_MS:
            raise _invalid("queue.ageing_interval", "it is not a time from 0 to a year")
        if not ageing_ms and interval.nanos:
            raise _invalid("queue.ageing_interval", "a millisecond is the least")
    return QueueSettings(
        queue.priority, _weight(queue.weight, "queue.weight"), _quota(queue.quota, "queue.quota"), ageing_ms,
        queue.is_stopped, tuple(sorted(set(queue.accounts))),
    )  # fmt: skip


def account_settings(account: account_pb2.Account) -> AccountSettings:
    """Raises `InvalidRequest`."""
    return AccountSettings(_weight(account.weight, "account.weight"), _quota(account.quota, "account.quota"))


def check_quota(quota: Quota, field: str) -> None:
    """What is guaranteed must be allowed."""
    limits = dict(quota.limit)
    for name, amount in quota.guaranteed:
        if amount > limits.get(name, amount):
            raise _invalid(
                f"{field}.guaranteed",
                f"{describe(name, amount)} guaranteed is more than the limit of {describe(name, limits[name])}",
            )


def _invalid(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {why}", field=field, next_step="correct it; nothing was changed")


def _weight(value: float, field: str) -> float:
    if not math.isfinite(value) or not 0 <= value <= WEIGHT_MOST or 0 < value < 1 / WEIGHT_MOST:
        raise _invalid(field, f"{value:g} is not a weight: above 0, at most {WEIGHT_MOST:g}")
    return value or 1.0


def _quota(quota: queue_pb2.Quota, field: str) -> Quota:
    for name in ("max_running", "max_unfinished"):
        if not 0 <= getattr(quota, name) <= COUNT_MOST:
            raise _invalid(f"{field}.{name}", f"{getattr(quota, name)} is not a number of tasks; 0: no limit")
    return Quota(
        _amounts(quota.limit, f"{field}.limit"), _amounts(quota.guaranteed, f"{field}.guaranteed"),
        quota.max_running, quota.max_unfinished,
    )  # fmt: skip


def _amounts(message: queue_pb2.ResourceAmounts, field: str) -> Amounts:
    """With zeros: none of it may be held."""
    found = []
    for name, value in message.amounts.items():
        if not NAME.fullmatch(name):
            raise _invalid(f"{field}.amounts", f"{name[:80]!r} is not a name of a resource")
        if not math.isfinite(value) or not 0 <= value <= AMOUNT_MOST:
            raise _invalid(f"{field}.amounts[{name!r}]", f"{value:g} is not an amount")
        found.append((name, round(value) if name == MEMORY else round(value * SCALE)))
    return tuple(sorted(found))


# --- shown


def queue_view(state: State, queue: Queue, caller: Principal) -> queue_pb2.Queue:
    """A queue with the shares of those who use it; who is no administrator sees the own one only."""
    settings = queue.settings
    is_admin = caller.role == ADMIN
    view = queue_pb2.Queue(
        name=queue.name, priority=settings.priority, weight=settings.weight, quota=_quota_view(settings.quota),
        is_stopped=settings.is_stopped, usage=usage_view(queue),
        accounts=[name for name in settings.accounts if is_admin or name == caller.account],
    )  # fmt: skip
    view.ageing_interval.FromMilliseconds(settings.ageing_ms)
    for tenant in sorted(queue.tenants, key=lambda tenant: tenant.account.name):
        share = _share_view(state, tenant)
        view.waiting_count += share.waiting_count
        has_part = tenant.running_count or share.waiting_count or share.decayed_share > 0.0005
        if has_part and (is_admin or share.account == caller.account):
            view.shares.append(share)
    return view


def _share_view(state: State, tenant: Tenant) -> queue_pb2.AccountShare:
    measure = tenant.measure
    current = measure.share(tenant.held)
    # As of now, not of its last change; looking changes nothing.
    passed = max(measure.now_ms - tenant.as_of_ms, 0)
    decayed = current + measure.faded(tenant.decayed - current, passed)
    return queue_pb2.AccountShare(
        account=tenant.account.name, weight=tenant.account.settings.weight, current_share=current,
        decayed_share=decayed, waiting_count=waiting_count(state, tenant),
    )  # fmt: skip


def fill_account(view: account_pb2.Account, state: State) -> None:
    """What an account may hold and holds."""
    account = state.waiting.tenancy.accounts.get(view.name)
    settings = account.settings if account is not None else AccountSettings()
    view.weight = settings.weight
    view.quota.CopyFrom(_quota_view(settings.quota))
    if account is not None:
        view.usage.CopyFrom(usage_view(account))


def usage_view(holder: Holder) -> queue_pb2.Usage:
    held = tuple((name, amount) for name, amount in holder.held.items() if amount)
    return queue_pb2.Usage(held=_amounts_view(held), running_count=holder.running_count)


def _quota_view(quota: Quota) -> queue_pb2.Quota:
    view = queue_pb2.Quota(max_running=quota.max_running, max_unfinished=quota.max_unfinished)
    if quota.limit:
        view.limit.CopyFrom(_amounts_view(quota.limit))
    if quota.guaranteed:
        view.guaranteed.CopyFrom(_amounts_view(quota.guaranteed))
    return view


def _amounts_view(amounts: Amounts) -> queue_pb2.ResourceAmounts:
    return queue_pb2.ResourceAmounts(amounts={name: natural(name, amount) for name, amount in amounts})
