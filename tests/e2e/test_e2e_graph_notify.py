"""What the graph service owes to others arrives, whatever dies: contacts are told of runs, artefacts are referred to,
tasks that nobody needs are cancelled, and a task that nobody knows any more lets nobody wait (S1.6, S0.8)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from modelyard.client.aio import Client
from modelyard.v1 import canvas_pb2, run_pb2, task_pb2
from services.chassis.storage.sqlite import load_queries
from services.scheduler.archive.past import TASK_TABLES
from services.scheduler.model import parse_task_id
from tests.support.graph_documents import bundle, document, node
from tests.support.graph_owed import wait_until_nothing_is_owed
from tests.support.processes import Processes
from tests.support.receiver import Receiver, mailbox, receiver
from tests.support.wait import wait_until, wait_until_sync
from tests.support.yard import Yard, new_yard

pytestmark = pytest.mark.asyncio
ENVIRON = {"YARD_SCHEDULER_NOTIFY_ALLOW": "127.0.0.0/8", "YARD_SCHEDULER_NOTIFY_BACKOFF_S": "0.2"}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: services live longer than one."""


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[Yard, Processes]]:
    with new_yard(is_up=False, agents=1) as yard:
        made = Processes(yard, ENVIRON)
        yield yard, made
        made.stop()


async def cli(yard: Yard, *words: str, code: int = 0) -> Any:
    done = await asyncio.to_thread(yard.cli, *words)
    assert done.code == code, f"{' '.join(words)}: {done.code}\n{done.stdout}{done.stderr}"
    return done


@asynccontextmanager
async def contact(yard: Yard, name: str, *options: str) -> AsyncIterator[Receiver]:
    """A verified webhook, taken away at the end."""
    async with receiver() as hook:
        await cli(yard, "contacts", "add", name, hook.url, *options)
        await cli(yard, "contacts", "test", name)
        yield hook
        await cli(yard, "contacts", "rm", name, "--yes")


def of_runs(hook: Receiver) -> list[dict[str, Any]]:
    return [message.document for message in hook.received if "run" in message.document]


async def project(yard: Yard, client: Client, *functions: str, **fields: object) -> tuple[str, Path]:
    """A chain of these functions of the bundle: its project, and the file where they leave their marks."""
    folder = Path(tempfile.mkdtemp(dir=yard.state))
    digest, marks = await bundle(client), folder / "marks"
    names = [f"n{place}" for place in range(len(functions))]
    nodes = [
        node(name, function, marks, digest, cache="off", **fields)
        for name, function in zip(names, functions, strict=True)
    ]
    made = (await client.projects.create(folder.name)).id
    answer = await client.projects.save(made, document(nodes, list(itertools.pairwise(names))))
    assert not answer.problems, answer.problems
    return made, marks


async def test_success_and_failure_of_runs_are_told_by_webhook_and_mail(
    processes: tuple[Yard, Processes],
) -> None:  # S1.6
    pytest.importorskip("apprise")
    yard, _ = processes
    async with (
        yard.client() as client,
        contact(yard, "team", "--default", "failure") as hook,
        mailbox() as mail,
    ):
        await cli(yard, "contacts", "add", "mail", mail.url)
        await cli(yard, "contacts", "test", "mail")
        good, _ = await project(yard, client, "begin", "add")
        bad, _ = await project(yard, client, "begin", "fails")
        await cli(yard, "graph", "run", good, "--contact", "mail", "--comment", "nightly")
        text = (await mail.wait(2))[1].get_payload(decode=True)
        assert isinstance(text, bytes)
        for line in ("state: succeeded", "n1.result: 1", "nodes: 2 done of 2", "comment: nightly"):
            assert line in text.decode(), text
        argv = ["sh", "-c", r"printf '\211PNG picture' > f"]
        plot = {"id": "plot", "command": {"argv": argv, "outputs": {"loss": "f"}}}
        files = (await client.projects.create("plots")).id
        await client.projects.save(files, document([plot], []))
        await cli(yard, "graph", "run", files, "--contact", "mail")
        parts = [part for part in (await mail.wait(3))[2].walk() if part.get_filename()]
        files_sent = {part.get_filename(): part.get_payload(decode=True) for part in parts}
        assert files_sent == {"plot.loss.png": b"\x89PNG picture"}
        await cli(yard, "graph", "run", good, "--contact", "mail", "--notify", "failure")
        await cli(yard, "graph", "run", bad, "--silent", code=1)
        await cli(yard, "graph", "run", bad, "--comment", "told", code=1)
        said = (await hook.wait(2))[1].document
        assert (said["event"], said["run"]["comment"]) == ("run.failed", "told")
        assert said["run"]["error"]["node"] == "n1"
        assert "this node always fails" in said["run"]["error"]["message"]
        assert said["run"]["counts"] == {"nodes": 2, "done": 1, "cached": 0, "error": 1, "pending": 0}
        assert said["run"]["error"]["next_step"] in said["text"]
        run = said["run"]["id"]
        listed = await asyncio.to_thread(yard.json, "contacts", "deliveries", "--run", run)
        assert [(d["contact"], d["subject"]) for d in listed["deliveries"]] == [("team", run)]
        again = (await client.runs.continue_(run)).run
        await hook.wait(3)
        assert [told["run"]["id"] for told in of_runs(hook)] == [run, again.id]
        assert len(mail.mails) == 3
        await cli(yard, "contacts", "rm", "mail", "--yes")


async def test_contact_that_cannot_be_told_is_refused_when_the_run_is_started(
    processes: tuple[Yard, Processes],
) -> None:  # S1.6
    yard, _ = processes
    async with yard.client() as client, receiver() as hook:
        made, marks = await project(yard, client, "begin")
        before = len((await client.runs.list(made)).runs)
        refused = await cli(yard, "graph", "run", made, "--contact", "nobody", code=3)
        assert "no contact 'nobody'" in refused.stderr and "yard contacts add nobody URL" in refused.stderr
        await cli(yard, "contacts", "add", "new", hook.url)
        refused = await cli(yard, "graph", "run", made, "--contact", "new", code=6)
        assert "yard contacts test new" in refused.stderr
        refused = await cli(yard, "graph", "run", made, "--notify", "failure", code=3)
        assert "default contact" in refused.stderr
        refused = await cli(yard, "graph", "run", made, "--notify", "sometimes", code=7)
        assert "success, failure, both, gates" in refused.stderr
        refused = await cli(yard, "graph", "run", made, "--contact", "new", "--silent", code=7)
        assert "silent" in refused.stderr
        assert len((await client.runs.list(made)).runs) == before and not marks.exists()
        await cli(yard, "contacts", "rm", "new", "--yes")


async def test_continued_run_tells_whom_the_first_one_told(processes: tuple[Yard, Processes]) -> None:  # S1.6
    yard, _ = processes
    async with yard.client() as client, contact(yard, "own") as hook:
        made, _ = await project(yard, client, "begin", "fails")
        first = await client.runs.start(made, contact="own", notify="both")
        assert (first.notification.contact, len(first.notification.on)) == ("own", 2)
        await client.runs.wait(first.id)
        again = (await client.runs.continue_(first.id)).run
        assert again.notification == first.notification
        await hook.wait(3)
        assert [told["run"]["id"] for told in of_runs(hook)] == [first.id, again.id]


async def test_gate_that_waits_is_told_once_with_the_commands_that_decide_it(
    processes: tuple[Yard, Processes],
) -> None:  # S1.6
    yard, made = processes
    text = document([{"id": "ask", "gate": {"message": "Publish?"}}], [])
    async with (
        yard.client() as client, contact(yard, "gates", "--default", "gates") as hook,
        contact(yard, "ends", "--default", "both") as ends,
    ):  # fmt: skip
        number = (await client.projects.create("with a gate")).id
        await client.projects.save(number, text)
        await asyncio.to_thread(wait_until_nothing_is_owed, yard)
        await asyncio.to_thread(made.restart, "graph", "graph.after_errand:kill@1")
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.runs.start(number), 3)
        await revived(made, yard)
        [run] = (await client.runs.list(number)).runs
        assert (run.state, run.gated_count) == (run_pb2.RUN_STATE_RUNNING, 1)
        document_of_gate = (await hook.wait(2))[1].document
        assert document_of_gate["event"] == "run.gate_waiting"
        assert document_of_gate["title"] == f"with a gate ({run.id}) waits: Publish?"
        assert document_of_gate["run"]["gate"] == {
            "node": "ask", "message": "Publish?", "approve": f"yard graph approve {run.id} ask",
            "reject": f"yard graph reject {run.id} ask",
        }  # fmt: skip
        decision = run_pb2.DecideGateRequest(
            run_id=run.id, node_id="ask", decision=canvas_pb2.GATE_DECISION_REJECTED, comment="not now"
        )
        await client.connection.unary(client.runs._stub.DecideGate, decision)
        told = (await ends.wait(2))[1].document
        assert (told["event"], told["run"]["error"]["node"]) == ("run.failed", "ask")
        assert "not now" in told["run"]["error"]["message"]
        assert len(hook.received) == 2


async def revived(made: Processes, yard: Yard, name: str = "graph", *, is_fatal: bool = True) -> None:
    """The service has died as it was asked to, and serves again."""
    await asyncio.to_thread(
        wait_until_sync, lambda: made.ended(name) is not None, f"{name} dies", timeout_s=20
    )
    assert made.ended(name) == -signal.SIGKILL or not is_fatal
    made.start(name)
    await asyncio.to_thread(yard.wait_for, name)


@pytest.mark.parametrize("point", ["graph.before_errand", "graph.after_errand"])
async def test_run_is_told_of_once_though_the_service_dies_at(
    point: str, processes: tuple[Yard, Processes]
) -> None:  # S1.6
    yard, made = processes
    async with yard.client() as client, contact(yard, "hook") as hook:
        number, _ = await project(yard, client, "begin")
        await asyncio.to_thread(wait_until_nothing_is_owed, yard)
        await asyncio.to_thread(made.restart, "graph", f"{point}:kill@1")
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.runs.start(number, contact="hook"), 3)
        await revived(made, yard)
        [run] = (await client.runs.list(number)).runs
        await hook.wait(2)
        # Another run is told of after it: whatever was to come of the first has come.
        other = await client.runs.start(number, contact="hook")
        await hook.wait(3)
        assert [told["run"]["id"] for told in of_runs(hook)] == [run.id, other.id]
        assert of_runs(hook)[0]["run"]["state"] == "succeeded"


async def test_run_that_ends_while_the_scheduler_is_away_is_told_of_later(
    processes: tuple[Yard, Processes],
) -> None:  # S1.6
    yard, made = processes
    async with yard.client() as client, contact(yard, "hook") as hook:
        number, marks = await project(yard, client, "begin", params={"sleep_s": 30})
        run = await client.runs.start(number, contact="hook")
        await wait_until(marks.exists, "it runs", timeout_s=20)
        await asyncio.to_thread(made.end, "scheduler")
        await client.runs.cancel(run.id, "enough")
        assert (await client.runs.get(run.id)).state == run_pb2.RUN_STATE_CANCELLED
        made.kill("graph")
        made.start("graph")
        made.start("scheduler")
        await asyncio.to_thread(yard.wait_for, "scheduler", "graph")
        await hook.wait(2)
        assert [(told["event"], told["run"]["id"]) for told in of_runs(hook)] == [("run.cancelled", run.id)]

        async def cancelled() -> list[str] | None:
            wanted = task_pb2.TaskFilter(labels={"run": run.id})
            tasks = (await client.tasks.list(wanted)).tasks
            return [task.id for task in tasks if task.state == task_pb2.TASK_STATE_CANCELLED]

        found = await wait_until(
            cancelled, "its task is cancelled though nobody heard of it then", timeout_s=20
        )
        assert found and len(found) == 1


async def test_artefacts_are_referred_to_though_the_service_dies_before_it_says_so(
    processes: tuple[Yard, Processes],
) -> None:
    yard, made = processes
    async with yard.client() as client:
        number, _ = await project(yard, client, "large", record=True)
        await asyncio.to_thread(wait_until_nothing_is_owed, yard)
        await asyncio.to_thread(made.restart, "graph", "graph.before_errand:kill@1")
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.runs.start(number), 3)
        await revived(made, yard)
        [run] = (await client.runs.list(number)).runs
        run = await client.runs.wait(run.id)
        digest = run.results[0].outputs[0].digest
        assert digest

        def is_held() -> bool:
            with contextlib.closing(sqlite3.connect(yard.state / "store" / "store.db")) as connection:
                wanted = "SELECT 1 FROM reference WHERE holder = ? AND digest = ?"
                return bool(connection.execute(wanted, (f"run:{run.id}", digest)).fetchone())

        await asyncio.to_thread(wait_until_sync, is_held, "the run refers to its result", timeout_s=20)


async def test_run_whose_task_nobody_knows_any_more_ends_and_says_how_to_go_on(
    processes: tuple[Yard, Processes],
) -> None:
    yard, made = processes
    async with yard.client() as client:
        number, marks = await project(yard, client, "begin", "add", params={"sleep_s": 1.5})
        run = await client.runs.start(number)
        await wait_until(marks.exists, "it runs", timeout_s=20)

        async def is_known() -> bool:
            return bool((await client.runs.nodes(run.id))[0].task)

        await wait_until(is_known, "the graph service knows the task's number", timeout_s=20)
        [first, _] = await client.runs.nodes(run.id)
        made.kill("graph")
        ended = await asyncio.wait_for(client.outcome(first.task), 30)
        assert ended.state == task_pb2.TASK_STATE_SUCCEEDED
        await asyncio.to_thread(made.end, "scheduler")
        forget(yard, first.task)
        made.start("scheduler")
        await asyncio.to_thread(yard.wait_for, "scheduler")
        made.start("graph")
        await asyncio.to_thread(yard.wait_for, "graph")
        found = await asyncio.wait_for(client.runs.wait(run.id), 30)
        assert found.state == run_pb2.RUN_STATE_FAILED
        assert first.task in found.error.message
        assert found.error.next_step == f"yard graph continue {run.id}"
        again = (await client.runs.continue_(run.id)).run
        again = await asyncio.wait_for(client.runs.wait(again.id), 30)
        assert again.state == run_pb2.RUN_STATE_SUCCEEDED
        assert json.loads(again.results[0].outputs[0].value_json) == 1


def forget(yard: Yard, task_id: str) -> None:
    """As the scheduler's retention does when a task's time is over."""
    sql = load_queries("services.scheduler")
    with contextlib.closing(sqlite3.connect(yard.state / "scheduler" / "scheduler.db")) as connection:
        for table in (*TASK_TABLES, "task"):
            connection.execute(sql[f"delete_{table}"], (parse_task_id(task_id),))
        connection.commit()
