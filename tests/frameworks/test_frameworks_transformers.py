"""Hugging Face's Trainer, which reports its progress without a line of code (S3.9, issue 5.7)."""

from __future__ import annotations

import json

import pytest

from tests.support.framework_yard import FrameworkYard, by_hand, job, reported

STEPS = 60


def test_hugging_faces_trainer_shows_its_progress_and_metrics_and_trains_to_the_same_loss(
    yard: FrameworkYard,
) -> None:
    (bare,) = by_hand((["python", "transformers_train.py"], {}))
    job_id = yard.train(job("plain", "python", "transformers_train.py"))
    (found,) = reported(yard.output(job_id))
    assert found == pytest.approx(bare, rel=1e-5) and found["last"] < 0.5
    progress = yard.job(job_id)["progress"]
    assert (progress["ratio"], progress["remaining_s"]) == (1, 0)
    assert (progress["step"], progress["total_steps"]) == (str(STEPS), str(STEPS))
    assert progress["metrics"]["loss"] == pytest.approx(found["last"], rel=1e-4)
    told = yard.yard.cli("train", "metrics", job_id, "--metric", "loss", "-o", "json")
    (series,) = json.loads(told.stdout)["series"]
    assert series["points"][-1]["step"] == str(STEPS)
    yard.nothing_lives(job_id)
