"""TensorFlow as it is: workers that mirror each other, and a parameter server that dies (S3.1, S3.8, N5)."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.support.frames import is_alive
from tests.support.framework_yard import (
    LONG_S,
    Alone,
    FrameworkYard,
    by_hand,
    job,
    ranks_of,
    reference_after,
    reported,
    same_as,
)
from tests.support.wait import wait_until_sync


def test_mirrored_workers_train_to_the_numbers_of_one(yard: FrameworkYard, alone: Alone) -> None:
    bare = by_hand((["python", "tensorflow_multiworker.py"], {}))
    found = yard.results(job("tensorflow-multiworker", "python", "tensorflow_multiworker.py"))
    assert ranks_of(found) == [(0, 2), (1, 2)]
    same_as(bare[0], found, alone)


def test_killed_parameter_server_and_its_chief_start_again_while_workers_live_on(yard: FrameworkYard) -> None:
    """N5: the training goes on from what was saved, to the numbers of one process in as many steps."""
    job_id = yard.begin(job("tensorflow-ps", "python", "tensorflow_ps.py", env=yard.in_room))
    _until_steps(yard, job_id, 3, begun=0)
    serving = _serving(yard, job_id)
    assert sorted(serving) == ["ps-0", "worker-0", "worker-1"]
    os.kill(serving["ps-0"], signal.SIGKILL)
    _until_steps(yard, job_id, 3, begun=1)
    (yard.room / "finish").touch()
    yard.until(job_id, "SUCCEEDED")
    epochs = {name: int(one["epoch"]) for name, one in yard.instances(job_id).items()}
    assert epochs.pop("chief-0") >= 2
    assert epochs == {"ps-0": 2, "worker-0": 1, "worker-1": 1}
    (last,) = reported(yard.output(job_id))
    assert last["begun"] > 0, "it was taken up, not begun anew"
    expected = reference_after(last["step"])
    assert {key: last[key] for key in expected} == pytest.approx(expected, rel=1e-4)
    yard.nothing_lives(job_id)
    assert not [pid for pid in serving.values() if is_alive(pid)]


def _until_steps(yard: FrameworkYard, job_id: str, count: int, *, begun: int) -> None:
    """Until so many steps were taken by a chief that began at no step, or (1) at a later one."""

    def taken() -> int:
        file = yard.room / "steps"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        steps = [json.loads(line) for line in lines if line.endswith("\n")]
        return sum(1 for one in steps if bool(one["begun"]) == bool(begun))

    wait_until_sync(
        lambda: taken() >= count,
        f"{count} steps",
        timeout_s=LONG_S,
        state=lambda: (taken(), yard.told(job_id)),
    )


def _serving(yard: FrameworkYard, job_id: str) -> dict[str, int]:
    """Processes of workers and servers, as they say."""
    return {
        name: int(line.split()[-1])
        for name, one in yard.instances(job_id).items()
        for line in yard.log_of(one).splitlines()
        if line.startswith("serving as")
    }
