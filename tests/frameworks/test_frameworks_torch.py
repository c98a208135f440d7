"""PyTorch as it is: trained on two agents, to the numbers of its own launcher and of one process (S3.1)."""

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
def torchrun() -> Values:
    """What PyTorch's own launcher makes of two ranks, without the suite."""
    found = by_hand((["torchrun", "--standalone", "--nproc-per-node=2", "torch_ddp.py"], {}))
    assert ranks_of(found) == [(0, 2), (1, 2)]
    return found[0]


def test_ddp_with_two_ranks_on_each_node_trains_to_the_numbers_of_torchrun(
    yard: FrameworkYard, torchrun: Values, alone: Alone
) -> None:
    found = yard.results(job("pytorch-ddp", "python", "torch_ddp.py", params={"nproc": 2}))
    assert ranks_of(found) == [(0, 4), (1, 4), (2, 4), (3, 4)]
    same_as(torchrun, found, alone)


def test_torchrun_on_two_nodes_trains_to_the_numbers_of_one(
    yard: FrameworkYard, torchrun: Values, alone: Alone
) -> None:
    found = yard.results(job("torchrun", "torch_ddp.py", roles={"node": {"count": 2}}))
    assert ranks_of(found) == [(0, 2), (1, 2)]
    same_as(torchrun, found, alone)


def test_accelerate_on_two_machines_trains_to_the_numbers_of_torchrun(
    yard: FrameworkYard, torchrun: Values, alone: Alone
) -> None:
    found = yard.results(job("accelerate", "accelerate_train.py", roles={"machine": {"count": 2}}))
    assert ranks_of(found) == [(0, 2), (1, 2)]
    same_as(torchrun, found, alone)


def test_parameter_server_of_plain_torch_trains_to_the_numbers_of_processes_started_by_hand(
    yard: FrameworkYard, alone: Alone
) -> None:
    (port,) = free_ports(1)
    every = {"MASTER_ADDR": HOST, "MASTER_PORT": port, "WORLD_SIZE": 3, "PS_COUNT": 1}
    members = [("ps", 0), ("worker", 0), ("worker", 1)]
    bare = by_hand(
        *(
            (["python", "torch_ps.py"], {**every, "RANK": rank, "ROLE": role, "ROLE_RANK": index})
            for rank, (role, index) in enumerate(members)
        )
    )
    found = yard.results(job("pytorch-ps", "python", "torch_ps.py"))
    assert ranks_of(found) == ranks_of(bare) == [(1, 3), (2, 3)]
    same_as(bare[0], found, alone)
