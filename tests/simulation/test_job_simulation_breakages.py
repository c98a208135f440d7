"""That the stories of training jobs can see: a rule of the trainer is broken, and some story must fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import structlog

from modelyard.training.policies.restarts import ScopeKind
from services.trainer import engine, machine
from services.trainer.jobs import endings, gangs, greeting, hangs, launching, outcomes, scaling, timers
from services.trainer.jobs.acts import Act
from services.trainer.model import InstanceState, JobState
from services.trainer.records import store
from tests.simulation.jobs.world import Story, failure_of, stories

SEEDS_MOST = 60


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What breaks is no news here."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)


def half_gangs(patch: pytest.MonkeyPatch) -> None:
    """Who has a place starts, whoever else has none."""
    patch.setattr(gangs, "is_placed", lambda act: True)
    patch.setattr(launching, "_has_peers", lambda act: True)


def unpaid_restarts(patch: pytest.MonkeyPatch) -> None:
    """A restart costs nothing."""
    patch.setattr(endings, "_pay", lambda act, name, budget, verdict: None)


def overdrawn_purses(patch: pytest.MonkeyPatch) -> None:
    """There is always something left in a purse."""
    original = endings._budget

    def budget(act: Any, instance: Any, per: Any) -> Any:
        name, found = original(act, instance, per)
        return name, msgspec.structs.replace(found, used=min(found.used, 0))

    def pay(act: Any, name: str, budget: Any, verdict: Any) -> None:
        known = act.job.budgets[name]
        known.used += verdict.is_counted
        act.job.restarts += 1
        act.touch()

    patch.setattr(endings, "_budget", budget)
    patch.setattr(endings, "_pay", pay)


def second_outcome(patch: pytest.MonkeyPatch) -> None:
    """What was decided is decided over again."""
    original = outcomes.decide

    def decide(act: Any, *what: Any) -> None:
        if not act.job.state.has_ended:
            act.job.outcome = None
        original(act, *what)

    patch.setattr(outcomes, "decide", decide)


def kept_seats(patch: pytest.MonkeyPatch) -> None:
    """A job that has ended keeps its seats."""
    patch.setattr(Act, "close", lambda self, instance, **more: setattr(instance, "task", ""))


def forgotten_cancellations(patch: pytest.MonkeyPatch) -> None:
    """What is owed to the scheduler is not written down."""
    patch.setattr(engine, "owed", lambda wishes, errands: [])


def forgotten_batches(patch: pytest.MonkeyPatch) -> None:
    """After a start nobody knows which seats were asked for."""
    original = store.JobStore._begin

    def begin(self: Any, connection: Any) -> Any:
        return msgspec.structs.replace(original(self, connection), batches=[])

    patch.setattr(store.JobStore, "_begin", begin)


def unheard_ends(patch: pytest.MonkeyPatch) -> None:
    """Agents may forget ends that nobody has noted."""
    patch.setattr(endings, "ended", lambda act, instance, found: None)


def lost_launches(patch: pytest.MonkeyPatch) -> None:
    """A command that did not arrive is not sent again."""
    patch.setattr(greeting, "stands", lambda act, instance, epoch: None)


def same_epoch(patch: pytest.MonkeyPatch) -> None:
    """A restart is told from what it restarts by nothing."""
    original = launching.launch

    def launch(act: Any, instance: Any) -> None:
        instance.epoch = max(0, instance.epoch - 1)
        original(act, instance)

    patch.setattr(launching, "launch", launch)


def early_launch(patch: pytest.MonkeyPatch) -> None:
    """A wave goes on before everybody in it has ended."""
    patch.setattr(InstanceState, "has_processes", property(lambda self: self is InstanceState.RUNNING))


def wide_scopes(patch: pytest.MonkeyPatch) -> None:
    """Who fails takes everybody along, whatever the scope."""
    original = endings._in_scope
    wide = endings.RestartScope(ScopeKind.JOB)
    patch.setattr(endings, "_in_scope", lambda act, instance, scope: original(act, instance, wide))


def unnoticed_losses(patch: pytest.MonkeyPatch) -> None:
    """That a node was lost is not heard."""
    patch.setattr(machine, "_on_seat_ended", lambda act, event: None)


def forgotten_deadlines(patch: pytest.MonkeyPatch) -> None:
    """Only rounds make a job be looked at."""
    patch.setattr(timers, "arm", lambda state, live, now: None)


def unwritten_changes(patch: pytest.MonkeyPatch) -> None:
    """That a seat was lost is not written."""
    original = endings.seat_lost

    def lost(act: Any, instance: Any, found: Any) -> None:
        was_changed = instance.key in act.live.changed
        original(act, instance, found)
        if not was_changed:
            act.live.changed.discard(instance.key)

    patch.setattr(endings, "seat_lost", lost)


def patience(patch: pytest.MonkeyPatch) -> None:
    """Whoever hangs may hang."""
    patch.setattr(hangs, "seen", lambda *what: None)


def forgotten_surplus(patch: pytest.MonkeyPatch) -> None:
    """Who is not wanted any more goes on in its seat."""
    patch.setattr(scaling, "drop_surplus", lambda act: None)


def unwanted_seats(patch: pytest.MonkeyPatch) -> None:
    """A submission that is answered too late is left alone."""
    patch.setattr(machine, "_on_unwanted", lambda event, effects: None)


def half_suspended(patch: pytest.MonkeyPatch) -> None:
    """A job that is suspended is so at once, and holds what it held."""

    def suspend(act: Any) -> None:
        if act.job.is_suspending:
            act.job.is_suspending = False
            act.set_job(JobState.SUSPENDED)

    patch.setattr(outcomes, "suspend", suspend)


BREAKAGES: dict[Callable[[pytest.MonkeyPatch], None], int] = {
    half_gangs: 0,
    unpaid_restarts: 1,
    overdrawn_purses: 50,
    second_outcome: 61,
    kept_seats: 0,
    forgotten_cancellations: 17,
    forgotten_batches: 5,
    unheard_ends: 0,
    lost_launches: 5,
    same_epoch: 1,
    early_launch: 5,
    wide_scopes: 49,
    unnoticed_losses: 1,
    forgotten_deadlines: 0,
    unwritten_changes: 1,
    patience: 0,
    forgotten_surplus: 5,
    unwanted_seats: 4,
    half_suspended: 0,
}
"""Each with the seed at which to begin: one whose story it spoiled when this was written."""


def first_spoiled(first: int) -> int:
    """The seed of the first story that fails from there on; −1: none."""
    for seed in range(first, first + SEEDS_MOST):
        if failure_of(hard(seed)):
            return seed
    return -1


def hard(seed: int) -> Story:
    """Few jobs, in which much goes wrong."""
    return msgspec.structs.replace(stories(seed), jobs=4)


@pytest.mark.parametrize("break_it", BREAKAGES, ids=lambda f: f.__name__)
def test_story_broken_rule_is_noticed(
    break_it: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    assert first_spoiled(BREAKAGES[break_it]) >= 0, f"no story of {SEEDS_MOST} noticed it"
