"""torchrun on a number of nodes that changes while it trains (S3.10, G4)."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest

from tests.support.framework_yard import LONG_S, FrameworkYard, job, reference_after, reported
from tests.support.wait import wait_until_sync


def test_elastic_torchrun_grows_and_shrinks_while_it_trains_and_loses_one_step_at_most(
    yard: FrameworkYard,
) -> None:
    """1 → 2 → 1 nodes: what comes out is what one process trains in as many steps."""
    node = {"count": {"min": 1, "default": 1, "max": 2}}
    text = job(
        "torchrun-elastic",
        "torch_elastic.py",
        params={"last_call": 1},
        roles={"node": node},
        env=yard.in_room,
    )
    job_id = yard.begin(text)
    _wait_for_worlds(yard, job_id, 1)
    _scale(yard, job_id, 2)
    _wait_for_worlds(yard, job_id, 1, 2)
    _scale(yard, job_id, 1)
    _wait_for_worlds(yard, job_id, 1, 2, 1)
    (yard.room / "finish").touch()
    yard.until(job_id, "SUCCEEDED")
    steps = [taken["step"] for taken in yard.steps()]
    assert all(after >= before for before, after in pairwise(steps)), steps
    assert set(steps) == set(range(1, steps[-1] + 1)), "no step is left out"
    (last,) = reported(yard.output(job_id))
    assert (last["world"], last["step"]) == (1, steps[-1])
    expected = reference_after(steps[-1])
    assert {key: last[key] for key in expected} == pytest.approx(expected, rel=1e-4)
    yard.nothing_lives(job_id)


def _scale(yard: FrameworkYard, job_id: str, count: int) -> None:
    done = yard.yard.cli("train", "scale", job_id, f"node={count}")
    assert done.code == 0, done.stderr


def _wait_for_worlds(yard: FrameworkYard, job_id: str, *sizes: int) -> None:
    """Until steps were taken in rounds of so many processes, one round after the other."""

    def rounds() -> list[int]:
        return [size for size, _ in groupby(taken["world"] for taken in yard.steps())]

    wait_until_sync(
        lambda: rounds() == [*sizes], f"rounds of {sizes}", timeout_s=LONG_S,
        state=lambda: (rounds(), yard.told(job_id)),
    )  # fmt: skip
