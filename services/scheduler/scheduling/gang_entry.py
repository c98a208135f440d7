"""Whether the members of a gang could ever start together: asked before they are taken in. Pure.

Only what is surely impossible is refused. For members of one kind that is exact; where kinds are mixed their sum is
compared with what the nodes have together, and a gang that fits by its sum alone waits.
"""

from collections.abc import Sequence

from services.scheduler.model import Quota, Shape, Spec
from services.scheduler.placement.cluster import Cluster, Node
from services.scheduler.queues.tenants import Tenancy
from services.scheduler.refusals import CannotBePlaced, InvalidSpec, QuotaTooSmall
from services.scheduler.resources import GPU, SCALE, describe
from services.scheduler.state.gangs import needed

# Specifications of one gang by their index, each with how many of it must run together.
Cast = dict[int, int]


def casts(specs: Sequence[Spec], items: Sequence[tuple[int, str]]) -> list[Cast]:
    """One for each gang of a submission."""
    found: dict[str, Cast] = {}
    for index, _ in items:
        spec = specs[index]
        if spec.shape.gang:
            cast = found.setdefault(spec.shape.gang, {})
            cast[index] = cast.get(index, 0) + needed(spec)
    return list(found.values())


def check_quotas(tenancy: Tenancy, specs: Sequence[Spec], items: Sequence[tuple[int, str]]) -> None:
    """Raises `QuotaTooSmall` or `InvalidSpec` for a gang that its queue, its account or its caps never let start."""
    for cast in casts(specs, items):
        first = min(cast)
        shape = specs[first].shape
        queue, account = tenancy.queues.get(shape.queue), tenancy.accounts.get(shape.account)
        if queue is not None:
            _check_quota(queue.quota, specs, cast, f"queue {queue.name}", f"yard queues get {queue.name}")
        if account is not None:
            _check_quota(account.quota, specs, cast, f"account {account.name}", "yard quotas get")
        _check_caps(specs, cast)


def _check_quota(quota: Quota, specs: Sequence[Spec], cast: Cast, name: str, command: str) -> None:
    field = f"specs[{min(cast)}].gang"
    next_step = f"ask for fewer at a time: gang.min_count; or for a larger quota: {command}"
    count = sum(cast.values())
    if quota.max_running and count > quota.max_running:
        raise QuotaTooSmall(
            f"{count} tasks start together; {name} may have {quota.max_running} on nodes",
            field=field, next_step=next_step,
        )  # fmt: skip
    asked = _sum(specs, cast)
    for resource, limit in quota.limit:
        if asked.get(resource, 0) > limit:
            raise QuotaTooSmall(
                f"{count} tasks that start together ask for {describe(resource, asked[resource])}; "
                f"{name} may hold {describe(resource, limit)}",
                field=field, next_step=next_step,
            )  # fmt: skip


def _check_caps(specs: Sequence[Spec], cast: Cast) -> None:
    wanted: dict[str, int] = {}
    for index, count in cast.items():
        for key, most in specs[index].shape.caps:
            wanted[key] = wanted.get(key, 0) + count
            if wanted[key] > most:
                field = f"specs[{index}].concurrency_caps"
                raise InvalidSpec(
                    f"{field}: {wanted[key]} tasks with the key {key} start together, and at most {most} may run",
                    field=field, next_step="raise the cap, or ask for fewer at a time: gang.min_count",
                )  # fmt: skip


def check_placeable(cluster: Cluster, specs: Sequence[Spec], items: Sequence[tuple[int, str]]) -> None:
    """Raises `CannotBePlaced` for a gang that is more than all nodes hold when they are empty. While what some node
    has is not known, anything may wait for it; and what a quote holds is the quote's to judge."""
    nodes = list(cluster.nodes.values())
    if not nodes or not all(node.capacity for node in nodes):
        return
    for cast in casts(specs, items):
        if not specs[min(cast)].quote:
            _check_cast(nodes, specs, cast)


def _check_cast(nodes: Sequence[Node], specs: Sequence[Spec], cast: Cast) -> None:
    by_shape: dict[Shape, int] = {}
    for index, count in cast.items():
        shape = specs[index].shape
        by_shape[shape] = by_shape.get(shape, 0) + count
    usable: set[str] = set()
    for shape, count in by_shape.items():
        matching = [node for node in nodes if node.matches(shape)]
        usable.update(node.id for node in matching)
        most = sum(min(_copies(node, shape), 1 if shape.is_distinct else count) for node in matching)
        if most < count:
            apart = ", each on a node of its own" if shape.is_distinct else ""
            raise _too_large(
                specs, cast, f"{count} tasks start together{apart}; all nodes together have room for {most}"
            )
    apart_count = sum(count for shape, count in by_shape.items() if shape.is_distinct)
    if apart_count > len(usable):
        raise _too_large(
            specs,
            cast,
            f"{apart_count} tasks start together, each on a node of its own, on {len(usable)} nodes",
        )
    for resource, amount in _sum(specs, cast).items():
        most = sum(node.capacity.get(resource, 0) for node in nodes if node.id in usable)
        if most < amount:
            raise _too_large(
                specs, cast,
                f"tasks that start together ask for {describe(resource, amount)}; "
                f"all nodes together have {describe(resource, most)}",
            )  # fmt: skip


def _copies(node: Node, shape: Shape) -> int:
    """How many tasks of the shape the empty node holds."""
    most = []
    for name, amount in shape.amounts:
        most.append(node.capacity.get(name, 0) // amount)
        if name == GPU:
            devices = len(node.devices.names)
            most.append(devices * (SCALE // amount) if amount < SCALE else devices // (amount // SCALE))
    return min(most) if most else 1 << 62


def _sum(specs: Sequence[Spec], cast: Cast) -> dict[str, int]:
    asked: dict[str, int] = {}
    for index, count in cast.items():
        for name, amount in specs[index].shape.amounts:
            asked[name] = asked.get(name, 0) + amount * count
    return asked


def _too_large(specs: Sequence[Spec], cast: Cast, why: str) -> CannotBePlaced:
    index = min(cast)
    return CannotBePlaced(
        f"gang {specs[index].shape.gang}: {why}", field=f"specs[{index}].gang",
        next_step="ask for fewer at a time: gang.min_count; or for less each; or add machines: yard nodes token",
    )  # fmt: skip
