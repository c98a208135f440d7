"""What the disk says is what the machine knows: at any commit, not at crashes alone (I7)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from services.scheduler.model import Now, TaskState, format_task_id
from services.scheduler.placement.cluster import Node
from services.scheduler.queues.shares import AccountSettings
from services.scheduler.records import recovery
from services.scheduler.state.effects import Row
from services.scheduler.state.state import REMEMBERED_CHANGES, REMEMBERED_REQUESTS, State
from services.scheduler.state.tally import Tally
from tests.simulation.history import History
from tests.simulation.kernel import Violation
from tests.simulation.promises.promise import Promise
from tests.simulation.scheduler_host import SchedulerHost

# A look after one commit of so many.
EVERY = 40


class Rebuilding(Promise):
    """Builds a second state from the disk and compares what must survive; what need not is not looked at."""

    def __init__(self, seed: int, scheduler: SchedulerHost, history: History) -> None:
        self._random = random.Random(seed)
        self._scheduler = scheduler
        self._history = history

    def on_commit(self, state: State, rows: Sequence[Row], now: Now) -> None:
        if self._random.randrange(EVERY):
            return
        disk = self._scheduler.disk
        rebuilt = recovery.restore(disk.recover(now.wall_ms, REMEMBERED_REQUESTS, REMEMBERED_CHANGES), now)
        self._history.count("states rebuilt")
        for key in sorted(state.tasks.keys() | rebuilt.tasks.keys()):
            name = format_task_id(key)
            _compare(name, _task(state, key, now), _task(rebuilt, key, now))
        for node_id in sorted(state.cluster.nodes.keys() | rebuilt.cluster.nodes.keys()):
            _compare(node_id, _node(state, node_id), _node(rebuilt, node_id))
        _compare("gangs", _gangs(state), _gangs(rebuilt))
        _compare("shares", _shares(state), _shares(rebuilt))
        _compare("requests", dict(state.requests), dict(rebuilt.requests))


def _compare(name: str, live: dict[Any, Any], rebuilt: dict[Any, Any]) -> None:
    if live != rebuilt:
        wrong = [key for key in live.keys() | rebuilt.keys() if live.get(key) != rebuilt.get(key)]
        told = "; ".join(
            f"{key} is {live.get(key)!r}, not {rebuilt.get(key)!r}" for key in sorted(wrong, key=str)
        )
        raise Violation(f"a restart would change {name}: {told}", name)


def _task(state: State, key: int, now: Now) -> dict[str, Any]:
    task = state.tasks.get(key)
    if task is None:
        return {}
    told = {name: getattr(task, name) for name in _TASK_FIELDS}
    told["spec"] = task.spec.number
    told["shape"] = task.queue.shape
    if task.state is TaskState.QUEUED and not task.attempt:
        told["queued since"] = task.queued_ms
    told["is to stop"] = task.stop is not None
    # Neither an agent's refusal is remembered, nor a back-off over a hold: such a one may start earlier.
    is_fresh = task.state is TaskState.QUEUED and task.reason and not task.reason.startswith("REJECTED")
    backs_off = key in state.backing_off and is_fresh
    if backs_off and task.not_before_ms > now.wall_ms:
        told["backs off until"] = task.not_before_ms
    if task.tally is not None:
        told["tally"] = _tally(task.tally)
    return told


_TASK_FIELDS = (
    "account", "attempt", "awaits", "counterparts", "devices", "epoch", "failures", "has_started", "limit_revision",
    "node", "original", "params", "pending", "recorded", "start_ms", "state", "submit_ms",
)  # fmt: skip


def _tally(tally: Tally) -> tuple[Any, ...]:
    left = [index for index in range(tally.size) if tally.is_left(index)]
    return (left, tally.active, tally.succeeded, tally.failed, tally.cancelled)


def _node(state: State, node_id: str) -> dict[str, Any]:
    node: Node | None = state.cluster.nodes.get(node_id)
    if node is None:
        return {}
    return {
        "is cordoned": node.is_cordoned,
        "labels": node.label_overrides,
        "drain": node.drain_deadline_ms,
        "tasks": sorted(node.believed()),
    }


def _gangs(state: State) -> dict[str, Any]:
    return {
        format_task_id(unit): (format_task_id(gang.key), gang.name, gang.units, gang.phase)
        for unit, gang in state.gangs.by_unit.items()
        if unit in state.tasks
    }


def _shares(state: State) -> dict[str, Any]:
    """What administrators have said; nothing of an account of which they said nothing."""
    tenancy = state.waiting.tenancy
    told: dict[str, Any] = {f"queue {name}": queue.settings for name, queue in tenancy.queues.items()}
    for name, account in tenancy.accounts.items():
        if account.settings != AccountSettings():
            told[f"account {name}"] = account.settings
    return told
