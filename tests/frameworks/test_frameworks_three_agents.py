"""Ranks on three agents, one each, while an agent's process dies (S3.1, S3.10, G8)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.framework_yard import (
    LONG_S,
    FrameworkYard,
    Values,
    framework_yard,
    job,
    ranks_of,
    reference_after,
    reported,
)
from tests.support.wait import wait_until_sync

RANKS = [(0, 3), (1, 3), (2, 3)]
# More than half of what an agent has to give.
EACH = {"cpu": 2}


@pytest.fixture(scope="module")
def three() -> Iterator[FrameworkYard]:
    with framework_yard(3) as made:
        yield made


@pytest.fixture
def yard(three: FrameworkYard) -> FrameworkYard:
    three.emptied()
    return three


@pytest.mark.parametrize(
    ("framework", "words", "roles"),
    [
        ("pytorch-ddp", ("python", "torch_elastic.py"), {"worker": {"count": 2}}),
        ("torchrun", ("torch_elastic.py",), {"node": {"count": 3}}),
    ],
)
def test_ranks_on_three_agents_do_not_notice_that_an_agent_is_killed_and_comes_back(
    yard: FrameworkYard, framework: str, words: tuple[str, ...], roles: Values
) -> None:
    job_id = yard.begin(job(framework, *words, roles=roles, env=yard.in_room, resources=EACH))
    _until_steps(yard, job_id, 5)
    before = yard.instances(job_id)
    assert sorted(one["address"]["node"] for one in before.values()) == yard.yard.nodes
    for node in yard.yard.nodes[1:]:
        killed = yard.yard.kill(f"agent-{node}")
        _until_steps(yard, job_id, len(yard.steps()) + 5)
        yard.yard.wait_for(f"agent-{node}", not_pid=killed)
        _until_steps(yard, job_id, len(yard.steps()) + 5)
    after = yard.instances(job_id)
    for name, one in before.items():
        assert (after[name]["epoch"], after[name]["task_id"]) == (one["epoch"], one["task_id"])
    (yard.room / "finish").touch()
    yard.until(job_id, "SUCCEEDED")
    found = reported(yard.output(job_id))
    assert ranks_of(found) == RANKS
    steps = [taken["step"] for taken in yard.steps()]
    assert steps == [*range(1, steps[-1] + 1)], "no step was taken twice"
    expected = reference_after(steps[-1])
    for one in found:
        assert {key: one[key] for key in expected} == pytest.approx(expected, rel=1e-4)
    assert {one["epoch"] for one in yard.instances(job_id).values()} == {"1"}
    yard.nothing_lives(job_id)


def _until_steps(yard: FrameworkYard, job_id: str, count: int) -> None:
    wait_until_sync(
        lambda: len(yard.steps()) >= count,
        f"{count} steps",
        timeout_s=LONG_S,
        state=lambda: yard.told(job_id),
    )
