"""Sweeps in any order of reports and deaths: every trial once, the same values; halving as it is published (S3)."""

from __future__ import annotations

import random

import pytest

from modelyard.training.policies.restarts import Cause
from services.trainer.model import JobState, TrialState
from services.trainer.state.events import JobStopped
from services.trainer.state.sweep_events import SweepResumed, SweepStopped, SweepSuspended
from services.trainer.state.sweeps import Trial
from tests.support.sweep_world import SweepWorld

MOST = 27
FILE = """kind: Sweep
space: {{x: {{uniform: [0, 1]}}, n: [1, 2, 3]}}
search: {search}
metric: {{name: loss, mode: {mode}}}
parallel: {parallel}
max_failures: -1
job: {{framework: plain, argv: [work, "${{sweep.x}}", "${{sweep.n}}"]}}
"""


def asha(reduction: int, trials: int, seed: int) -> str:
    return f"{{asha: {{trials: {trials}, seed: {seed}, max: {MOST}, reduction: {reduction}}}}}"


def curve(seed: int, trial: int, step: int) -> float:
    """Noise around a fall; often the same for different trials."""
    chance = random.Random(f"{seed} {trial} {step}")
    return round(chance.random() * 4 + trial % 3, 1) / step


def pruned_by_the_book(
    heard: list[tuple[int, int, float]], reduction: int, is_max: bool
) -> dict[int, tuple[float, float]]:
    """Who is stopped where, by the rule as it is published: sort all values of a rung, keep the first n // reduction.

    Of fewer than `reduction` the first is kept; who is as good as the last that is kept goes on.
    """
    rungs: dict[float, dict[int, float]] = {}
    stopped: dict[int, tuple[float, float]] = {}
    for trial, step, value in heard:
        level = 1.0
        while trial not in stopped and level < MOST and level <= step:
            if trial not in rungs.setdefault(level, {}):
                rungs[level][trial] = value
                ranked = sorted(rungs[level].values(), reverse=is_max)
                worst = ranked[max(len(ranked) // reduction, 1) - 1]
                if (value < worst) if is_max else (value > worst):
                    stopped[trial] = (level, value)
            level *= reduction
    return stopped


@pytest.mark.parametrize("seed", range(15))
def test_halving_stops_exactly_whom_the_published_rule_stops(seed: int) -> None:
    chance = random.Random(seed)
    reduction, trials, is_max = chance.choice((2, 3, 4)), chance.randint(4, 14), chance.random() < 0.5
    world = SweepWorld(seats_most=chance.randint(1, 6), seed=seed)
    world.loss = lambda trial, step: curve(seed, trial.number, step)
    text = FILE.format(
        search=asha(reduction, trials, seed), mode="max" if is_max else "min", parallel=chance.randint(1, 5)
    )
    world.search(text)
    world.go_on(most=MOST)
    wanted = pruned_by_the_book(world.heard, reduction, is_max)
    found = {one.number: one.rungs[-1] for one in world.trials_of(1) if one.state is TrialState.PRUNED}
    assert found == wanted
    check_rungs(world.trials_of(1), reduction, is_max)


def check_rungs(trials: tuple[Trial, ...], reduction: int, is_max: bool) -> None:
    """The best at a rung is never stopped there, and of n that came one by one few go on."""
    levels = {level for trial in trials for level, _ in trial.rungs}
    for level in levels:
        here = {trial.number: value for trial in trials for at, value in trial.rungs if at == level}
        best = max(here.values()) if is_max else min(here.values())
        for trial in trials:
            is_stopped = trial.state is TrialState.PRUNED and trial.rungs[-1][0] == level
            assert not (is_stopped and here[trial.number] == best)


@pytest.mark.parametrize("reduction", [2, 3, 4])
def test_of_many_in_random_order_about_one_in_the_reduction_goes_on(reduction: int) -> None:
    passed = total = 0
    for seed in range(20):
        world = SweepWorld(seats_most=1, seed=seed)
        world.loss = lambda trial, step, seed=seed: random.Random(f"{seed} {trial.number}").random()  # type: ignore[misc]
        world.search(FILE.format(search=asha(reduction, 40, seed), mode="min", parallel=1))
        world.go_on(most=1)
        ended = world.trials_of(1)
        total += len(ended)
        passed += sum(trial.state is TrialState.SUCCEEDED for trial in ended)
    # Those that come first have few to be compared with: n trials let about n / reduction + log n of them go on.
    assert total / reduction * 0.8 <= passed <= total / reduction * 1.6


def storm(world: SweepWorld, actions: int) -> None:
    """What goes wrong, and what people do."""
    chance = world.chance
    for _ in range(actions):
        deed = chance.choices(
            ("hear", "place", "report", "time", "lose", "die", "stop", "suspend", "resume"),
            (8, 4, 10, 3, 0.5, 1.5, 0.1, 0.3, 0.6),
        )[0]
        if deed == "hear":
            world.hear(most=chance.randint(1, 5))
        elif deed == "place":
            world.place()
        elif deed == "report":
            world.report_one(MOST)
        elif deed == "time":
            world.pass_time(chance.choice((100, 1_000, 5_000)))
        elif deed == "lose":
            world.lose_one()
        elif deed == "die":
            world.die()
        elif deed == "suspend":
            world.do(SweepSuspended(1, chance.randint(1, 2), ""))
        elif deed == "resume":
            world.do(SweepResumed(1, chance.randint(1, 2)))
        elif world.jobs:
            world.do(JobStopped(1, chance.choice(sorted(world.jobs)), ""))
    world.do(SweepResumed(1, 1), SweepResumed(1, 2))


SEARCHES = ("{random: {trials: 9, seed: 5}}", asha(3, 12, 5), asha(2, 8, 6))


@pytest.mark.parametrize("seed", range(30))
def test_sweep_survives_any_order_of_reports_and_deaths_with_every_trial_once(seed: int) -> None:
    chance = random.Random(seed)
    world = SweepWorld(seats_most=chance.randint(1, 5), seed=seed)
    world.loss = lambda trial, step: curve(seed, trial.number, step)
    world.fails = lambda seat: Cause.EXIT if seat.job % 5 == 0 else None
    parallel = chance.randint(1, 4)
    for search in chance.sample(SEARCHES, 2):
        world.search(FILE.format(search=search, mode="min", parallel=parallel))
    storm(world, 200)
    is_stopped = chance.random() < 0.3 and 1 in world.state.sweeps
    if is_stopped:
        world.do(SweepStopped(1, 1, ""))
        if chance.random() < 0.5:
            world.die()
    world.go_on(most=MOST)
    for number in world.sweeps:
        check_sweep_is_whole(world, number, is_stopped=is_stopped and number == 1)


def check_sweep_is_whole(world: SweepWorld, number: int, *, is_stopped: bool) -> None:
    live, trials = world.sweep(number), world.trials_of(number)
    assert live.sweep.state.has_ended
    assert [trial.number for trial in trials] == list(range(1, len(trials) + 1))
    if not is_stopped:
        assert len(trials) == live.file.search.trials
    assert all(trial.values == live.file.values(trial.number, live.sweep.seed) for trial in trials)
    jobs = [world.on_disk(job)[0] for job in world.jobs]
    own = sorted((job.trial, job.number) for job in jobs if job.sweep == number)
    assert own == [(trial.number, trial.job) for trial in trials], "each trial has one job"
    for trial in trials:
        job, _ = world.on_disk(trial.job)
        assert trial.state.has_ended and job.state.has_ended
        assert (trial.state is TrialState.FAILED) == (job.state is JobState.FAILED)
        assert (trial.state is TrialState.PRUNED) == (job.reason == "SWEEP_RUNG")
        levels = [level for level, _ in trial.rungs]
        assert levels == sorted(set(levels)), "compared once a level"
