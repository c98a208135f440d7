"""What a job file may say of checkpoints and evidence, and what its programs are told (S3.8)."""

from __future__ import annotations

import msgspec
import pytest

from modelyard.training.jobs.evidence import items, lacking
from modelyard.training.policies.readiness import Facts, Readiness, ReadinessKind
from tests.support.training import WHO, places, planned, refused

JOB = """
kind: Job
framework: plain
argv: [python, train.py, "--resume=${job.resume_from}"]
"""


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("dir: ../ckpt", "checkpoints.dir"),
        ("dir: a/../../b", "checkpoints.dir"),
        ("dir: /data/../etc", "checkpoints.dir"),
        ("dir: a//b", "checkpoints.dir"),
        ("dir: ''", "checkpoints.dir"),
        ("dir: /", "checkpoints.dir"),
        ("keep_last: 3", "checkpoints.dir"),
        ("dir: c, marker: sub/DONE", "checkpoints.marker"),
        ("dir: c, match: '../*'", "checkpoints.match"),
        ("dir: c, keep_last: 0", "checkpoints.keep_last"),
        ("dir: c, settle: soon", "checkpoints.settle"),
        ("dir: c, keep_best: 1", "checkpoints.keep_best"),
    ],
)
def test_what_climbs_out_or_has_no_meaning_is_refused(said: str, path: str) -> None:
    assert path in [problem.path for problem in refused(f"{JOB}checkpoints: {{{said}}}\n")]


def test_programs_are_told_where_and_from_what_to_go_on() -> None:
    plan = planned(f"{JOB}checkpoints: {{dir: deep/ckpt}}\n")
    who = msgspec.structs.replace(WHO, checkpoint_dir="/d/ckpt", resume_from="/d/ckpt/step-3")
    (process,) = plan.launch(plan.surroundings(who, places(plan)), "worker", 0).processes
    assert process.argv[-1] == "--resume=/d/ckpt/step-3"
    assert process.env["YARD_CHECKPOINT_DIR"] == "/d/ckpt"
    assert process.env["YARD_RESUME_FROM"] == "/d/ckpt/step-3"


def test_nothing_to_go_on_from_is_no_variable() -> None:
    plan = planned(f"{JOB}checkpoints: {{dir: ckpt}}\n")
    who = msgspec.structs.replace(WHO, checkpoint_dir="/d/ckpt")
    (process,) = plan.launch(plan.surroundings(who, places(plan)), "worker", 0).processes
    assert "YARD_RESUME_FROM" not in process.env and process.argv[-1] == "--resume="


def test_signs_of_evidence_come_after_those_of_edges() -> None:
    """Their numbers are on disk: what was there before keeps its own."""
    plain, asked = planned(JOB), planned(f"{JOB}success: {{artifacts: [m], log: {{regex: done}}}}\n")
    before = plain.signs("worker")
    assert asked.signs("worker")[: len(before)] == before
    assert [one.kind for one in asked.signs("worker")[len(before) :]] == [
        ReadinessKind.FILE,
        ReadinessKind.LOG,
    ]


def test_each_item_lacks_until_somebody_who_may_shows_it() -> None:
    evidence = planned(
        f"{JOB}success: {{artifacts: [m], log: {{role: worker, regex: done}}, metrics: ['acc >= 0.9']}}\n"
    ).job.evidence
    file, line, _ = (item.sign for item in items(evidence))
    nobody = {"worker": [Facts()], "other": [Facts(seen=frozenset({line}), metrics={"acc": 0.5})]}
    assert [item.sign.kind.value for item in lacking(evidence, nobody)] == ["file", "log", "metric"]
    all_of_it = Facts(seen=frozenset({file, line}), metrics={"acc": 0.95})
    assert lacking(evidence, {"worker": [Facts(), all_of_it]}) == []
    assert all("success." in item.lack or "log" in item.lack for item in items(evidence))


def test_file_that_others_wait_for_is_another_sign_than_the_same_as_evidence() -> None:
    waited = Readiness(kind=ReadinessKind.FILE, path="m")
    (item,) = items(planned(f"{JOB}success: {{artifacts: [m]}}\n").job.evidence)
    assert item.sign != waited and item.sign.path == waited.path
