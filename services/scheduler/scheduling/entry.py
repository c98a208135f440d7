"""Whether queues and quotas ever let a submission in: asked at the edge, and by the machine once more. Pure."""

from collections.abc import Iterable, Sequence

from modelyard.nearest import nearest
from services.scheduler.model import Quota, Shape, Spec
from services.scheduler.queues.tenants import Account, Queue, Tenancy, Tenant
from services.scheduler.refusals import QueueNotFound, QueueNotOpen, QuotaTooSmall, TooManyUnfinished
from services.scheduler.resources import describe
from services.scheduler.scheduling import gang_entry
from services.scheduler.state.state import State


def queue_not_found(tenancy: Tenancy, name: str, field: str) -> QueueNotFound:
    near = nearest(name, tenancy.queues)
    hint = f"did you mean {near}? " if near else ""
    return QueueNotFound(
        f"there is no queue {name[:80]!r}", field=field, next_step=f"{hint}see `yard queues ls`"
    )


def check_entry(tenancy: Tenancy, shape: Shape, field: str) -> None:
    """Raises `QueueNotFound`, `QueueNotOpen` or `QuotaTooSmall` if no task of this shape could ever start."""
    queue = tenancy.queues.get(shape.queue)
    if queue is None:
        raise queue_not_found(tenancy, shape.queue, f"{field}.queue")
    if not queue.admits(shape.account):
        raise QueueNotOpen(
            f"queue {queue.name} is not open to {shape.account}", field=f"{field}.queue",
            next_step="choose another (yard queues ls), or ask an administrator: "
            f"yard queues set {queue.name} --account {shape.account}",
        )  # fmt: skip
    if queue.quota.limit:
        _check_fits(queue.quota, shape, f"queue {queue.name}", f"yard queues get {queue.name}", field)
    account = tenancy.accounts.get(shape.account)
    if account is not None and account.quota.limit:
        _check_fits(account.quota, shape, f"account {account.name}", "yard quotas get", field)


def _check_fits(quota: Quota, shape: Shape, name: str, command: str, field: str) -> None:
    limits = dict(quota.limit)
    for resource, amount in shape.amounts:
        if amount > limits.get(resource, amount):
            raise QuotaTooSmall(
                f"it asks for {describe(resource, amount)}; {name} may hold {describe(resource, limits[resource])}",
                field=f"{field}.resources.{resource}", next_step=f"ask for less, or for a larger quota: {command}",
            )  # fmt: skip


def check_submission(state: State, specs: Sequence[Spec], items: Sequence[tuple[int, str]]) -> None:
    """The same for a whole submission of one account; also raises `TooManyUnfinished`."""
    tenancy = state.waiting.tenancy
    for index, spec in enumerate(specs):
        check_entry(tenancy, spec.shape, f"specs[{index}]")
    if not specs:
        return
    gang_entry.check_quotas(tenancy, specs, items)
    account = tenancy.accounts.get(specs[0].shape.account)
    if account is not None and account.quota.max_unfinished:
        _check_count(state, account, f"account {account.name}", len(items))
    for name in {spec.shape.queue for spec in specs}:
        queue = tenancy.queues[name]
        if queue.quota.max_unfinished:
            count = sum(specs[index].shape.queue == name for index, _ in items)
            _check_count(state, queue, f"queue {name}", count)


def _check_count(state: State, holder: Queue | Account, name: str, count: int) -> None:
    most, live = holder.quota.max_unfinished, unfinished_count(state, holder.tenants)
    if live + count > most:
        raise TooManyUnfinished(
            f"{name} has {live} unfinished tasks, {count} more would be over its {most}",
            next_step="submit again when some have ended, or ask for a larger quota: yard quotas get",
            metadata={"most": str(most), "unfinished": str(live)},
        )


def unfinished_count(state: State, tenants: Iterable[Tenant]) -> int:
    """Unfinished tasks, an array counted once."""
    return sum(
        sum(queue.live_count for queue in tenant.shapes)
        - sum(tally.active for key in tenant.arrays if (tally := state.tasks[key].tally) is not None)
        for tenant in tenants
    )
