"""Training jobs on a real yard of two agents, through the command line and grpcurl, to their ends (S3.1–S3.12)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.frames import is_alive
from tests.support.grpcurl import FRAMEWORKS, JOBS, Refused
from tests.support.moments import moment
from tests.support.training_yard import TrainingYard, training_yard

RANKS = """kind: Job
framework: pytorch-ddp
name: digits
argv: [PROGRAM, {steps}]
resources: {{cpu: 3}}
roles:
  master: {{restart: {{max: {budget}, backoff: [100ms, 1s]}}}}
  worker: {{restart: {{max: {budget}, backoff: [100ms, 1s]}}}}
"""
PLAIN = """kind: Job
framework: plain
name: sleepers
argv: [PROGRAM, wait]
resources: {cpu: 0.5}
roles:
  worker: {count: 2}
"""
SERVED = """kind: Framework
id: served
summary: A server that never ends, and those who ask it once.
roles:
  server:
    count: 1
    service: {ports: {rpc: auto}}
    functions:
      ready: {until: listening, port: rpc}
      status: {failed: any, endless: true}
  client:
    count: {default: 1, min: 1, max: 3, elastic: true}
    functions:
      create: {env: {SERVER: "${roles.server[0].addr.rpc}"}}
      depend: [{role: server, timeout: 1m}]
job_status: {succeeded: client, failed: "any(server, client)"}
"""
ASKING = """kind: Job
framework: served
name: asking
resources: {cpu: 0.5}
roles:
  server: {argv: [PROGRAM, serve]}
  client: {argv: [PROGRAM, ask, wait]}
"""


@pytest.fixture(scope="module")
def yard_of_module() -> Iterator[TrainingYard]:
    with training_yard() as made:
        yield made


@pytest.fixture
def yard(yard_of_module: TrainingYard) -> TrainingYard:
    return yard_of_module.emptied()


def ranks(*steps: str, budget: int = 3) -> str:
    return RANKS.format(steps=", ".join(steps), budget=budget)


def test_ranks_run_on_two_agents_and_talk_over_their_ports(yard: TrainingYard) -> None:
    """S3.1, S3.3–S3.7: one job file, a gang on two nodes, ranks in order, addresses before the first start."""
    done = yard.run(ranks("talk"))
    assert done.code == 0, done.stderr
    for node in yard.yard.nodes:
        assert f" running on {node}" in done.stderr
    told = {words[0]: words[2:] for words in yard.lines() if words[2] == "total"}
    assert told == {"master-0": ["total", "1"], "worker-0": ["total", "1"]}
    begun = {words[0]: (words[3], words[4]) for words in yard.lines() if words[2] == "begins"}
    (_, port), (_, same) = begun["master-0"], begun["worker-0"]
    assert begun == {"master-0": ("0", port), "worker-0": ("1", port)} and port == same and int(port) > 1024
    (job_id,) = {line.split(";")[0] for line in done.stderr.splitlines() if "yard train stop" in line}
    job = yard.job(job_id)
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert moment(job["place_time"]) <= moment(job["start_time"]) <= moment(job["end_time"])
    assert {key: one["rank"] for key, one in yard.instances(job_id).items() if "rank" in one} == {
        "worker-0": 1
    }
    yard.nothing_lives(job_id)


def test_failing_rank_restarts_the_whole_job_within_its_budget(yard: TrainingYard) -> None:
    """S3.8: everybody starts again, in the same places, and what it cost is told."""
    job_id = yard.submit(ranks("fail=2", "talk"))
    yard.until(job_id, "SUCCEEDED")
    begun = [words for words in yard.lines() if words[2] == "begins"]
    assert [words[0] for words in begun] == ["master-0"] * 3 + ["worker-0"] * 3
    assert len({words[4] for words in begun}) == 1, "the port stays"
    (budget,) = yard.job(job_id)["budgets"]
    assert (budget["per"], budget["used"], budget["most"]) == ("job", 2, 3)
    assert {key: int(one["epoch"]) for key, one in yard.instances(job_id).items()} == {
        "master-0": 3,
        "worker-0": 3,
    }
    yard.nothing_lives(job_id)


def test_spent_budget_fails_the_job_and_says_why(yard: TrainingYard) -> None:
    """S3.8, S3.11: the exit code, the words of the rank, nobody left."""
    done = yard.run(ranks("fail=9", "wait", budget=1))
    assert done.code == 1, done.stderr
    (job_id,) = {line.split(";")[0] for line in done.stderr.splitlines() if "yard train stop" in line}
    job = yard.until(job_id, "FAILED")
    assert [words[0] for words in yard.lines() if words[2] == "begins"] == ["master-0"] * 2 + ["worker-0"] * 2
    failure = job["failure"]
    assert (failure["cause"], failure["exit_code"]) == ("EXIT_CAUSE_EXIT", 1)
    assert failure["last_lines"][-1] == "worker-0 gives up" and failure["node"] in yard.yard.nodes
    yard.nothing_lives(job_id)


READING = """kind: Job
framework: plain
name: reading
argv: [sh, -c, "cat clean.csv folder/b.txt again.csv"]
resources: {cpu: 0.1}
roles:
  worker: {count: 2}
"""


def test_every_instance_finds_what_data_names_and_what_is_not_there_is_refused(
    yard: TrainingYard,
) -> None:  # S3.3
    folder = yard.room / "folder"
    folder.mkdir()
    (yard.room / "clean.csv").write_text("clean\n")
    (folder / "b.txt").write_text("below\n")
    digest = "sha256:" + yard.yard.cli("artifacts", "put", str(yard.room / "clean.csv")).stdout.strip()
    data = (str(yard.room / "clean.csv"), f"{folder}/", f"{digest}:again.csv")
    words = [word for one in data for word in ("--data", one)]
    done = yard.yard.cli("train", "submit", "-", "--attach", *words, stdin=READING)
    assert done.code == 0, done.stderr
    assert sorted(line.rpartition(" ")[2] for line in done.stdout.splitlines()) == sorted(
        ["clean", "below", "clean"] * 2
    )
    assert yard.yard.cli("train", "run", "-", *words, stdin=READING).code == 0
    for wrong, why in (
        ("none.csv", "--data none.csv: there is no such file"),
        (digest, f"--data {digest}: say where it is to lie"),
        (f"{folder}:clean.csv", "clean.csv is attached twice"),
        (f"{folder}:../up", "no path below it"),
    ):
        refused = yard.yard.cli("train", "run", "-", "--data", data[0], "--data", wrong, stdin=READING)
        assert refused.code in (2, 7) and why in refused.stderr, refused


def test_stopped_job_ends_at_once_and_stays_stopped(yard: TrainingYard) -> None:  # S3.9
    job_id = yard.submit(PLAIN)
    yard.until_lines(2)
    assert yard.yard.cli("train", "stop", job_id, "--comment", "enough").code == 0
    assert yard.until(job_id, "STOPPED", "FAILED", "SUCCEEDED")["state"] == "JOB_STATE_STOPPED"
    yard.nothing_lives(job_id)
    assert yard.yard.cli("train", "stop", job_id).code == 0, "stopping it again changes nothing"
    assert yard.job(job_id)["state"] == "JOB_STATE_STOPPED"
    assert yard.yard.cli("train", "resume", job_id).code != 0


def test_suspended_job_holds_nothing_and_goes_on_when_it_is_resumed(yard: TrainingYard) -> None:  # S3.9
    job_id = yard.submit(PLAIN)
    yard.until_lines(2)
    assert yard.yard.cli("train", "suspend", job_id).code == 0
    yard.until(job_id, "SUSPENDED")
    yard.nothing_lives(job_id)
    assert yard.yard.cli("train", "resume", job_id).code == 0
    yard.until_lines(4)
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    assert len([words for words in yard.lines() if words[2] == "ends"]) == 2
    yard.nothing_lives(job_id)


def test_framework_that_is_registered_while_the_yard_runs_trains_in_its_order(yard: TrainingYard) -> None:
    """S3.2, S3.5, S3.12: who depends starts once the port listens; the endless server is stopped at the end."""
    registered = yard.yard.cli("train", "register", "-", stdin=SERVED)
    assert registered.code == 0, registered.stderr
    origin = yard.grpc.call(f"{FRAMEWORKS}/GetFramework", {"framework_id": "served"})["framework"]["origin"]
    assert origin == "FRAMEWORK_ORIGIN_REGISTERED"
    job_id = yard.submit(ASKING)
    yard.until_lines(1, "begins")
    why = yard.grpc.call(f"{JOBS}/ExplainJob", {"job_id": job_id})["waits"]
    assert [(wait["role"], wait["reason"], wait["unmet"][0]["role"]) for wait in why] == [
        ("client", "DEPENDENCY", "server")
    ]
    assert "client-0\tDEPENDENCY" in yard.yard.cli("train", "why", job_id).stdout
    (yard.room / "listens").touch()
    yard.until_lines(1, "asked")
    assert yard.until(job_id, "RUNNING")
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    why = yard.yard.cli("train", "why", job_id)
    assert why.code == 0 and re.search(
        r"it has succeeded, \S+ ago \(\d{4}-\d\d-\d\dT[\d:]{8}Z\).*; there is nothing to wait for", why.stderr
    ), why
    assert {words[0] for words in yard.lines() if words[2] == "ends"} == {"client-0"}
    yard.nothing_lives(job_id)
    assert "there is nothing to wait for" in yard.yard.cli("train", "why", job_id).stderr


def test_elastic_role_grows_and_shrinks_while_its_job_runs(yard: TrainingYard) -> None:  # S3.10
    assert yard.yard.cli("train", "register", "-", stdin=SERVED).code == 0
    (yard.room / "listens").touch()
    job_id = yard.submit(ASKING)
    yard.until_lines(1, "asked")
    assert yard.yard.cli("train", "scale", job_id, "client=3").code == 0
    pids = {words[0]: int(words[1]) for words in yard.until_lines(3, "asked") if words[2] == "asked"}
    assert yard.yard.cli("train", "scale", job_id, "client=1").code == 0
    yard.until_gone(pids["client-1"], pids["client-2"])
    assert is_alive(pids["client-0"])
    with pytest.raises(Refused, match="COUNT_OUT_OF_RANGE"):
        yard.grpc.call(f"{JOBS}/ScaleRole", {"job_id": job_id, "role": "client", "count": 4})
    with pytest.raises(Refused, match="ROLE_FIXED"):
        yard.grpc.call(f"{JOBS}/ScaleRole", {"job_id": job_id, "role": "server", "count": 0})
    yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    assert sorted(yard.instances(job_id)) == ["client-0", "server-0"]
    yard.nothing_lives(job_id)


@pytest.mark.parametrize("moment", ["taken", "running", "ending"])
def test_killed_trainer_finds_its_job_again_and_nothing_is_doubled(yard: TrainingYard, moment: str) -> None:
    """S3.10: processes go on without it, and what it did not hear is told to its successor."""
    job_id = yard.submit(ranks("talk", "wait"))
    if moment != "taken":
        yard.until_lines(2, "total")
    killed = yard.yard.kill("trainer")
    if moment == "ending":
        yard.open_door()
    yard.yard.wait_for("trainer", not_pid=killed)
    begun = [words for words in yard.until_lines(2, "total") if words[2] == "begins"]
    if moment != "ending":
        yard.until(job_id, "RUNNING")
        assert all(is_alive(int(words[1])) for words in begun)
        yard.open_door()
    yard.until(job_id, "SUCCEEDED")
    assert [words[0] for words in yard.lines() if words[2] == "begins"] == ["master-0", "worker-0"]
    assert [words[0] for words in yard.lines() if words[2] == "ends"] == ["master-0", "worker-0"]
    yard.nothing_lives(job_id)
