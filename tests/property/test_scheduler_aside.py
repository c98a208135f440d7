"""Waking one shape at a time places exactly what waking all of them would."""

from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.placement.cluster import Cluster
from services.scheduler.queues.aside import Aside
from services.scheduler.queues.tenants import Tenant
from tests.support.scheduler_cluster import MachineCluster, make_spec, starts


class WakesAll(Aside):
    """The plain rule: whenever a node gained, everybody tries again."""

    def begin(self, cluster: Cluster) -> None:
        cluster.take_gained()
        for queue in [entry[-1] for entries in list(self._entries.values()) for entry in entries]:
            self.remove(queue)
            queue.is_blocked = False
            self._list_again(queue)

    def wake(self, tenant: Tenant) -> None:
        pass


_SUBMIT = st.tuples(
    st.just("submit"),
    st.sampled_from(["ada", "bob", "eve"]),
    st.integers(1, 4),
    st.integers(-2, 2),
    st.integers(1, 4),
)
_END = st.tuples(
    st.just("end"), st.lists(st.integers(0, 30), min_size=1, max_size=4), st.just(0), st.just(0), st.just(0)
)
_CANCEL = st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0), st.just(0), st.just(0))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(_SUBMIT, _SUBMIT, _END, _END, _CANCEL), min_size=5, max_size=60))
def test_waking_one_by_one_places_what_waking_all_places(operations: list[tuple[object, ...]]) -> None:
    lazy, plain = MachineCluster(nodes=3, cpu=4), MachineCluster(nodes=3, cpu=4)
    plain.state.waiting.aside = WakesAll(plain.state.waiting.list)
    for operation in operations:
        placed = [_apply(cluster, operation) for cluster in (lazy, plain)]
        assert placed[0] == placed[1], operation


def _apply(cluster: MachineCluster, operation: tuple[object, ...]) -> list[tuple[int, str]]:
    """What was placed where by one operation."""
    kind, first, second, third, fourth = operation
    cluster.turn(1_000)
    if kind == "submit":
        cluster.submit(make_spec(cpu=second, priority=third, account=first), fourth, account=first)
    elif kind == "end":
        running = sorted(key for key, task in cluster.state.tasks.items() if task.node)
        chosen = sorted({running[i % len(running)] for i in first}) if running else []
        cluster.exit(*chosen)
    else:
        live = sorted(cluster.state.tasks)
        if live:
            cluster.cancel(live[first % len(live)])
    return [(start.key, cluster.node_of(start.key)) for start in starts(cluster.effects)]
