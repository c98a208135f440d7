"""That the stories of runs can see: a rule of the machine is broken, and some story must fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from services.graph.records import recovery
from services.graph.records.store import LiveRun
from services.graph.runs import bodies, commits, executions, maps, moves, results, step
from services.graph.runs.caching import CacheIndex
from services.graph.runs.state import Run, RunState, Scope
from tests.simulation.runs.world import failure_of, hard_skies

CANVASES_MOST = 200


def strictness(patch: pytest.MonkeyPatch) -> None:
    """Strict branches start whatever is ready."""
    patch.setattr(moves, "_is_first_open", lambda scope, rank: True)


def effects(patch: pytest.MonkeyPatch) -> None:
    """Effects do not wait for each other."""
    patch.setattr(step.Step, "_is_its_turn", lambda self, scope, rank: True)


def turn_of_items(patch: pytest.MonkeyPatch) -> None:
    """Effects of an item do not wait for those of the item before."""
    patch.setattr(bodies, "has_turn", lambda scope: True)


def first_come(patch: pytest.MonkeyPatch) -> None:
    """Any of several predecessors will do, whichever is done first."""

    def first_done(scope: Scope, rank: int) -> int | None:
        ends = [(source, scope.nodes[source].end) for source in scope.shape.predecessors[rank]]
        return next((source for source, end in ends if end is not None and end.detail.has_results), None)

    patch.setattr(results, "first_done", first_done)


def failure_as_it_comes(patch: pytest.MonkeyPatch) -> None:
    """A map fails with the item that was first to fail by the clock."""
    original = maps._settle

    def settle(step: Any, scope: Any, rank: int, executed: Any, number: int, given: Any) -> None:
        if isinstance(given, maps.Failure) and executed.frontier <= number <= executed.last:
            executed.frontier = number
        original(step, scope, rank, executed, number, given)

    patch.setattr(maps, "_settle", settle)


def no_barrier(patch: pytest.MonkeyPatch) -> None:
    """What fails all behind it fails alone."""
    patch.setattr(step.Step, "_raise_barrier", lambda self, scope, rank: None)


def own_cache(patch: pytest.MonkeyPatch) -> None:
    """A run takes what it has itself put into the cache."""
    patch.setattr(CacheIndex, "has", lambda self, key, run: key in self._entries)


def early_drop(patch: pytest.MonkeyPatch) -> None:
    """Values go with the first consumer."""
    original = commits._release_inputs

    def release(step: Any, scope: Scope, rank: int, *more: Any) -> None:
        for source in scope.shape.feeding[rank]:
            scope.consumers[source] = 1
        original(step, scope, rank, *more)

    patch.setattr(commits, "_release_inputs", release)


def forgotten_batches(patch: pytest.MonkeyPatch) -> None:
    """After a start nobody knows what had left."""
    patch.setattr(recovery, "_expect", lambda run, batch, committed: None)


def unanswered_batches(patch: pytest.MonkeyPatch) -> None:
    """A batch that was not answered is not sent again."""
    patch.setattr(recovery, "_unanswered", lambda live: ())


def forgotten_gates(patch: pytest.MonkeyPatch) -> None:
    """What was decided is asked again."""
    original = recovery._run
    patch.setattr(recovery, "_run", lambda live: original(msgspec.structs.replace(live, gates={})))


def forgotten_bodies(patch: pytest.MonkeyPatch) -> None:
    """What was committed of bodies runs again."""
    patch.setattr(executions, "_take_up", lambda step, inner: None)


def forgotten_pause(patch: pytest.MonkeyPatch) -> None:
    """A run that was paused goes on after a start."""
    original = recovery._run

    def run(live: LiveRun) -> Run:
        found = original(live)
        found.state = RunState.RUNNING
        return found

    patch.setattr(recovery, "_run", run)


def forgotten_keeps(patch: pytest.MonkeyPatch) -> None:
    """A run that continues another keeps nothing after a start."""
    original = recovery._run
    patch.setattr(recovery, "_run", lambda live: original(msgspec.structs.replace(live, kept={})))


def let_go(patch: pytest.MonkeyPatch) -> None:
    """What is not wanted any more goes on."""
    patch.setattr(step.Step, "cancel_tasks", lambda self, tasks: None)


BREAKAGES: dict[Callable[[pytest.MonkeyPatch], None], int] = {
    strictness: 1,
    effects: 4,
    turn_of_items: 4,
    first_come: 23,
    failure_as_it_comes: 4,
    no_barrier: 12,
    own_cache: 4,
    early_drop: 0,
    forgotten_batches: 0,
    unanswered_batches: 0,
    forgotten_gates: 24,
    forgotten_bodies: 0,
    forgotten_pause: 0,
    forgotten_keeps: 23,
    let_go: 29,
}
"""Each with the canvas at which to begin: one whose stories it spoiled when this was written."""


@pytest.mark.parametrize("break_it", BREAKAGES, ids=lambda f: f.__name__)
def test_story_broken_rule_is_noticed(
    break_it: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(monkeypatch)
    first = BREAKAGES[break_it]
    for canvas in range(first, first + CANVASES_MOST):
        if failure_of(hard_skies(canvas)):
            return
    pytest.fail(f"no story of {CANVASES_MOST} canvases noticed it")
