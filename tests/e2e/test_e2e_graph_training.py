"""A training job as a node of a canvas: it runs, its progress shows, its files go on, and cancelling reaches it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from modelyard.client.aio import Client
from modelyard.v1 import job_pb2, run_pb2
from tests.support.wait import wait_until
from tests.support.yard import Yard, new_yard

pytestmark = pytest.mark.asyncio
JOB = """
kind: Job
framework: plain
name: trained
argv: [sh, -c, 'echo "{\\"loss\\": 7}" > m.json; echo step 1/2; %s']
resources: {cpu: 0.2}
roles:
  worker: {clean: {keep: [m.json]}}
"""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(is_up=False, agents=2) as made:
        up = made.up("--trainer")
        assert up.code == 0, f"{up.stderr}\n{made.logs()}"
        yield made


def canvas(job: str) -> str:
    train = {
        "id": "train", "operator": "train.run", "record": True,
        "initial_params": {"job": job, "keep": "worker-0/m.json"},
    }  # fmt: skip
    read = {"id": "read", "operator": "files.read", "record": True, "resources": {"cpu": 0.2}}
    edge = {"id": "e", "source": "train", "source_port": "file", "target": "read"}
    return json.dumps({"nodes": [train, read], "edges": [edge]})


async def test_job_is_a_node_whose_file_the_next_one_reads(yard: Yard) -> None:
    async with yard.client() as client:
        project = (await client.projects.create("trains")).id
        saved = await client.projects.save(project, canvas(JOB % "true"))
        assert not saved.problems, saved.problems
        run = await client.runs.wait((await client.runs.start(project)).id)
        assert run.state == run_pb2.RUN_STATE_SUCCEEDED, run.error
        [read] = [one for one in run.results if one.node_id == "read"]
        assert json.loads(json.loads(read.outputs[0].value_json)) == {"loss": 7}
        [job] = (await client.jobs.list()).jobs
        assert (job.name, job.state) == ("trained", job_pb2.JOB_STATE_SUCCEEDED)


async def test_cancelling_the_run_stops_its_job(yard: Yard) -> None:
    async with yard.client() as client:
        run, job = await started(client, JOB % "sleep 600", "is cancelled")

        async def shows() -> bool:
            [train, _] = await client.runs.nodes(run)
            return bool(train.task) and job.id in (await client.tasks.get(train.task)).progress.message

        await wait_until(shows, "its progress names the job", timeout_s=20)
        shown = await asyncio.to_thread(yard.cli, "graph", "show", run, "train")
        assert f"% {job.id} " in shown.stdout, shown.stdout
        await client.runs.cancel(run, "enough")

        async def is_stopped() -> bool:
            return (await client.jobs.get(job.id)).state == job_pb2.JOB_STATE_STOPPED

        await wait_until(is_stopped, "the job is stopped", timeout_s=30)


async def test_failure_of_the_job_is_that_of_its_node_with_its_last_words_and_the_next_step(
    yard: Yard,
) -> None:
    async with yard.client() as client:
        run, job = await started(client, JOB % "echo no such data >&2; exit 3", "fails")
        ended = await asyncio.wait_for(client.runs.wait(run), 60)
        assert ended.state == run_pb2.RUN_STATE_FAILED
        assert job.id in ended.error.message and "exit" in ended.error.message
        assert "worker-0" in ended.error.message and "its last line: no such data" in ended.error.message
        assert ended.error.next_step == f"yard train why {job.id}; yard train logs {job.id}"
    wrote = yard.cli("graph", "logs", run, "train")
    assert wrote.code == 0 and "worker-0 | step 1/2" in wrote.stdout
    assert "worker-0 | no such data" in wrote.stderr
    every = yard.cli("graph", "logs", run)
    assert "── train (t-" in every.stderr and "worker-0 | step 1/2" in every.stdout


async def test_job_within_a_map_is_seen_followed_and_stopped_as_any_other(yard: Yard) -> None:
    async with yard.client() as client:
        text = JOB % '[ "$(cat data)" = 1 ] || sleep 600'
        run, job = await started(client, text, "maps", mapped(text))

        def shown() -> str:
            return yard.cli("graph", "show", run, "m").stdout

        async def goes_on() -> bool:
            # The second item: the first one's job has ended.
            return "m/1/train is running 0% j-" in await asyncio.to_thread(shown)

        await wait_until(goes_on, "the map shows how far its item is", timeout_s=60)

        async def wrote() -> bool:
            every = await asyncio.to_thread(yard.cli, "graph", "logs", run)
            assert "── m/0/train (t-" in every.stderr, every.stderr
            return every.stdout.count("worker-0 | step 1/2") == 2

        await wait_until(wrote, "what both items wrote is there", timeout_s=30)
        one = await asyncio.to_thread(yard.cli, "graph", "logs", run, "m/1")
        assert "── m/1/train (t-" in one.stderr and one.stdout.count("step 1/2") == 1
        await client.runs.cancel(run, "enough")
        second = max((await client.jobs.list()).jobs, key=lambda one: int(one.id[2:]))
        assert second.id != job.id

        async def is_stopped() -> bool:
            return (await client.jobs.get(second.id)).state == job_pb2.JOB_STATE_STOPPED

        await wait_until(is_stopped, "its job is stopped", timeout_s=30)
    after = yard.cli("graph", "logs", run, "m/1/train")
    assert after.code == 0 and "worker-0 | step 1/2" in after.stdout


async def test_file_that_the_job_did_not_keep_is_told_by_the_node(yard: Yard) -> None:
    async with yard.client() as client:
        project = (await client.projects.create("keeps another")).id
        await client.projects.save(
            project, canvas(JOB % "true").replace("worker-0/m.json", "worker-0/n.json")
        )
        ended = await asyncio.wait_for(client.runs.wait((await client.runs.start(project)).id), 60)
        assert ended.state == run_pb2.RUN_STATE_FAILED
        assert "kept no worker-0/n.json: it kept worker-0/m.json" in ended.error.message
        assert ended.error.next_step == "name it in the job file's keep, as role-index/path"


async def test_job_file_that_is_wrong_is_told_by_the_node(yard: Yard) -> None:
    async with yard.client() as client:
        project = (await client.projects.create("is wrong")).id
        await client.projects.save(project, canvas("kind: Job\nframework: plainn\n"))
        ended = await client.runs.wait((await client.runs.start(project)).id)
        assert ended.state == run_pb2.RUN_STATE_FAILED
        assert "plainn" in ended.error.message and "Traceback" not in ended.error.message


def mapped(job: str) -> str:
    """The job for each of two items, which it finds as its data; one after the other, as it has effects."""
    items = {
        "id": "items",
        "operator": "echo",
        "initial_params": {"value": [1, 2]},
        "resources": {"cpu": 0.2},
    }
    train = {"id": "train", "operator": "train.run", "record": True, "initial_params": {"job": job}}
    body = {
        "canvas": {"nodes": [train]},
        "inputs": [{"name": "item", "node": "train", "port": "data"}],
        "outputs": [{"name": "job", "node": "train", "port": "job"}],
    }  # fmt: skip
    nodes = [items, {"id": "m", "map": {"subgraph": "one"}}]
    edges = [{"source": "items", "target": "m", "target_port": "items"}]
    return json.dumps({"nodes": nodes, "edges": edges, "subgraphs": {"one": body}})


async def started(client: Client, job: str, name: str, drawn: str = "") -> tuple[str, job_pb2.Job]:
    """The run and its job, once that is there."""
    known = {one.id for one in (await client.jobs.list()).jobs}
    project = (await client.projects.create(name)).id
    saved = await client.projects.save(project, drawn or canvas(job))
    assert not saved.problems, saved.problems
    run = await client.runs.start(project)

    async def made() -> job_pb2.Job | None:
        return next((one for one in (await client.jobs.list()).jobs if one.id not in known), None)

    found = await wait_until(made, "its job is there", timeout_s=30)
    assert found is not None
    return run.id, found
