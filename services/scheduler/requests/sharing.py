"""What administrators say of queues and accounts, and what of shares outlasts a restart. Pure."""

from collections.abc import Collection, Iterable
from typing import TypeVar

import msgspec

from services.chassis.errors import ServiceError
from services.scheduler.model import MAIN_QUEUE, Now
from services.scheduler.queues.shares import AccountSettings, QueueSettings
from services.scheduler.queues.tenants import Account, Queue, Tenant
from services.scheduler.refusals import QueueExists, QueueHasTasks, QueueIsDefault, TooManyQueues
from services.scheduler.scheduling.entry import queue_not_found, unfinished_count
from services.scheduler.state import events as ev
from services.scheduler.state.effects import (
    Answer,
    Effects,
    ForgetQueue,
    RecordAccount,
    RecordQueue,
    RecordUse,
    RetractTask,
    UseRow,
)
from services.scheduler.state.state import State
from services.scheduler.tasks import commands

MOST_QUEUES = 1_000
# How often what was held is written down, where it has changed enough to matter.
SAVE_MS = 10_000
_QUOTA = "quota."

S = TypeVar("S", QueueSettings, AccountSettings)


def on_queue_created(state: State, event: ev.QueueCreated, now: Now, effects: Effects) -> None:
    tenancy = state.waiting.tenancy
    error: ServiceError | None = None
    if event.name in tenancy.queues:
        error = QueueExists(
            f"there is a queue {event.name!r} already", field="queue.name",
            next_step=f"change it: yard queues set {event.name}",
        )  # fmt: skip
    elif len(tenancy.queues) >= MOST_QUEUES:
        error = TooManyQueues(
            f"there are {MOST_QUEUES} queues, and no more may be", next_step="yard queues rm NAME"
        )
    if error is None:
        _configure_queue(state, tenancy.add_queue(event.name), event.settings, effects)
    effects.answers.append(Answer(event.reply, error=error))


def on_queue_changed(state: State, event: ev.QueueChanged, now: Now, effects: Effects) -> None:
    queue = state.waiting.tenancy.queues.get(event.name)
    if queue is None:
        error = queue_not_found(state.waiting.tenancy, event.name, "queue.name")
        effects.answers.append(Answer(event.reply, error=error))
        return
    _configure_queue(state, queue, merged(queue.settings, event.settings, event.paths), effects)
    effects.answers.append(Answer(event.reply))


def on_queue_deleted(state: State, event: ev.QueueDeleted, now: Now, effects: Effects) -> None:
    queue = state.waiting.tenancy.queues.get(event.name)
    error = _undeletable(state, event.name, queue)
    if error is None and queue is not None:
        state.waiting.remove(queue)
        effects.rows.append(ForgetQueue(event.name))
    effects.answers.append(Answer(event.reply, error=error))


def _undeletable(state: State, name: str, queue: Queue | None) -> ServiceError | None:
    if queue is None:
        return queue_not_found(state.waiting.tenancy, name, "name")
    if name == MAIN_QUEUE:
        next_step = f"stop it instead: yard queues stop {MAIN_QUEUE}"
        return QueueIsDefault(f"{MAIN_QUEUE} is always there", field="name", next_step=next_step)
    live = unfinished_count(state, queue.tenants)
    if live:
        return QueueHasTasks(
            f"{name} has {live} unfinished tasks", field="name",
            next_step=f"stop it (yard queues stop {name}), then cancel them or wait: yard tasks ls --queue {name}",
        )  # fmt: skip
    return None


def on_account_changed(state: State, event: ev.AccountChanged, now: Now, effects: Effects) -> None:
    account = state.waiting.tenancy.account(event.account)
    settings = merged(account.settings, event.settings, event.paths)
    configure_account(state, account, settings)
    effects.rows.append(RecordAccount(event.account, settings))
    _retract_limited(state, account.tenants, effects)
    effects.answers.append(Answer(event.reply))


def merged(now: S, wanted: S, paths: Iterable[str]) -> S:
    """The settings with those that the paths name as they are wanted."""
    plain = [path for path in paths if not path.startswith(_QUOTA)]
    nested = [path.removeprefix(_QUOTA) for path in paths if path.startswith(_QUOTA)]
    quota = msgspec.structs.replace(now.quota, **{name: getattr(wanted.quota, name) for name in nested})
    changed = {path: getattr(wanted, path) for path in plain}
    return msgspec.structs.replace(now, **{"quota": quota, **changed})


def _configure_queue(state: State, queue: Queue, settings: QueueSettings, effects: Effects) -> None:
    configure_queue(state, queue, settings)
    effects.rows.append(RecordQueue(queue.name, settings))
    _retract_limited(state, queue.tenants, effects)


def configure_queue(state: State, queue: Queue, settings: QueueSettings) -> None:
    """Takes settings over; who waited for others may try again."""
    # What was taken while there was no limit was not counted at once.
    state.waiting.tell()
    queue.settings, queue.quota = settings, settings.quota
    queue.tolerate()
    _review(state, queue.tenants)
    state.waiting.open(queue)
    state.waiting.reorder(queue)


def configure_account(state: State, account: Account, settings: AccountSettings) -> None:
    """Takes settings over; who waited for others may try again."""
    state.waiting.tell()
    account.settings, account.quota = settings, settings.quota
    account.tolerate()
    _review(state, account.tenants)
    state.waiting.open(account)
    for tenant in account.tenants:
        state.waiting.touch(tenant)


def forget_account(state: State, name: str) -> None:
    """The account is deleted: one that gets its name later begins anew."""
    account = state.waiting.tenancy.accounts.get(name)
    if account is not None:
        configure_account(state, account, AccountSettings())
        for tenant in account.tenants:
            tenant.decayed = tenant.recent = tenant.saved = 0.0


def _review(state: State, tenants: Iterable[Tenant]) -> None:
    for tenant in tenants:
        tenant.review()


def _retract_limited(state: State, tenants: Collection[Tenant], effects: Effects) -> None:
    """What waits at agents was not measured by the quota that there is now: it is asked back."""
    limited = {id(tenant) for tenant in tenants if tenant.is_limited}
    for key in list(state.prefilled) if limited else ():
        task = state.tasks[key]
        if id(task.queue.tenant) in limited:
            del state.prefilled[key]
            node = state.cluster.nodes[task.node]
            if node.session:
                commands.send(node, RetractTask(key, task.attempt), effects)


def waiting_count(state: State, tenant: Tenant) -> int:
    """Tasks that have no room on a node yet, elements counted."""
    unmade = sum(
        tally.size - tally.next_index - len(tally.skipped)
        for key in tenant.arrays
        if (tally := state.tasks[key].tally) is not None
    )
    live = sum(queue.live_count for queue in tenant.shapes)
    return live - len(tenant.arrays) - tenant.running_count + unmade


# --- what outlasts a restart


def save_use(state: State, now: Now, effects: Effects) -> None:
    """Writes the decayed shares down that the database is too wrong about."""
    if now.monotonic_ms < state.use_due_ms:
        return
    state.use_due_ms = now.monotonic_ms + SAVE_MS
    rows = []
    for queue, account, sharer in state.waiting.tenancy.sharers():
        sharer.settle()
        if sharer.is_unsaved:
            sharer.saved, sharer.saved_ms = sharer.decayed, now.monotonic_ms
            rows.append(UseRow(queue, account, sharer.decayed, now.wall_ms))
    if rows:
        effects.rows.append(RecordUse(tuple(rows)))


def restore(
    state: State,
    queues: Iterable[tuple[str, QueueSettings]],
    accounts: Iterable[tuple[str, AccountSettings]],
    uses: Iterable[UseRow],
    now: Now,
) -> None:
    """As the database has it; comes before any task is restored."""
    tenancy = state.waiting.tenancy
    for name, settings in queues:
        configure_queue(state, tenancy.add_queue(name), settings)
    for name, shares in accounts:
        configure_account(state, tenancy.account(name), shares)
    for row in uses:
        if row.queue in tenancy.queues:
            sharer = tenancy.tenant(row.queue, row.account) if row.account else tenancy.queues[row.queue]
            faded = tenancy.measure.faded(row.decayed, now.wall_ms - row.time_ms)
            sharer.decayed = sharer.saved = faded
