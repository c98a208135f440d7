"""JAX as it is, on two agents: by its own numbers, and by those of Slurm without an argument (S3.1, N13)."""

from __future__ import annotations

import pytest

from tests.support.framework_yard import (
    HOST,
    Alone,
    FrameworkYard,
    Values,
    by_hand,
    job,
    ranks_of,
    same_as,
)
from tests.support.ports import free_ports


@pytest.fixture(scope="module")
def processes() -> Values:
    """What two processes make of it that are started by hand."""
    (port,) = free_ports(1)
    place = {"JAX_COORDINATOR_ADDRESS": f"{HOST}:{port}", "JAX_NUM_PROCESSES": 2}
    found = by_hand(*((["python", "jax_train.py"], {**place, "JAX_PROCESS_ID": index}) for index in range(2)))
    assert ranks_of(found) == [(0, 2), (1, 2)]
    return found[0]


@pytest.mark.parametrize("framework", ["jax", "jax-slurm"])
def test_jax_on_two_nodes_trains_to_the_numbers_of_processes_started_by_hand(
    yard: FrameworkYard, processes: Values, alone: Alone, framework: str
) -> None:
    found = yard.results(job(framework, "python", "jax_train.py"))
    assert ranks_of(found) == [(0, 2), (1, 2)]
    assert {one["devices"] for one in found} == {2}
    same_as(processes, found, alone)
