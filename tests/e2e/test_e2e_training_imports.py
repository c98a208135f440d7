"""Files of other controllers on a real yard of two agents, without a cluster: they end well, and each instance was told
what its controller would have told it (N10)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.grpcurl import JOBS, Refused
from tests.support.training_yard import TrainingYard, training_yard

RESOURCES = "resources: {requests: {cpu: 500m}}"
RANKS = """apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: ranks, labels: {team: vision}}
spec:
  runPolicy: {backoffLimit: 2, activeDeadlineSeconds: 600}
  pytorchReplicaSpecs:
    Master:
      replicas: 1
      restartPolicy: OnFailure
      template: &pod
        spec:
          containers:
            - {name: pytorch, image: "registry.example/x", command: [PROGRAM], args: [fail=1, talk], RESOURCES}
    Worker: {replicas: 2, restartPolicy: OnFailure, template: *pod}
"""
REMOTE = r"""apiVersion: kubeflow.org/v2beta1
kind: MPIJob
metadata: {name: remote}
spec:
  slotsPerWorker: 2
  mpiReplicaSpecs:
    Launcher:
      replicas: 1
      template:
        spec:
          containers:
            - name: mpi
              RESOURCES
              command: [sh, -ec]
              args:
                - |
                  test $(wc -l < $OMPI_MCA_orte_default_hostfile) = 2
                  while read name slots; do
                    test "$slots" = slots=2
                    $OMPI_MCA_plm_rsh_agent $name "echo rank on \$WHO" < /dev/null
                  done < $OMPI_MCA_orte_default_hostfile > ROOM/ranks
    Worker:
      replicas: 2
      template:
        spec:
          containers: [{name: mpi, command: [/usr/sbin/sshd, -De], env: [{name: WHO, value: a worker}], RESOURCES}]
"""
STAGES = """apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata: {name: stages}
spec:
  successPolicy: {operator: All, targetReplicatedJobs: [trainer]}
  replicatedJobs:
    - name: prepare
      template:
        spec:
          backoffLimit: 0
          template: {spec: {containers: [{name: a, command: [sh, -c, "sleep 0.5; echo prepared >> ROOM/order"], RESOURCES}]}}
    - name: server
      dependsOn: [{name: prepare, status: Complete}]
      template:
        spec:
          backoffLimit: 0
          template:
            spec:
              containers:
                - name: a
                  command: [python, -c, "import os, socket, time; open('ROOM/order', 'a').write('server\\\\n'); s = socket.create_server(('', int(os.environ['YARD_PORT_RPC']))); time.sleep(600)"]
                  ports: [{name: rpc, containerPort: 18471}]
                  readinessProbe: {tcpSocket: {port: rpc}}
                  RESOURCES
    - name: trainer
      replicas: 2
      dependsOn: [{name: server, status: Ready}]
      template:
        spec:
          backoffLimit: 0
          template:
            spec:
              containers:
                - name: a
                  command: [python, -c, "import os, socket; socket.create_connection((os.environ['SERVER'], 18471)); open('ROOM/order', 'a').write('trainer %s of %s\\\\n' % (os.environ['JOB'], os.environ['SERVER_NAME']))"]
                  env:
                    - {name: SERVER, value: stages-server-0-0.stages}
                    - {name: SERVER_NAME, value: $(SERVER)}
                    - {name: JOB, valueFrom: {fieldRef: {fieldPath: "metadata.labels['jobset.sigs.k8s.io/job-index']"}}}
                  RESOURCES
"""  # noqa: E501
TASKS = """apiVersion: batch.volcano.sh/v1alpha1
kind: Job
metadata: {name: tasks}
spec:
  minAvailable: 3
  schedulerName: volcano
  plugins: {env: [], svc: []}
  tasks:
    - name: ps
      replicas: 1
      template: {spec: {restartPolicy: Never, containers: [{name: a, command: [sh, -c, "echo ps >> ROOM/tasks; sleep 600"], RESOURCES}]}}
    - name: worker
      replicas: 2
      dependsOn: {name: [ps]}
      policies: [{event: TaskCompleted, action: CompleteJob}]
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: a
              command: [sh, -ec, "while ! grep -q ps ROOM/tasks; do sleep 0.02; done; test $(wc -l < /etc/volcano/worker.host) = $VC_WORKER_NUM; test $VC_PS_HOSTS; echo worker ${VK_TASK_INDEX} >> ROOM/tasks"]
              RESOURCES
"""  # noqa: E501


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    with training_yard() as made:
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    return yard_of_module.emptied()


def ran(yard: TrainingYard, text: str, tmp_path: Path) -> str:
    """The id of a job that was imported by the command line, once it has succeeded."""
    text = yard.with_program(text.replace("RESOURCES", RESOURCES).replace("ROOM", str(yard.room)))
    file = tmp_path / "source.yaml"
    file.write_text(text)
    done = yard.yard.cli("train", "import", str(file), "--submit", "-o", "json")
    assert done.code == 0, done.stderr
    job_id = str(json.loads(done.stdout)["job"]["id"])
    job = yard.until(job_id, "SUCCEEDED", "FAILED")
    assert job["state"] == "JOB_STATE_SUCCEEDED", yard.told(job_id)
    yard.nothing_lives(job_id)
    return job_id


def written(yard: TrainingYard, name: str) -> list[str]:
    return (yard.room / name).read_text().splitlines()


def test_imported_pytorch_job_restarts_its_ranks_and_they_meet(yard: TrainingYard, tmp_path: Path) -> None:
    # N10, S3.8
    job_id = ran(yard, RANKS, tmp_path)
    totals = [words for words in yard.lines() if "total" in words]
    assert sorted(words[0] for words in totals) == ["master-0", "worker-0", "worker-1"]
    assert {words[3] for words in totals} == {"3"}
    begun = [words for words in yard.lines() if "begins" in words]
    assert {words[3] for words in begun} == {"0", "1", "2"}
    # worker-0 failed once, and all restarted; who was stopped at once may not have begun before.
    times = Counter(words[0] for words in begun)
    assert times["worker-0"] == 2 and max(times.values()) == 2
    assert yard.job(job_id)["labels"] == {"team": "vision"}


def test_imported_mpi_job_reaches_its_workers_without_ssh(yard: TrainingYard, tmp_path: Path) -> None:
    # N10, N12
    ran(yard, REMOTE, tmp_path)
    assert written(yard, "ranks") == ["rank on a worker", "rank on a worker"]


def test_imported_jobset_holds_its_order_and_ends_with_its_targets(
    yard: TrainingYard, tmp_path: Path
) -> None:
    # N10, S3.5
    ran(yard, STAGES, tmp_path)
    lines = written(yard, "order")
    assert lines[:2] == ["prepared", "server"]
    assert sorted(line.rpartition(" of ")[0] for line in lines[2:]) == ["trainer 0", "trainer 1"]
    assert not any(line.endswith("$(SERVER)") for line in lines)


def test_imported_volcano_job_waits_for_its_tasks_and_ends_with_one(
    yard: TrainingYard, tmp_path: Path
) -> None:
    # N10, S3.5, S3.9
    job_id = ran(yard, TASKS, tmp_path)
    assert sorted(written(yard, "tasks")) == ["ps", "worker 0", "worker 1"]
    assert yard.instances(job_id)["ps-0"]["state"] == "INSTANCE_STATE_STOPPED"


def test_what_cannot_be_imported_is_refused_in_words(yard: TrainingYard) -> None:
    with pytest.raises(Refused) as caught:
        yard.grpc.call(f"{JOBS}/ImportJob", {"document": "kind: Pod\napiVersion: v1"})
    assert "IMPORT_INVALID" in str(caught.value)
    answer = yard.grpc.call(f"{JOBS}/ImportJob", {"document": RANKS.replace("RESOURCES", RESOURCES)})
    assert "job" not in answer
    assert {finding["kind"] for finding in answer["findings"]} == {"TRAINING_DOCUMENT_KIND_SOURCE"}
