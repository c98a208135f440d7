"""The commands as processes against a fake yard: output, exit codes, errors."""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.fake_services import TOKEN, FakeServer
from tests.support.fake_yard_fixture import fake
from tests.support.wait import wait_until
from tests.support.yard_process import Result, finish, run, start

__all__ = ["fake"]

Yard = Callable[..., Awaitable[Result]]


@pytest.fixture
def yard(fake: FakeServer, tmp_path: Path) -> Yard:
    async def call(*words: str, stdin: str = "", **extra: str) -> Result:
        return await run(*words, state=tmp_path, extra={**of(fake), **extra}, stdin=stdin, cwd=tmp_path)

    return call


def of(fake: FakeServer) -> dict[str, str]:
    return {
        "YARD_ENDPOINT": fake.address,
        "YARD_STORE": fake.address,
        "YARD_GRAPH": fake.address,
        "YARD_TOKEN": TOKEN,
    }


@pytest.mark.asyncio
async def test_call_prints_the_result_alone_on_stdout(yard: Yard, tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"a": [1]}')
    assert await yard("call", "echo", "--param", "value=[1, 2]") == Result(0, "[1,2]\n", "")
    assert await yard("call", "echo", "--param", "value=plain") == Result(0, '"plain"\n', "")
    assert await yard("call", "echo", "--param", "value=@v.json") == Result(0, '{"a":[1]}\n', "")
    (tmp_path / "data.bin").write_bytes(b"x" * 70_000)
    assert (await yard("call", "size", "--input", "data=@data.bin")).stdout == "70000\n"


@pytest.mark.asyncio
async def test_call_that_fails_shows_the_operators_traceback_and_exit_code_1(yard: Yard) -> None:
    result = await yard("call", "boom")
    assert (result.code, result.stdout) == (1, "")
    assert "ValueError: boom" in result.stderr
    assert "next: yard tasks logs t-1" in result.stderr
    assert "modelyard/client" not in result.stderr


@pytest.mark.asyncio
async def test_run_separates_the_streams_and_ends_with_the_commands_code(yard: Yard) -> None:
    result = await yard("run", "--", "out", "1\n", "err", "2\n", "out", "3", "exit", "7")
    assert result == Result(7, "1\n3", "2\n")
    assert (await yard("run", "--", "signal", "9")).code == 137
    assert (await yard("run", "out", "--flag")).stdout == "--flag"


@pytest.mark.asyncio
async def test_run_ships_a_directory_and_downloads_what_was_kept(
    yard: Yard, fake: FakeServer, tmp_path: Path
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.txt").write_text("a")
    words = ("--dir", "code", "--keep", "*.txt", "--cpu", "2", "--memory", "1Gi", "--name", "n")
    result = await yard("run", *words, "--", "keep", "model")
    assert result.code == 0
    assert "kept model.txt" in result.stderr
    spec = fake.yard.tasks["t-1"].spec
    assert (spec.resources.cpu, spec.resources.memory_bytes, spec.name) == (2, 1 << 30, "n")
    assert spec.bundle_digest in fake.yard.artifacts
    await yard("run", "--download", "here", "--", "keep", "model")
    assert (tmp_path / "here" / "model.txt").read_text() == "model"


@pytest.mark.asyncio
async def test_run_detached_prints_the_id_and_the_same_key_makes_one_task(yard: Yard) -> None:
    first = await yard("run", "--detach", "--idempotency-key", "k", "--", "out", "1")
    again = await yard("run", "--detach", "--idempotency-key", "k", "--", "out", "1")
    assert (first.stdout, again.stdout) == ("t-1\n", "t-1\n")
    assert "next: yard tasks logs -f t-1" in first.stderr


@pytest.mark.asyncio
async def test_interrupted_run_detaches_and_says_how_to_cancel(fake: FakeServer, tmp_path: Path) -> None:
    process = await start("run", "--", "sleep", state=tmp_path, extra=of(fake))
    await wait_until(lambda: "t-1" in fake.yard.tasks and fake.yard.sessions, "the task and a follower")
    process.send_signal(signal.SIGINT)
    result = await finish(process)
    assert result.code == 130
    assert "yard tasks cancel t-1" in result.stderr
    assert not fake.yard.tasks["t-1"].end_time.seconds


@pytest.mark.asyncio
async def test_run_over_a_lost_connection_ends_with_the_outcome(fake: FakeServer, tmp_path: Path) -> None:
    process = await start("run", "--", "sleep", state=tmp_path, extra=of(fake))
    await wait_until(lambda: "t-1" in fake.yard.tasks and fake.yard.sessions, "the task and a follower")
    address = fake.address
    await fake.stop()
    await fake.start(address)
    await fake.yard.finish("t-1")
    assert (await finish(process)).code == 0


@pytest.mark.asyncio
async def test_lists_come_in_every_format(yard: Yard) -> None:
    await yard("call", "echo")
    table = await yard("tasks", "ls")
    assert table.stdout.splitlines()[0].split() == ["ID", "STATE", "NODE", "AGE", "RAN", "WORK", "REASON"]
    document = json.loads((await yard("tasks", "ls", "-o", "json")).stdout)
    assert document["tasks"][0]["state"] == "TASK_STATE_SUCCEEDED"
    lines = (await yard("tasks", "ls", "-o", "jsonl")).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["t-1"]
    assert (await yard("tasks", "ls", "-o", "name")).stdout == "t-1\n"
    assert "id: t-1" in (await yard("tasks", "ls", YARD_OUTPUT="yaml")).stdout
    assert (await yard("tasks", "ls", "-o", "xml")).code == 2


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("words", "extra", "code", "said"),
    [
        (("tasks", "get", "t-99"), {}, 3, "there is no task t-99"),
        (("nodes", "ls"), {"YARD_TOKEN": "wrong"}, 4, "next: yard config view"),
        (("nodes", "ls"), {"YARD_ENDPOINT": "127.0.0.1:1"}, 5, "next: yard up"),
        (("run", "--", "out", "1"), {"YARD_ENDPOINT": "127.0.0.1:1"}, 5, "next: yard up"),
        (("accounts", "add", "admin"), {}, 6, "exists already"),
        (("run", "--priority", "2000", "--", "x"), {}, 7, "field: specs[0].priority"),
        (("run", "--memory", "lots", "--", "x"), {}, 7, "512Mi"),
        (("tasks", "wait", "t-1", "--timeout", "0.1s"), {}, 9, "next: yard tasks explain t-1"),
        (("accounts", "rm", "bob"), {}, 2, "--yes"),
        (("nodes", "lss"), {}, 2, "Did you mean 'ls'"),
        (("call", "echo", "--param", "value"), {}, 2, "key=value"),
        (("nodes", "occupancy", "--window", "x"), {}, 2, "not a whole number"),
    ],
)
async def test_error_has_its_exit_code_and_the_next_command(
    yard: Yard, words: tuple[str, ...], extra: dict[str, str], code: int, said: str
) -> None:
    if code == 9:
        assert (await yard("run", "--detach", "--hold", "--", "out", "1")).code == 0
    result = await yard(*words, **extra)
    assert (result.code, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.asyncio
async def test_error_under_json_output_is_json_on_stderr(yard: Yard) -> None:
    result = await yard("tasks", "get", "t-99", "-o", "json")
    error = json.loads(result.stderr)["error"]
    assert (error["reason"], error["exitCode"]) == ("TASK_NOT_FOUND", 3)


@pytest.mark.asyncio
async def test_other_groups_answer(yard: Yard, tmp_path: Path) -> None:
    assert "50%" in (await yard("nodes", "occupancy")).stdout
    assert (await yard("nodes", "token")).stdout == "yard agent join yard_join_x@127.0.0.1:7070\n"
    assert "cordoned" in (await yard("nodes", "cordon", "node-2")).stdout
    assert "echo" in (await yard("operators", "ls")).stdout
    assert (await yard("tokens", "add", "--account", "bob")).stdout == "yard_user_secret\n"
    (tmp_path / "f.txt").write_text("hello")
    digest = (await yard("artifacts", "put", "f.txt")).stdout.strip()
    assert (await yard("artifacts", "get", digest)).stdout == "hello"
    assert (await yard("artifacts", "get", digest, "f.txt")).code == 6
    assert (await yard("tasks", "explain", "t-1")).code == 3


@pytest.mark.asyncio
async def test_api_calls_any_method_by_reflection(yard: Yard) -> None:
    await yard("call", "echo")
    assert "TaskService/WatchTasks (stream)" in (await yard("api")).stdout
    answer = await yard("api", "TaskService/GetTask", "-", stdin='{"taskId": "t-1"}')
    assert json.loads(answer.stdout)["task"]["id"] == "t-1"
    streamed = await yard("api", "TaskService/StreamLogs", '{"taskId": "t-1"}')
    assert (streamed.code, streamed.stdout) == (0, "")
    assert (await yard("api", "TaskService/GetTask", '{"nope": 1}')).code == 2
    assert (await yard("api", "TaskService/Nope")).code == 3
    assert (await yard("api", "TaskService/GetTask", '{"taskId": "t-9"}')).code == 3
    assert (await yard("api", "TaskService/Session")).code == 2


@pytest.mark.asyncio
async def test_config_view_names_the_origin_and_hides_the_token(yard: Yard, fake: FakeServer) -> None:
    document = json.loads((await yard("config", "view", "-o", "json")).stdout)
    assert document["endpoint"] == {"value": fake.address, "origin": "YARD_ENDPOINT"}
    assert document["token"] == {"value": "***", "origin": "YARD_TOKEN"}
    flagged = await yard("config", "view", "--endpoint", "h:1", "-o", "json")
    assert json.loads(flagged.stdout)["endpoint"] == {"value": "h:1", "origin": "--endpoint"}


@pytest.mark.asyncio
async def test_completion_offers_commands_and_ids(yard: Yard) -> None:
    await yard("call", "echo")
    script = (await yard("completion", "bash")).stdout
    assert "_YARD_COMPLETE" in script
    offered = await yard(_YARD_COMPLETE="complete_bash", COMP_WORDS="yard ta", COMP_CWORD="1")
    assert offered.stdout.split() == ["tasks"]
    offered = await yard(_YARD_COMPLETE="complete_bash", COMP_WORDS="yard tasks get t", COMP_CWORD="3")
    assert offered.stdout.split() == ["t-1"]
    lost = {"_YARD_COMPLETE": "complete_bash", "COMP_CWORD": "3", "YARD_ENDPOINT": "127.0.0.1:1"}
    offered = await yard(COMP_WORDS="yard nodes get n", **lost)
    assert (offered.stdout.strip(), offered.stderr) == ("", "")


@pytest.mark.asyncio
async def test_doctor_finds_no_failure_here(yard: Yard) -> None:
    result = await yard("doctor", "-o", "json")
    findings = json.loads(result.stdout)
    assert result.code == 0
    assert {"python", "dependencies", "disk", "yard", "nodes"} <= {
        finding["check"] for finding in findings
    } | {"nodes"}
    assert "failure" not in {finding["status"] for finding in findings}


@pytest.mark.asyncio
async def test_output_without_a_terminal_has_no_colour(yard: Yard) -> None:
    result = await yard("tasks", "get", "t-99")
    assert "\x1b" not in result.stderr
