"""How far a job is: of many words the right one, and a guess of what remains."""

from __future__ import annotations

import pytest

from modelyard.training import Plan, Progress
from modelyard.v1 import job_pb2
from services.trainer.convert.progress import ProgressInvalid, check_report, fill_job_progress, progress_of
from services.trainer.jobs.acts import Act
from services.trainer.jobs.hangs import progressed
from services.trainer.state.effects import Effects
from services.trainer.state.jobs import Instance, Job, LiveJob
from services.trainer.state.state import State
from tests.support.training import planned
from tests.support.training_world import job_of

RANKS = """
    kind: Job
    framework: pytorch-ddp
    argv: [python, train.py]
    roles: {worker: {count: 2}}
"""


def told(plan: Plan, job: Job, *instances: Instance) -> job_pb2.JobProgress:
    message = job_pb2.JobProgress()
    fill_job_progress(message, job, plan, instances)
    return message


def test_progress_of_a_job_is_that_of_the_first_rank_that_tells_how_far_it_is() -> None:
    plan = planned(RANKS)
    job = job_of(plan)
    job.counts = {"worker": 2, "master": 1}
    silent = Instance("master", 0)
    noisy = Instance("worker", 0, progress=Progress(message="hello"))
    second = Instance("worker", 1, progress=Progress(ratio=0.5), metrics={"loss": 0.1})
    assert told(plan, job, second, noisy, silent).ratio == 0.5
    first = Instance("master", 0, progress=Progress(ratio=0.25, step=5))
    assert (found := told(plan, job, second, noisy, first)).ratio == 0.25 and found.step == 5
    assert told(plan, job, noisy).message == "hello"
    assert not told(plan, job, silent).HasField("ratio")


def test_what_remains_is_guessed_from_the_first_word_of_the_epoch() -> None:
    """S3.9: a job that went on from a checkpoint does not seem to be quick."""
    plan = planned(RANKS)
    live = LiveJob(job_of(plan), plan)
    one = live.instances["worker", 0] = Instance("worker", 0)
    for now_ms, ratio in ((1_000, 0.5), (11_000, 0.6), (21_000, 0.7)):
        progressed(Act(State(), live, Effects(), now_ms), one, Progress(ratio=ratio))
    assert told(plan, live.job, one).remaining_s == pytest.approx(30.0)
    progressed(Act(State(), live, Effects(), 31_000), one, Progress(metrics={"loss": 1.0}))
    assert (found := told(plan, live.job, one)).ratio == pytest.approx(0.7) and found.metrics == {"loss": 1.0}
    progressed(Act(State(), live, Effects(), 41_000), one, Progress(ratio=0.8, remaining_s=7))
    assert told(plan, live.job, one).remaining_s == 7
    one.progress = None
    progressed(Act(State(), live, Effects(), 51_000), one, Progress(ratio=0.1))
    assert not told(plan, live.job, one).HasField("remaining_s")


def test_ratio_is_made_of_steps_and_stays_within_its_bounds() -> None:
    assert progress_of(job_pb2.JobProgress(step=3, total_steps=4)).ratio == 0.75
    assert progress_of(job_pb2.JobProgress(step=9, total_steps=4)).ratio == 1.0
    assert progress_of(job_pb2.JobProgress(ratio=-1.0)).ratio == 0.0
    assert progress_of(job_pb2.JobProgress(step=3)).ratio is None


def test_part_of_a_known_total_is_a_step_where_none_is_said() -> None:
    """As Hugging Face's Trainer ends: 100 per cent, and no step."""
    begun = Progress(ratio=0.0, total=60)
    going = Progress(ratio=0.5, step=29, metrics={"loss": 1.0}).over(begun)
    assert (going.step, going.total, going.ratio) == (29, 60, 0.5)
    assert Progress(ratio=1.0).over(going).step == 60
    assert Progress(metrics={"loss": 0.5}).over(going).step == 29
    assert Progress(ratio=1.0).over(Progress(step=3)).step == 3


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("report", "field"),
    [
        (job_pb2.ReportProgressRequest(progress=job_pb2.JobProgress(ratio=NAN)), "progress.ratio"),
        (job_pb2.ReportProgressRequest(progress=job_pb2.JobProgress(epoch=INF)), "progress.epoch"),
        (job_pb2.ReportProgressRequest(progress=job_pb2.JobProgress(step=-1)), "progress.step"),
        (job_pb2.ReportProgressRequest(progress=job_pb2.JobProgress(total_steps=1 << 60)), "progress.total_steps"),
        (job_pb2.ReportProgressRequest(progress=job_pb2.JobProgress(metrics={"a": NAN})), "progress.metrics"),
        (job_pb2.ReportProgressRequest(progress=job_pb2.JobProgress(metrics={"": 1})), "progress.metrics"),
        (job_pb2.ReportProgressRequest(points=[job_pb2.MetricPoint(name="a\n", value=1)]), "points"),
        (job_pb2.ReportProgressRequest(points=[job_pb2.MetricPoint(name="a", step=-1)]), "points"),
        (job_pb2.ReportProgressRequest(points=[job_pb2.MetricPoint(name="a")] * 10_001), "points"),
    ],
)  # fmt: skip
def test_report_without_meaning_is_refused_by_its_field(
    report: job_pb2.ReportProgressRequest, field: str
) -> None:
    with pytest.raises(ProgressInvalid) as refused:
        check_report(report)
    assert refused.value.field == field
