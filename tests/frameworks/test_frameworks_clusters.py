"""Clusters that are made for one program, and MPI without ssh, on two agents (S3.1, N12)."""

from __future__ import annotations

from tests.support.framework_yard import Alone, FrameworkYard, by_hand, job, ranks_of, same_as

# mpirun refuses the machine's administrator, which tests may be.
AS_ANYBODY = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
# Ranks that wait for each other for ever would hold the whole suite.
HANG = {"silent": "1m", "and_cpu_below": 5}


def test_mpi_without_ssh_trains_to_the_numbers_of_mpirun(yard: FrameworkYard, alone: Alone) -> None:
    bare = by_hand((["mpirun", "--oversubscribe", "-np", "4", "python", "mpi_train.py"], AS_ANYBODY))
    launcher = {"argv": ["python", "mpi_train.py"], "env": AS_ANYBODY}
    found = yard.results(job("mpi", params={"slots": 2}, hang=HANG, roles={"launcher": launcher}))
    assert ranks_of(found) == ranks_of(bare) == [(rank, 4) for rank in range(4)]
    same_as(bare[0], found, alone)


def test_dask_client_trains_on_both_workers_to_the_numbers_of_a_local_cluster(
    yard: FrameworkYard, alone: Alone
) -> None:
    bare = by_hand((["python", "dask_train.py"], {}))
    found = yard.results(job("dask", roles={"client": {"argv": ["python", "dask_train.py"]}}))
    assert [one["world"] for one in found] == [2], "parts lie with both"
    same_as(bare[0], found, alone)


def test_ray_driver_trains_on_head_and_worker_to_the_numbers_of_a_local_ray(
    yard: FrameworkYard, alone: Alone
) -> None:
    bare = by_hand((["python", "ray_train.py"], {}))
    found = yard.results(job("ray", roles={"driver": {"argv": ["python", "ray_train.py"]}}))
    assert [(one["world"], one["nodes"]) for one in found] == [(2, 2)]
    same_as(bare[0], found, alone)
