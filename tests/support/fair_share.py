"""An hour of saturated load with random task lengths, played on the pure machine: what part each account had."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping

from services.scheduler.model import Quota
from services.scheduler.queues.shares import AccountSettings
from tests.support.scheduler_cluster import MachineCluster, make_spec

HOUR_MS = 3_600_000
WEIGHTS = {"ann": 1.0, "bob": 2.0, "eve": 5.0}


def weigh(cluster: MachineCluster, weights: Mapping[str, float], quota: Quota | None = None) -> None:
    """Gives accounts their weights, and all of them the quota."""
    for name, weight in weights.items():
        account = cluster.state.waiting.tenancy.account(name)
        account.settings = AccountSettings(weight, quota or Quota())
        account.quota = account.settings.quota


def shares_of_an_hour(weights: Mapping[str, float], *, cpu: int, seed: int) -> dict[str, float]:
    """Plays an hour of saturated load with random task lengths; what part of the machines each account had."""
    dice = random.Random(seed)
    cluster = MachineCluster(nodes=1, cpu=cpu)
    weigh(cluster, weights)
    had = dict.fromkeys(weights, 0.0)
    running: list[tuple[int, int]] = []
    begun: dict[int, int] = {}
    now_ms = 0

    def follow() -> None:
        for key, task in cluster.state.tasks.items():
            if task.node and key not in begun:
                begun[key] = now_ms
                heapq.heappush(running, (now_ms + dice.randint(5_000, 120_000), key))

    (blocker,) = cluster.submit(make_spec(cpu=cpu, account="zoe"), account="zoe")
    for name in weights:
        cluster.submit(make_spec(account=name), 3 * cpu, account=name)
    cluster.exit(blocker)
    follow()
    while running[0][0] < HOUR_MS:
        end_ms, key = heapq.heappop(running)
        name = cluster.state.tasks[key].account
        cluster.turn(end_ms - now_ms)
        now_ms = end_ms
        had[name] += now_ms - begun.pop(key)
        cluster.exit(key, run_ms=1_000)
        cluster.submit(make_spec(account=name), account=name)
        follow()
    for _, key in running:
        had[cluster.state.tasks[key].account] += HOUR_MS - begun[key]
    return {name: part / (HOUR_MS * cpu) for name, part in had.items()}
