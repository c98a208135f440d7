"""Where tasks would go together is where they go, and nobody notices the rehearsal (S0.3, S1.3)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from services.scheduler.model import Policy
from services.scheduler.placement.cluster import Cluster, Node
from services.scheduler.placement.rehearsal import rehearse
from tests.support.scheduler_cluster import MachineCluster, make_spec

_UNSEEN = ("version", "_score", "ordinal")


def accounts(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """What is kept of each node, but for what says that somebody looked."""
    return {node.id: _seen(node) for node in cluster.nodes.values()}


def _seen(node: Node) -> dict[str, Any]:
    values = {name: getattr(node, name) for name in Node.__slots__ if name not in _UNSEEN}
    return {name: repr(value) for name, value in values.items() if name not in ("devices", "reserved")} | {
        "reserved": {name: amount for name, amount in node.reserved.items() if amount},
        "free": [node.devices.choose(amount) for amount in (5_000, 10_000, 20_000)],
    }


@pytest.mark.parametrize("seed", range(20))
def test_rehearsed_places_are_those_of_the_submission(seed: int) -> None:
    chance = random.Random(seed)
    cluster = MachineCluster(nodes=3, cpu=4)
    for node in cluster.sessions:
        cluster.beat(node, cpu=chance.random() * 3)
    cluster.submit_all(*(make_spec(cpu=chance.choice([0.5, 1])) for _ in range(chance.randrange(5))))
    policies = list(Policy)
    specs = [
        make_spec(
            cpu=chance.choice([0.5, 1, 2]), node=chance.choice(["", "", "n1"]), policy=chance.choice(policies)
        )
        for _ in range(6)
    ]
    before = accounts(cluster.state.cluster)
    rehearsed = rehearse(cluster.state.cluster, [spec.shape for spec in specs])
    assert accounts(cluster.state.cluster) == before
    assert rehearse(cluster.state.cluster, [spec.shape for spec in specs]) == rehearsed
    # One after the other: a step takes tasks by the turns of their shapes, which a rehearsal knows nothing of.
    placed = []
    for spec in specs:
        (key,) = cluster.submit_all(spec)
        placed.append(cluster.node_of(key) if cluster.state.tasks[key].state.name == "ASSIGNED" else "")
    for expected, actual in zip(rehearsed, placed, strict=True):
        if not expected:
            break  # it waits, so those behind it may wait for it
        assert expected == actual


def test_rehearsal_of_nothing_and_on_nothing() -> None:
    assert rehearse(MachineCluster(nodes=1).state.cluster, []) == []
    assert rehearse(MachineCluster(nodes=0).state.cluster, [make_spec().shape]) == [""]
