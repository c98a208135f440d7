"""That the simulator can see: production code is broken in a known way, and some seed must fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from services.agent.tasks import lifecycle as agent_lifecycle
from services.agent.tasks import machine as agent_machine
from services.agent.tasks.effects import AckWork
from services.agent.tasks.state import State as AgentState
from services.scheduler import model, timers
from services.scheduler.model import Cause, Now
from services.scheduler.nodes import agents, reports
from services.scheduler.queues import admission
from services.scheduler.queues.aside import Aside
from services.scheduler.queues.tenants import ShapeQueue
from services.scheduler.records import recovery
from services.scheduler.requests import quotes, suspension
from services.scheduler.scheduling import gathering
from services.scheduler.state.state import State
from services.scheduler.tasks import dependencies, lifecycle
from tests.simulation.world import simulate

MOST_SEEDS = 150


def stall_credit(patch: pytest.MonkeyPatch) -> None:
    def no_credit(state: State, now: Now) -> None:
        state.last_tick_ms = now.monotonic_ms

    patch.setattr(timers, "_credit_stall", no_credit)


def token(patch: pytest.MonkeyPatch) -> None:
    def by_key_alone(state: State, node: object, key: int, attempt: int, epoch: int) -> object:
        return state.tasks.get(key)

    patch.setattr(reports, "current", by_key_alone)


def reserving(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AgentState, "fits", lambda self, resources: True)


def acknowledging(patch: pytest.MonkeyPatch) -> None:
    """The worker forgets its report before the scheduler has it."""
    original = agent_lifecycle.finish

    def finish(state, worker, task, done, now_ms, effects):  # type: ignore[no-untyped-def]
        original(state, worker, task, done, now_ms, effects)
        effects.append(AckWork(worker.name, (done.key,)))

    patch.setattr(agent_machine, "finish", finish)


def missing(patch: pytest.MonkeyPatch) -> None:
    """What never reached an agent is taken to run there."""
    patch.setattr(agents, "_miss", lambda *anything: None)


def stopping(patch: pytest.MonkeyPatch) -> None:
    """An agent that obeys neither stops nor verdicts."""
    for module in (agent_machine, agent_lifecycle):
        patch.setattr(module, "end_early", lambda state, task, order, now_ms, effects: None)


def no_quota(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(admission, "obstacle", lambda *anything: None)


def half_a_gang(patch: pytest.MonkeyPatch) -> None:
    """Whoever of it fits first starts."""
    original = gathering._form
    patch.setattr(
        gathering,
        "_form",
        lambda state, gang, cast, now, effects: original(state, gang, cast[:1], now, effects),
    )


def quotes_for_ever(patch: pytest.MonkeyPatch) -> None:
    """What was not used is never given back."""
    patch.setattr(quotes, "expire", lambda state, now: None)


def quotes_without_room(patch: pytest.MonkeyPatch) -> None:
    """Whoever names a quote waits like everybody else."""
    patch.setattr(
        quotes, "seat", lambda state, task, rooms, now, effects: state.waiting.append(task.queue, task.key)
    )


def counted_preemption(patch: pytest.MonkeyPatch) -> None:
    """To be interrupted is held against the task."""
    counted = frozenset({Cause.NODE_LOST, Cause.DRAINED, Cause.GANG})
    for module in (model, lifecycle, recovery):
        patch.setattr(module, "UNCOUNTED", counted)


def early_dependents(patch: pytest.MonkeyPatch) -> None:
    """Anything that happens to what is waited for opens the gate."""
    patch.setattr(dependencies, "is_met", lambda condition, code: True)


def forgotten_dependencies(patch: pytest.MonkeyPatch) -> None:
    """After a restart nobody waits for anybody."""
    patch.setattr(recovery, "_restore_dependencies", lambda *anything: None)


def forgotten_suspension(patch: pytest.MonkeyPatch) -> None:
    """An agent is asked once, and never after its hello."""
    for module in (suspension, agents.suspension):
        patch.setattr(module, "tell_again", lambda task, node, effects: None)


def second_delivery(patch: pytest.MonkeyPatch) -> None:
    """Whatever is lost with its node was not started."""
    original = lifecycle.fail

    def fail(*arguments: Any, **options: Any) -> None:
        original(*arguments, **{**options, "never_started": True})

    patch.setattr(lifecycle, "fail", fail)


def no_waking(patch: pytest.MonkeyPatch) -> None:
    """Who was set aside does not hear that a node has room again."""
    patch.setattr(Aside, "begin", lambda self, cluster: cluster.take_gained())


def no_priority(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ShapeQueue, "key", lambda self, ticket: (0, ticket))


def endless_failures(patch: pytest.MonkeyPatch) -> None:
    """An array goes on however many of its elements fail."""
    patch.setattr(lifecycle, "has_failed_too_often", lambda array: False)


PLAIN: frozenset[str] = frozenset()
BREAKAGES: dict[Callable[[pytest.MonkeyPatch], None], frozenset[str]] = {
    stall_credit: frozenset({"arrays"}),
    token: PLAIN,
    reserving: PLAIN,
    acknowledging: frozenset({"arrays"}),
    missing: PLAIN,
    stopping: frozenset({"long"}),
    no_quota: frozenset({"queues", "caps"}),
    half_a_gang: frozenset({"gangs"}),
    quotes_for_ever: frozenset({"quotes"}),
    quotes_without_room: frozenset({"quotes"}),
    counted_preemption: frozenset({"preemption"}),
    early_dependents: frozenset({"dependencies"}),
    forgotten_dependencies: frozenset({"dependencies"}),
    forgotten_suspension: frozenset({"suspend", "long"}),
    second_delivery: frozenset({"once"}),
    no_waking: PLAIN,
    no_priority: PLAIN,
    endless_failures: frozenset({"arrays"}),
}


@pytest.mark.parametrize("break_it", BREAKAGES, ids=lambda f: f.__name__)
def test_simulator_broken_code_is_caught(
    break_it: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    for seed in range(MOST_SEEDS):
        try:
            if simulate(seed, menu=BREAKAGES[break_it]).failure:
                return
        except (AssertionError, LookupError, ValueError):
            return
    pytest.fail(f"no seed of {MOST_SEEDS} noticed it")
