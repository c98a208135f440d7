"""What each service knows of lineage, over real gRPC and SQLite; and what it keeps from other accounts (issue 7.1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.artifacts import put_bytes
from modelyard.v1 import (
    account_pb2,
    artifact_pb2,
    artifact_pb2_grpc,
    framework_pb2,
    job_pb2,
    lineage_pb2_grpc,
    model_pb2,
    run_pb2,
    task_pb2,
)
from modelyard.v1 import lineage_pb2 as pb
from services.models.catalogue.usage import Count
from services.scheduler.records.holders import holder_of
from tests.support.graph_repeats import started
from tests.support.graph_yard import graph_yard
from tests.support.models_yard import models_yard
from tests.support.scheduler_service import KNOWN_DIGEST, command, refusal, scheduler_yard
from tests.support.trainer_yard import JOB, trainer_yard

pytestmark = pytest.mark.asyncio
DIGEST, DATA = "a" * 64, "b" * 64


async def links(client: Any, kind: str, id: str, **fields: Any) -> pb.ListLinksResponse:
    """What its service tells a caller of a thing."""
    stub = lineage_pb2_grpc.LineageServiceStub(client.channel)
    subject = pb.Thing(kind=pb.ThingKind.Value(f"THING_KIND_{kind}"), id=id)
    return await stub.ListLinks(pb.ListLinksRequest(subject=subject, **fields))


def told(answer: pb.ListLinksResponse) -> set[str]:
    """Each link as "UP TASK t-1"."""
    return {
        f"{pb.LinkDirection.Name(one.direction).removeprefix('LINK_DIRECTION_')}"
        f" {pb.ThingKind.Name(one.thing.kind).removeprefix('THING_KIND_')}"
        f" {'hidden' if one.thing.is_hidden else one.thing.id}"
        for one in answer.links
    }


async def test_scheduler_knows_what_a_task_was_given_and_which_tasks_name_an_artefact(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada, bob = await yard.user("ada"), await yard.user("bob")
        given = command(bundle_digest=KNOWN_DIGEST, labels={"run": "r-3"})
        ids = [(await ada.submit(given))[0] for _ in range(3)]
        answer = await links(ada, "TASK", ids[0])
        assert answer.subject.account == "ada" and answer.subject.name == "true"
        assert told(answer) == {f"UP ARTIFACT {KNOWN_DIGEST}", f"BESIDE NODE r-3@{ids[0]}"}
        held = f"{holder_of('ada', [KNOWN_DIGEST])}/{KNOWN_DIGEST}"
        first = await links(ada, "INPUT_SET", held, page_size=2)
        rest = await links(ada, "INPUT_SET", held, page_size=2, page_token=first.next_page_token)
        assert told(first) | told(rest) == {f"DOWN TASK {one}" for one in ids}
        assert {one.relation for one in first.links} == {"directory"}
        for kind, thing in (("TASK", ids[0]), ("INPUT_SET", held)):
            assert await links(bob, kind, thing) == pb.ListLinksResponse(), "as if it were not there"


async def test_scheduler_shows_elements_of_an_array_and_whom_a_task_waited_for(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        [first] = await yard.admin.submit(command())
        on = task_pb2.Dependency(task_id=first)
        [task] = await yard.admin.submit(command(dependencies=[on]))
        assert told(await links(yard.admin, "TASK", task)) == {f"UP TASK {first}"}
        assert told(await links(yard.admin, "TASK", task, direction=pb.LINK_DIRECTION_DOWN)) == set()


async def test_store_tells_holders_as_what_they_are_and_pages_through_them(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        store, bob = yard.store.admin, await yard.store.user("bob")
        kept = await put_bytes(store.channel, b"data", name="data.csv")
        stub = artifact_pb2_grpc.ArtifactServiceStub(store.channel)
        holders = [
            "task:t-1", "job:j-1/worker-0/3", "user:j-2", "run:r-1", "model:iris:1", "inputs:00ff", "user:mine",
            "cache:x:1", "project:p-7",
        ]  # fmt: skip
        for holder in holders:
            await stub.AddReferences(artifact_pb2.AddReferencesRequest(holder=holder, digests=[kept.digest]))
        found, token = set(), ""
        while True:
            page = await links(store, "ARTIFACT", kept.digest, page_size=3, page_token=token)
            assert page.subject.name == "data.csv"
            found |= told(page)
            token = page.next_page_token
            if not token:
                break
        assert found == {
            "UP TASK t-1", "UP JOB j-1", "UP JOB j-2", "UP RUN r-1", "DOWN MODEL_VERSION iris:1",
            f"DOWN INPUT_SET inputs:00ff/{kept.digest}",
        }  # fmt: skip
        assert await links(bob, "ARTIFACT", kept.digest) == pb.ListLinksResponse()


async def test_graph_knows_a_node_by_its_task_and_leads_to_run_and_canvas(tmp_path: Path) -> None:
    async with graph_yard(tmp_path) as yard:
        run = await started(yard)
        listed = run_pb2.ListRunNodesRequest(run_id=run)
        task = ""
        while not task:
            task = next(
                (one.task for one in (await yard.admin.runs.ListRunNodes(listed)).nodes if one.task), ""
            )
        answer = await links(yard.admin, "NODE", f"{run}@{task}")
        assert answer.subject.id == f"{run}/a" and answer.subject.name == "load"
        assert told(answer) == {f"UP RUN {run}", f"BESIDE TASK {task}"}, "an order edge carries nothing"
        assert "UP CANVAS p-1:1" in told(await links(yard.admin, "RUN", run))
        assert f"DOWN RUN {run}" in told(await links(yard.admin, "CANVAS", "p-1"))
        ada = await yard.user("ada")
        for kind, id in (("RUN", run), ("NODE", f"{run}/a"), ("CANVAS", "p-1:1"), ("NODE", f"{run}@{task}")):
            assert await links(ada, kind, id) == pb.ListLinksResponse()
        for nothing in (f"{run}/z", f"{run}@t-99", f"{run}@", run, "r-9/a", "/", "@"):
            assert await links(yard.admin, "NODE", nothing) == pb.ListLinksResponse()


async def test_graph_knows_what_started_a_run_by_itself_and_which_runs_something_started(
    tmp_path: Path,
) -> None:
    async with graph_yard(tmp_path) as yard:
        run = await started(yard)
        second = (await yard.admin.runs.StartRun(run_pb2.StartRunRequest(project_id="p-1"))).run.id
        events = {
            run: (f"artifact:{DATA}", "artifact", {"kind": "artifact", "digest": DATA}),
            second: ("version:3", "model", {"kind": "version", "model": "iris", "version": 3}),
        }

        def fire(connection: Any) -> None:
            for started_run, (key, kind, event) in events.items():
                trigger = connection.execute(
                    "INSERT INTO run_trigger"
                    " (account, name, project, wish, kind, cursor, create_time_ms, update_time_ms)"
                    " VALUES ('default', ?, 1, x'', ?, 0, 1, 1) RETURNING number", (kind, kind),
                ).fetchone()[0]  # fmt: skip
                connection.execute(
                    "INSERT INTO firing (trigger, key, state, event, params, create_time_ms, run)"
                    " VALUES (?, ?, 'started', ?, '{}', 1, ?)", (trigger, key, json.dumps(event), int(started_run[2:])),
                )  # fmt: skip

        await yard.service._engine.store.database.write(fire)
        ada = await yard.user("ada")
        for kind, id, of in (("ARTIFACT", DATA, run), ("MODEL_VERSION", "iris:3", second)):
            assert f"UP {kind} {id}" in told(await links(yard.admin, "RUN", of))
            assert told(await links(yard.admin, kind, id)) == {f"DOWN RUN {of}"}
            assert told(await links(ada, kind, id)) == set()
        assert told(await links(yard.admin, "MODEL_VERSION", "wine:3")) == set()


async def test_trainer_knows_what_a_job_was_made_of_and_its_sweep(tmp_path: Path) -> None:
    async with trainer_yard(tmp_path) as yard:
        request = job_pb2.CreateJobRequest(
            job=framework_pb2.JobDocument(text=JOB, params_json=json.dumps({})), bundle_digest=DIGEST,
            attachments=[task_pb2.Attachment(path="data/train.csv", digest=DATA)],
        )  # fmt: skip
        job = (await yard.admin.jobs.CreateJob(request)).job.id
        answer = await links(yard.admin, "JOB", job, direction=pb.LINK_DIRECTION_UP)
        wanted = {f"UP ARTIFACT {DIGEST}", f"UP ARTIFACT {DATA}", "UP FRAMEWORK plain"}
        assert wanted <= told(answer) and answer.subject.name == "one"
        assert f"DOWN JOB {job}" in told(await links(yard.admin, "FRAMEWORK", "plain"))
        await yard.restart()
        assert wanted <= told(await links(yard.admin, "JOB", job))
        sweep = await yard.admin.begin()
        assert "UP FRAMEWORK plain" in told(await links(yard.admin, "SWEEP", sweep))
        ada = await yard.user("ada")
        assert await links(ada, "JOB", job) == await links(ada, "SWEEP", sweep) == pb.ListLinksResponse()
        assert told(await links(ada, "FRAMEWORK", "plain")) == set(), "whose jobs they are is not told"


@pytest.mark.parametrize(
    ("attached", "field"),
    [
        ([("/etc/passwd", DATA)], "attachments[0].path"),
        ([("../x", DATA)], "attachments[0].path"),
        ([("", DATA)], "attachments[0].path"),
        ([("x", "short")], "attachments[0].digest"),
        ([("x", DATA), ("x/y", DATA)], "attachments[1].path"),
        ([(f"x{number}", DATA) for number in range(101)], "attachments"),
    ],
)
async def test_job_with_an_attachment_that_cannot_be_is_refused(
    tmp_path: Path, attached: list[tuple[str, str]], field: str
) -> None:
    async with trainer_yard(tmp_path) as yard:
        request = job_pb2.CreateJobRequest(job=framework_pb2.JobDocument(text=JOB))
        for path, digest in attached:
            request.attachments.add(path=path, digest=digest)
        refused = await refusal(yard.admin.jobs.CreateJob(request))
        assert (refused.reason, refused.field) == ("JOB_ATTACHMENT_INVALID", field)


async def test_models_know_component_alias_and_callers_and_hide_other_accounts(tmp_path: Path) -> None:
    async with models_yard(tmp_path) as yard:
        [task] = await yard.scheduler.admin.submit(command())
        first = await yard.create(lineage=model_pb2.Lineage(task_id=task))
        await yard.prove()
        await yard.create(content=b"better", lineage=model_pb2.Lineage(parent="1"))
        await yard.admin.models.SetAlias(model_pb2.SetAliasRequest(model="iris", alias="champion", version=1))
        for account, by in (("default", "t-77"), ("eve", ""), ("eve", "t-78")):
            count = Count(
                model="iris", version=1, account=account, time_ms=1_700_000_000_000, calls=2, task=by
            )
            await yard.service._usage.add([count])
        [file] = first.component.files
        found = told(await links(yard.admin, "MODEL_VERSION", "iris:champion"))
        assert found == {
            f"UP ARTIFACT {file.digest}", f"UP TASK {task}", "DOWN ALIAS iris@champion", "DOWN MODEL_VERSION iris:2",
            "DOWN CALLS iris:1/default", "DOWN CALLS iris:1/eve", "DOWN TASK t-77", "DOWN TASK t-78",
        }  # fmt: skip
        assert told(await links(yard.admin, "TASK", task)) == {"DOWN MODEL_VERSION iris:1"}
        assert told(await links(yard.admin, "TASK", "t-77")) == {"UP MODEL_VERSION iris:1"}
        assert told(await links(yard.admin, "ALIAS", "iris@champion")) == {"UP MODEL_VERSION iris:1"}
        assert told(await links(yard.admin, "CALLS", "iris:1/eve")) == {"UP MODEL_VERSION iris:1"}

        bob = await yard.user("bob")
        assert await links(bob, "MODEL_VERSION", "iris:1") == pb.ListLinksResponse()
        seen = model_pb2.ModelAccess(account="bob", role=model_pb2.MODEL_ROLE_VIEWER)
        await yard.admin.models.UpdateModel(model_pb2.UpdateModelRequest(name="iris", access=[seen]))
        assert told(await links(bob, "MODEL_VERSION", "iris:1")) == {
            "UP ARTIFACT hidden", "UP TASK hidden", "DOWN ALIAS iris@champion", "DOWN MODEL_VERSION iris:2",
            "DOWN CALLS hidden",
        }  # fmt: skip
        assert told(await links(bob, "TASK", task)) == set()


async def test_viewers_may_look_and_requests_without_a_subject_are_refused(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as yard:
        ada = await yard.user("ada")
        [task] = await ada.submit(command())
        viewer = await yard.user("ada", account_pb2.ROLE_VIEWER)
        assert (await links(viewer, "TASK", task)).subject.id == task
        stub = lineage_pb2_grpc.LineageServiceStub(ada.channel)
        for subject in (pb.Thing(), pb.Thing(id="t-1"), pb.Thing(kind=2), pb.Thing(kind=2, id="t" * 501)):
            refused = await refusal(stub.ListLinks(pb.ListLinksRequest(subject=subject)))
            assert (refused.reason, refused.field) == ("LINEAGE_SUBJECT_INVALID", "subject")
        wrong = pb.ListLinksRequest(subject=pb.Thing(kind=2, id=task), direction=9)  # type: ignore[arg-type]
        assert (await refusal(stub.ListLinks(wrong))).reason == "LINK_DIRECTION_UNKNOWN"
        unknown = pb.ListLinksRequest(subject=pb.Thing(kind=99, id=task))  # type: ignore[arg-type]
        assert await stub.ListLinks(unknown) == pb.ListLinksResponse()
