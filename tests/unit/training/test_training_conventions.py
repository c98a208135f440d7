"""What each framework expects to be told, word for word, against what its shipped definition gives (S3.12)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.training import golden_job, launched, planned, said


def test_pytorch_ddp_ranks_get_the_variables_of_init_process_group() -> None:
    # S3.3, S3.7
    plan = planned(golden_job("pytorch-ddp"))
    assert said(plan, "worker", 0, 1) == {
        "MASTER_ADDR": "host-00", "MASTER_PORT": "10000", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2", "NODE_RANK": "1", "GROUP_RANK": "1", "TORCH_DISTRIBUTED_BACKEND": "gloo",
        "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    assert [said(plan, "master", 0, local)["RANK"] for local in (0, 1)] == ["0", "1"]


def test_torchrun_nodes_get_the_variables_that_torchrun_takes_for_options() -> None:
    plan = planned(golden_job("torchrun"))
    assert said(plan, "node", 1) == {
        "PET_NNODES": "2", "PET_NPROC_PER_NODE": "2", "PET_NODE_RANK": "1", "PET_MASTER_ADDR": "host-00",
        "PET_MASTER_PORT": "10000", "PET_MAX_RESTARTS": "0", "OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def test_torchrun_elastic_nodes_get_their_range_and_one_rendezvous() -> None:
    plan = planned(golden_job("torchrun-elastic"))
    assert said(plan, "node", 1) == {
        "PET_NNODES": "1:4", "PET_NPROC_PER_NODE": "1", "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": "host-00:10000", "PET_RDZV_ID": "j-7",
        "PET_RDZV_CONF": "is_host=0,last_call_timeout=3", "PET_LOCAL_ADDR": "host-01",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "PET_MAX_RESTARTS": "100", "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    assert said(plan, "node", 0)["PET_RDZV_CONF"] == "is_host=1,last_call_timeout=3"


def tf_config(job: str, role: str, index: int = 0) -> Any:
    return json.loads(said(planned(golden_job(job)), role, index)["TF_CONFIG"])


def test_tensorflow_workers_get_a_cluster_without_roles_that_have_no_instance() -> None:
    assert tf_config("tensorflow-multiworker", "worker", 1) == {
        "cluster": {"worker": ["host-10:11000", "host-11:11100"]},
        "task": {"type": "worker", "index": 1},
    }


def test_tensorflow_parameter_servers_get_the_whole_cluster_and_fail_fast_by_the_caller() -> None:
    cluster = {
        "chief": ["host-20:12000"],
        "worker": ["host-10:11000", "host-11:11100"],
        "ps": ["host-00:10000"],
    }
    for role, index in (("chief", 0), ("worker", 1), ("ps", 0)):
        assert tf_config("tensorflow-ps", role, index) == {
            "cluster": cluster,
            "task": {"type": role, "index": index},
        }
    assert tf_config("tensorflow-ps", "evaluator") == {"task": {"type": "evaluator", "index": 0}}
    plan = planned(golden_job("tensorflow-ps"))
    assert {said(plan, role)["GRPC_FAIL_FAST"] for role in plan.framework.role_names} == {"use_caller"}


def test_jax_processes_get_coordinator_number_and_id() -> None:
    assert said(planned(golden_job("jax")), "process", 1) == {
        "JAX_COORDINATOR_ADDRESS": "host-00:10000", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def test_jax_without_arguments_gets_a_slurm_job_whose_number_gives_the_leased_port() -> None:
    # N13: the library computes port = SLURM_JOB_ID % 4096 + 61440.
    plan = planned(golden_job("jax-slurm"))
    env = said(plan, "process", 1)
    port = launched(plan, "process").processes[0].env["YARD_PORT_COORDINATOR"]
    assert int(env["SLURM_JOB_ID"]) % 4096 + 61440 == int(port)
    assert {name: env[name] for name in env if name != "SLURM_JOB_ID"} == {
        "SLURM_STEP_NODELIST": "host-00", "SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS": "2", "SLURM_PROCID": "1",
        "SLURM_LOCALID": "0", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def test_xgboost_has_a_tracker_of_its_own_that_workers_are_told_of() -> None:
    plan = planned(golden_job("xgboost"))
    tracker = launched(plan, "tracker")
    assert tracker.processes[0].argv == ("python", "tracker.py", "10.0.0.0", "10000", "2")
    (script,) = tracker.files
    compile(script.content, script.path, "exec")
    assert 'RabitTracker(n_workers=workers, host_ip=host, port=port, sortby="task")' in script.content
    assert said(plan, "worker", 1) == {
        "DMLC_TRACKER_URI": "10.0.0.0", "DMLC_TRACKER_PORT": "10000", "DMLC_TASK_ID": "1", "DMLC_NUM_WORKER": "2",
        "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    (edge,) = plan.edges("worker")
    assert (edge.role, edge.until.kind.value, edge.until.port) == ("tracker", "listening", "rabit")


def test_lightgbm_gets_its_machine_list_as_a_file_and_its_own_port() -> None:
    plan = planned(golden_job("lightgbm"))
    launch = launched(plan, "worker", 1)
    assert launch.files[0].content == "10.0.0.0 10000\n10.0.0.1 10100\n"
    assert launch.processes[0].argv[2:] == (
        "machine_list_file=/d/worker-1/mlist.txt", "local_listen_port=10100", "num_machines=2",
    )  # fmt: skip
    assert said(plan, "worker", 1)["LIGHTGBM_MACHINES"] == "10.0.0.0:10000,10.0.0.1:10100"


def test_lightgbm_program_in_python_keeps_its_own_arguments() -> None:
    plan = planned(
        golden_job("lightgbm").replace("lightgbm, config=train.conf", "python, train.py")
        + "params: {arguments: false}\n"
    )
    assert launched(plan, "worker").processes[0].argv == ("python", "train.py")


def test_dask_and_ray_programs_find_their_cluster_by_variable() -> None:
    dask, ray = planned(golden_job("dask")), planned(golden_job("ray"))
    assert said(dask, "client")["DASK_SCHEDULER_ADDRESS"] == "tcp://host-00:10000"
    worker = launched(dask, "worker", 1).processes[0].argv
    assert worker[:3] == ("dask", "worker", "tcp://host-00:10000")
    assert {"--no-nanny", "--death-timeout", "--nthreads"} <= set(worker)
    assert said(ray, "driver")["RAY_ADDRESS"] == "ray://10.0.0.0:10002"
    direct = planned(golden_job("ray") + "params: {connect: direct}\n")
    assert said(direct, "driver")["RAY_ADDRESS"] == "10.0.0.0:10000"
    head = launched(ray, "head").processes[0].argv
    assert head[:4] == ("ray", "start", "--head", "--block")
    assert {"--port=10000", "--dashboard-port=10001", "--ray-client-server-port=10002"} <= set(head)
    assert "--address=10.0.0.0:10000" in launched(ray, "worker").processes[0].argv


def test_mpi_launcher_gets_hostfile_and_a_shell_that_needs_no_ssh() -> None:
    # N12
    plan = planned(golden_job("mpi"))
    launch, env = launched(plan, "launcher"), said(plan, "launcher")
    files = {file.path: file for file in launch.files}
    assert files["hostfile"].content == "worker-0.j-7 slots=2\nworker-1.j-7 slots=2\n"
    assert files["rsh"].is_executable
    assert env["OMPI_MCA_plm_rsh_agent"] == env["I_MPI_HYDRA_BOOTSTRAP_EXEC"] == "/d/launcher-0/rsh"
    assert env["OMPI_MCA_orte_default_hostfile"] == "/d/launcher-0/hostfile"
    assert env["OMPI_MCA_orte_keep_fqdn_hostnames"] == "true"
    assert env["MPI_HOST"] == "worker-0.j-7,worker-1.j-7"
    assert launch.processes[0].argv[:3] == ("mpirun", "-np", "4")
    for script in (files["rsh"], launched(plan, "worker").files[0]):
        compile(script.content, script.path, "exec")


def test_horovod_ranks_get_local_and_cross_ranks_and_a_rendezvous() -> None:
    plan = planned(golden_job("horovod"))
    assert said(plan, "worker", 1, 1) == {
        "HOROVOD_RANK": "3", "HOROVOD_SIZE": "4", "HOROVOD_LOCAL_RANK": "1", "HOROVOD_LOCAL_SIZE": "2",
        "HOROVOD_CROSS_RANK": "1", "HOROVOD_CROSS_SIZE": "2", "HOROVOD_HOSTNAME": "worker-1.j-7",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": "10.0.0.0", "HOROVOD_GLOO_RENDEZVOUS_PORT": "10000",
        "HOROVOD_CONTROLLER": "gloo", "HOROVOD_CPU_OPERATIONS": "gloo", "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def test_deepspeed_and_accelerate_launchers_get_their_options() -> None:
    deepspeed = launched(planned(golden_job("deepspeed")), "node", 1)
    assert deepspeed.processes[0].argv == (
        "deepspeed", "--hostfile=/d/node-1/hostfile", "--no_ssh", "--node_rank=1", "--master_addr=host-00",
        "--master_port=10000", "train.py", "--deepspeed", "--deepspeed_config=ds.json",
    )  # fmt: skip
    assert deepspeed.files[0].content == "node-0.j-7 slots=1\nnode-1.j-7 slots=1\n"
    accelerate = launched(planned(golden_job("accelerate")), "machine", 1)
    assert accelerate.processes[0].argv[:8] == (
        "accelerate", "launch", "--num_machines=2", "--machine_rank=1", "--main_process_ip=host-00",
        "--main_process_port=10000", "--num_processes=4", "--rdzv_backend=static",
    )  # fmt: skip


def test_accelerate_on_processors_gets_the_variables_of_torch() -> None:
    plan = planned(golden_job("accelerate").replace("cpu: false", "cpu: true"))
    assert launched(plan, "machine", 1).processes[1].argv == ("python", "train.py")
    assert said(plan, "machine", 1, 1) == {
        "ACCELERATE_USE_CPU": "true", "ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "host-00",
        "MASTER_PORT": "10000", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def test_paddle_trainers_get_endpoints_and_ids() -> None:
    env = said(planned(golden_job("paddle")), "trainer", 1)
    assert env["PADDLE_MASTER"] == "host-00:10001"
    assert env["PADDLE_TRAINER_ENDPOINTS"] == "host-00:10000,host-01:10100"
    assert (env["PADDLE_CURRENT_ENDPOINT"], env["PADDLE_TRAINER_ID"]) == ("host-01:10100", "1")
    assert (env["PADDLE_NNODES"], env["PADDLE_TRAINERS_NUM"], env["PADDLE_DISTRI_BACKEND"]) == (
        "2",
        "2",
        "gloo",
    )


def test_paddle_parameter_servers_are_told_their_part() -> None:
    plan = planned(golden_job("paddle-ps"))
    server, trainer = said(plan, "server"), said(plan, "trainer", 1)
    assert (server["TRAINING_ROLE"], trainer["TRAINING_ROLE"]) == ("PSERVER", "TRAINER")
    assert (
        server["PADDLE_PSERVERS_IP_PORT_LIST"] == trainer["PADDLE_PSERVERS_IP_PORT_LIST"] == "host-00:10000"
    )
    assert (server["PADDLE_PORT"], server["POD_IP"], trainer["PADDLE_TRAINER_ID"]) == (
        "10000",
        "host-00",
        "1",
    )
    assert (server["PADDLE_GLOO_RENDEZVOUS"], server["PADDLE_GLOO_HTTP_ENDPOINT"]) == ("3", "host-00:10001")


def test_parameter_servers_of_plain_pytorch_have_the_first_ranks() -> None:
    plan = planned(golden_job("pytorch-ps"))
    ranks = [(said(plan, role, index)["ROLE"], said(plan, role, index)["RANK"]) for role, index in
             (("ps", 0), ("worker", 0), ("worker", 1))]  # fmt: skip
    assert ranks == [("ps", "0"), ("worker", "1"), ("worker", "2")]
    assert said(plan, "worker", 1)["WORLD_SIZE"] == "3"


@pytest.mark.parametrize("name", ["tensorflow-ps", "dask", "ray", "mpi", "xgboost", "horovod"])
def test_servers_are_waited_for_and_are_no_cycle(name: str) -> None:
    # S3.5
    plan = planned(golden_job(name))
    assert any(edge.is_start_edge for role in plan.roles for edge in plan.edges(role.name))


def test_every_instance_gets_who_it_is_and_where_the_others_are() -> None:
    # S3.7
    env = launched(planned(golden_job("plain")), "worker", 2).processes[0].env
    assert env == {
        "YARD_JOB": "j-7", "YARD_ROLE": "worker", "YARD_INDEX": "2", "YARD_COUNT": "3",
        "YARD_ADDRESSES": "/d/worker-2/../addresses.json",
    }  # fmt: skip
