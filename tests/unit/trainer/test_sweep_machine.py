"""Sweeps in the step of jobs: what begins, what is compared, what ends (S3)."""

from __future__ import annotations

from modelyard.documents.problems import Problem, Reason, Refused
from modelyard.training.policies.restarts import Cause
from services.trainer.model import JobState, SweepState, TrialState
from services.trainer.state.effects import Answer, HoldReferences
from services.trainer.state.events import JobStopped
from services.trainer.state.jobs import Job
from services.trainer.state.sweep_events import SweepResumed, SweepStopped, SweepSuspended
from tests.support.sweep_world import SweepWorld, job_plan

FILE = """kind: Sweep
name: rates
space: {lr: [1, 2, 3, 4, 5, 6]}
search: grid
metric: loss
parallel: 2
job:
  framework: plain
  argv: [work, "${sweep.lr}"]
"""
ASHA = FILE.replace("search: grid", "search: {asha: {trials: 6, seed: 1, max: 9}}")


def states(world: SweepWorld, number: int = 1) -> list[str]:
    return [trial.state.value for trial in world.trials_of(number)]


def test_grid_runs_every_trial_so_many_at_a_time() -> None:
    world = SweepWorld()
    world.search(FILE)
    assert states(world) == ["waiting"] * 2
    world.go_on()
    sweep = world.sweep()
    assert (sweep.sweep.state, sweep.sweep.reason) == (SweepState.SUCCEEDED, "EVERY_TRIAL_ENDED")
    assert states(world) == ["succeeded"] * 6
    assert [trial.values["lr"] for trial in world.trials_of(1)] == [1, 2, 3, 4, 5, 6]
    assert len(world.jobs) == 6
    best = sweep.best()
    assert best is not None and (best.number, best.best, best.resource) == (1, 1.0, 9)
    assert not world.state.sweeps, "what has ended is forgotten"


def test_trial_is_a_job_with_labels_of_its_sweep() -> None:
    world = SweepWorld()
    world.search(FILE)
    job, _ = world.on_disk(2)
    assert (job.name, job.labels, job.sweep, job.trial) == ("rates-2", {"sweep": "s-1", "trial": "2"}, 1, 2)


def test_best_is_the_largest_where_the_metric_is_to_be_large() -> None:
    world = SweepWorld()
    world.search(FILE.replace("metric: loss", "metric: {name: loss, mode: max}"))
    world.go_on()
    best = world.sweep().best()
    assert best is not None and best.number == 6


def test_latest_value_counts_where_that_is_asked_for() -> None:
    for pick, number in (("best", 1), ("latest", 6)):
        world = SweepWorld()
        # Trial n begins with n and gets worse the faster the smaller n is.
        world.loss = lambda trial, step: trial.number + (step - 1) * (10 - trial.number)
        world.search(FILE.replace("metric: loss", f"metric: {{name: loss, pick: {pick}}}"))
        world.go_on()
        best = world.sweep().best()
        assert best is not None and best.number == number


def test_trials_that_fail_beyond_what_is_allowed_end_the_sweep() -> None:
    world = SweepWorld()
    world.fails = lambda seat: Cause.EXIT
    world.search(FILE + "max_failures: 1\n")
    world.go_on()
    sweep = world.sweep().sweep
    assert (sweep.state, sweep.reason) == (SweepState.FAILED, "TOO_MANY_FAILURES")
    assert states(world).count("failed") == 2
    assert len(states(world)) < 6


def test_sweep_of_which_nothing_succeeds_has_failed() -> None:
    world = SweepWorld()
    world.fails = lambda seat: Cause.EXIT
    world.search(FILE + "max_failures: -1\n")
    world.go_on()
    sweep = world.sweep().sweep
    assert (sweep.state, sweep.reason) == (SweepState.FAILED, "EVERY_TRIAL_ENDED")
    assert states(world) == ["failed"] * 6


def test_values_that_make_no_job_are_a_failure_and_the_others_are_tried() -> None:
    world = SweepWorld()

    def plan_of(job: Job) -> object:
        if job.trial == 3:
            raise Refused([Problem(Reason.BAD_VALUE, "three is wrong")])
        return job_plan(job)

    world.plan_of = plan_of  # type: ignore[assignment]
    world.search(FILE)
    world.go_on()
    assert [state for state in states(world) if state != "succeeded"] == ["failed"]
    third = world.trials_of(1)[2]
    assert (third.job, third.reason, third.message) == (0, "INVALID", "three is wrong")


def test_target_ends_the_sweep_and_who_reached_it_goes_on_to_its_end() -> None:
    world = SweepWorld()
    world.loss = lambda trial, step: 0.5 if trial.number == 2 and step > 3 else 9.0
    world.search(FILE + "target: 0.5\n")
    world.go_on()
    sweep = world.sweep().sweep
    assert (sweep.state, sweep.reason) == (SweepState.SUCCEEDED, "TARGET")
    second = world.trials_of(1)[1]
    assert (second.state, second.resource) == (TrialState.SUCCEEDED, 9)
    assert set(states(world)) <= {"succeeded", "stopped"}
    assert len(states(world)) < 6


def test_stopped_sweep_stops_its_trials_and_begins_no_others() -> None:
    world = SweepWorld()
    world.search(FILE)
    world.hear()
    world.place()
    assert world.do(SweepStopped(7, 1, "seen enough")).answers == [Answer(7, 1)]
    world.go_on()
    sweep = world.sweep().sweep
    assert (sweep.state, sweep.message) == (SweepState.STOPPED, "seen enough")
    assert states(world) == ["stopped"] * 2
    assert {world.on_disk(number)[0].reason for number in world.jobs} == {"SWEEP_OVER"}


def test_suspended_sweep_gives_everything_back_and_goes_on_when_it_is_resumed() -> None:
    world = SweepWorld()
    world.search(FILE)
    for _ in range(5):
        world.hear()
        world.place()
        world.report_one()
    world.do(SweepSuspended(1, 1, "others first"))
    for _ in range(20):
        world.hear()
        world.place()
        world.pass_time()
    world.die()
    world.hear()
    assert not world.seats
    assert world.sweep().sweep.state is SweepState.SUSPENDED
    assert len(world.trials_of(1)) == 2
    world.do(SweepResumed(1, 1))
    world.go_on()
    assert states(world) == ["succeeded"] * 6


def test_suspended_sweep_can_be_stopped() -> None:
    world = SweepWorld()
    world.search(FILE)
    world.do(SweepSuspended(1, 1, ""))
    world.do(SweepStopped(1, 1, ""))
    world.go_on()
    assert (world.sweep().sweep.state, states(world)) == (SweepState.STOPPED, ["stopped"] * 2)


def test_trial_that_somebody_stops_is_no_failure() -> None:
    world = SweepWorld()
    world.search(FILE + "max_failures: 0\n")
    world.do(JobStopped(1, 1, "not this one"))
    world.go_on()
    assert states(world) == ["stopped", *["succeeded"] * 5]
    assert world.sweep().sweep.state is SweepState.SUCCEEDED


def test_trial_that_reports_nothing_says_so() -> None:
    world = SweepWorld()
    world.search(FILE.replace("metric: loss", "metric: accuracy"))
    world.go_on()
    assert {trial.message for trial in world.trials_of(1)} == {"it never reported accuracy"}
    assert world.sweep().best() is None


def test_halving_stops_who_is_behind_and_says_why() -> None:
    world = SweepWorld(seed=3)
    world.search(ASHA)
    world.go_on()
    assert set(states(world)) == {"succeeded", "pruned"}
    pruned = [trial for trial in world.trials_of(1) if trial.state is TrialState.PRUNED]
    assert all("at step" in trial.message and "better" in trial.message for trial in pruned)
    jobs = [world.on_disk(trial.job)[0] for trial in pruned]
    assert {(job.state, job.reason) for job in jobs} == {(JobState.STOPPED, "SWEEP_RUNG")}
    best = min(world.trials_of(1), key=lambda trial: trial.number)
    assert best.state is TrialState.SUCCEEDED


def test_trial_that_goes_beyond_a_whole_one_is_complete() -> None:
    world = SweepWorld()
    world.search(ASHA.replace("trials: 6", "trials: 1"))
    world.go_on(most=99)
    [trial] = world.trials_of(1)
    assert (trial.state, trial.reason) == (TrialState.SUCCEEDED, "SWEEP_MAX")
    assert trial.resource is not None and 10 <= trial.resource < 20


def test_brackets_have_rungs_of_their_own() -> None:
    world = SweepWorld()
    world.search(ASHA.replace("max: 9", "max: 9, brackets: 2"))
    world.go_on()
    odd = {level for trial in world.trials_of(1) if trial.number % 2 for level, _ in trial.rungs}
    even = {level for trial in world.trials_of(1) if not trial.number % 2 for level, _ in trial.rungs}
    assert (odd, even) == ({1, 3}, {3})


def test_bundle_is_held_for_as_long_as_the_sweep_goes_on() -> None:
    world = SweepWorld()
    world.search(FILE, bundle="b" * 64)
    holder = "sweep:s-1"
    assert world.references == [HoldReferences("ann", holder, ("b" * 64,))]
    world.go_on()
    assert world.references[1:] == [HoldReferences("ann", holder, ())]
    assert {world.on_disk(number)[0].bundle_digest for number in world.jobs} == {"b" * 64}


def test_many_trials_begin_over_several_steps() -> None:
    world = SweepWorld(seats_most=100)
    text = FILE.replace("[1, 2, 3, 4, 5, 6]", "{int: [1, 60]}").replace("parallel: 2", "parallel: 60")
    world.search(text)
    assert states(world) == ["waiting"] * 60
    assert len(world.state.jobs) == 60


def test_progress_is_of_whose_role_is_named() -> None:
    world = SweepWorld()
    world.search(FILE.replace("metric: loss", "metric: {name: loss, role: worker}"))
    world.go_on()
    assert all(trial.best is not None for trial in world.trials_of(1))
