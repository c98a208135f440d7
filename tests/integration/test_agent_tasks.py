"""Tasks on a real agent: operators and commands, what they get, what they leave, how they end."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from modelyard.v1 import task_pb2
from tests.support.agent_process import bundle, command, operator, running_agent, shell
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio


async def test_operator_gets_its_parameters_and_answers(tmp_path: Path) -> None:  # S0.1 S0.6
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(operator("echo", params_json='{"value": 1}'), ["t-1"])
        scheduler.start_tasks(operator("echo"), ["t-2"], params_json='{"value": [2]}')
        ends = await scheduler.exited("t-1", "t-2")
        assert [end.result.value_json for end in ends] == ["1", "[2]"]
        assert not any(end.HasField("error") for end in ends)


async def test_thousand_calls_end_once_each_in_batches(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        ids = [f"t-{number}" for number in range(1_000)]
        scheduler.start_tasks(operator("echo", params_json='{"value": 1}'), ids, prefill=True)
        await scheduler.exited(*ids)
        told = [event.task_id for event in scheduler.events if event.HasField("exited")]
        assert sorted(told) == sorted(ids)
        assert not list((agent.root / "tasks").iterdir())


async def test_command_gets_directory_variables_and_logs(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        spec = shell(
            "pwd; env; cat $YARD_PARAMS; cat $YARD_INPUT_A_FILE; echo oops >&2; exit 3",
            params_json='{"rate": 1}',
            env={"COLOUR": "blue"},
            inputs={"a-file": task_pb2.Input(data=b"hello")},
        )
        scheduler.start_tasks(
            spec, ["t-1"], params_json='{"depth": 2}', task_token="yard_task_x", array_index=4
        )
        (end,) = await scheduler.exited("t-1")
        assert (end.error.cause, end.error.exit_code) == (task_pb2.TASK_CAUSE_EXIT, 3)
        await scheduler.until(lambda: len(scheduler.log("t-1")) == end.stdout_bytes)
        await scheduler.until(lambda: scheduler.log("t-1", task_pb2.LOG_STREAM_STDERR) == b"oops\n")
        out = scheduler.log("t-1").decode()
        lines = out.splitlines()
        assert lines[0] == str(agent.root / "tasks" / "t-1-1" / "work")
        assert out.endswith('{"rate":1,"depth":2}hello')
        for wanted in (
            "YARD_TASK_ID=t-1",
            "YARD_ATTEMPT=1",
            "YARD_EPOCH=1",
            "YARD_ACCOUNT=ann",
            "YARD_NODE=n1",
            "YARD_ARRAY_INDEX=4",
            "YARD_TASK_TOKEN=yard_task_x",
            "COLOUR=blue",
            "OMP_NUM_THREADS=1",
        ):
            assert wanted in lines
        assert "yard_agent_test" not in out
        await wait_until(lambda: not list((agent.root / "tasks").iterdir()), "the task's directory is gone")


async def test_command_reports_its_progress(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(shell("echo '0.5 half way' >> $YARD_PROGRESS_FILE; sleep 30"), ["t-1"])
        await scheduler.until(lambda: "progress" in scheduler.kinds("t-1"))
        progress = next(event.progress for event in scheduler.events if event.HasField("progress"))
        assert (progress.ratio, progress.message) == (0.5, "half way")
        scheduler.stop_task("t-1", grace_ms=100)
        await scheduler.exited("t-1")


async def test_logs_are_followed_while_the_command_runs(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(shell("echo first; read line < /dev/zero; sleep 60"), ["t-1"])
        await scheduler.until(lambda: scheduler.log("t-1") == b"first\n")
        scheduler.stop_task("t-1", grace_ms=100)
        await scheduler.exited("t-1")


async def test_large_log_arrives_to_the_last_byte(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(shell("head -c 9000000 /dev/zero | tr '\\0' x; echo end"), ["t-1"])
        (end,) = await scheduler.exited("t-1")
        assert end.stdout_bytes == 9_000_004
        await scheduler.until(lambda: len(scheduler.log("t-1")) == 9_000_004)
        assert scheduler.log("t-1").endswith(b"xend\n")


async def test_stop_ends_the_whole_process_group(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(shell("sleep 4242 & trap '' TERM; echo $$; wait; sleep 4242"), ["t-1"])
        await scheduler.until(lambda: scheduler.log("t-1"))
        leader = int(scheduler.log("t-1"))
        scheduler.stop_task("t-1", grace_ms=200)
        (end,) = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_CANCELLED
        assert not Path(f"/proc/{leader}").exists()


async def test_operator_that_ignores_cancellation_is_killed_and_its_worker_replaced(tmp_path: Path) -> None:
    code = "def stuck():\n while True:\n  try:\n   while True: pass\n  except BaseException: pass\n"
    async with running_agent(tmp_path / "y") as (scheduler, _):
        digest = scheduler.store.add(bundle(mine__py=code))
        scheduler.start_tasks(operator("mine:stuck", bundle_digest=digest), ["t-1"])
        await scheduler.until(lambda: "started" in scheduler.kinds("t-1"))
        scheduler.stop_task("t-1", grace_ms=200)
        (end,) = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_CANCELLED
        scheduler.start_tasks(operator("echo", params_json='{"value": 1}'), ["t-2"])
        (end,) = await scheduler.exited("t-2")
        assert end.result.value_json == "1"


async def test_run_timeout_ends_a_task_as_timeout(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        spec = command("sleep", "60")
        spec.timeouts.run_timeout.FromMilliseconds(300)
        scheduler.start_tasks(spec, ["t-1"])
        (end,) = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_TIMEOUT
        assert "run_timeout" in end.error.message


async def test_operator_that_kills_its_process_fails_alone(tmp_path: Path) -> None:
    code = "import os\ndef die():\n    os.kill(os.getpid(), 9)\n"
    async with running_agent(tmp_path / "y") as (scheduler, _):
        digest = scheduler.store.add(bundle(mine__py=code))
        scheduler.start_tasks(operator("mine:die", bundle_digest=digest), ["t-1"])
        scheduler.start_tasks(operator("echo", params_json='{"value": 1}'), ["t-2"])
        died, fine = await scheduler.exited("t-1", "t-2")
        assert (died.error.cause, died.error.signal) == (task_pb2.TASK_CAUSE_SIGNAL, 9)
        assert fine.result.value_json == "1"


async def test_bundle_is_the_working_directory_and_fresh_for_every_attempt(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        digest = scheduler.store.add(
            bundle(run__sh="cat data.txt; echo spoilt > data.txt\n", data__txt="good\n")
        )
        spec = command("sh", "run.sh", bundle_digest=digest)
        for task_id in ("t-1", "t-2"):
            scheduler.start_tasks(spec, [task_id])
            (end,) = await scheduler.exited(task_id)
            assert not end.HasField("error"), end
            await scheduler.until(lambda task_id=task_id: scheduler.log(task_id) == b"good\n")
        assert scheduler.store.fetches == 1


async def test_missing_bundle_is_a_setup_error_with_a_next_step(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(command("true", bundle_digest="0" * 64), ["t-1"])
        (end,) = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_SETUP
        assert "no such artefact" in end.error.message
        assert end.error.next_step


async def test_hostile_bundle_stays_in_its_directory(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("../../evil")
        tar.addfile(member, io.BytesIO())
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.start_tasks(command("true", bundle_digest=scheduler.store.add(buffer.getvalue())), ["t-1"])
        (end,) = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_SETUP
        assert not list(agent.root.rglob("evil"))


async def test_inputs_by_digest_reach_operator_and_command(tmp_path: Path) -> None:
    code = (
        "from modelyard.operator import Input\ndef size(data: Input[bytes]) -> int:\n    return len(data)\n"
    )
    async with running_agent(tmp_path / "y") as (scheduler, _):
        data = scheduler.store.add(b"x" * 100_000)
        inputs = {"data": task_pb2.Input(digest=data)}
        digest = scheduler.store.add(bundle(mine__py=code))
        scheduler.start_tasks(operator("mine:size", bundle_digest=digest, inputs=inputs), ["t-1"])
        scheduler.start_tasks(shell("wc -c < $YARD_INPUTS/data", inputs=inputs), ["t-2"])
        called, ran = await scheduler.exited("t-1", "t-2")
        assert called.result.value_json == "100000", called
        assert not ran.HasField("error")
        await scheduler.until(lambda: scheduler.log("t-2").strip() == b"100000")


async def test_attachment_whose_download_breaks_off_goes_on_where_it_stopped(tmp_path: Path) -> None:  # S0.6
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        data = os.urandom(5 << 20)
        digest = scheduler.store.add(data)
        scheduler.store.breaks_at = [2 << 20, 4 << 20]
        attachments = [task_pb2.Attachment(path="in/big.bin", digest=digest)]
        spec = shell(f"sha256sum in/big.bin | grep -q {digest}", attachments=attachments)
        scheduler.start_tasks(spec, ["t-1", "t-2"])
        ends = await scheduler.exited("t-1", "t-2")
        assert not any(end.HasField("error") for end in ends), ends
        assert scheduler.store.offsets == [0, 2 << 20, 4 << 20]
        assert [path.name for path in (agent.root / "inputs").iterdir()] == [digest]


async def test_attachment_that_comes_damaged_is_a_setup_error_with_a_next_step(
    tmp_path: Path,
) -> None:  # S0.6
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        digest = scheduler.store.add(b"sound")
        scheduler.store.blobs[digest] = b"rotten"
        spec = shell("true", attachments=[task_pb2.Attachment(path="a", digest=digest)])
        scheduler.start_tasks(spec, ["t-1"])
        (end,) = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_SETUP
        assert "came damaged" in end.error.message
        assert "upload it again" in end.error.next_step
        assert not list((agent.root / "inputs").iterdir())


async def test_outputs_are_kept_before_the_end_is_told(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        script = "mkdir -p d/e; echo one > d/a.txt; echo two > d/e/b.txt; echo no > c; ln -s /etc/passwd d/leak.txt"
        scheduler.start_tasks(shell(script, outputs=["d/**/*.txt"]), ["t-1"])
        (end,) = await scheduler.exited("t-1")
        names = {output.name: output for output in end.result.outputs}
        assert set(names) == {"d/a.txt", "d/e/b.txt"}
        assert scheduler.store.blobs[names["d/a.txt"].digest] == b"one\n"
        assert scheduler.store.holders[names["d/a.txt"].digest] == "task:t-1"


async def test_large_value_travels_as_an_artefact(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        digest = scheduler.store.add(bundle(mine__py="def big() -> str:\n    return 'x' * 200000\n"))
        scheduler.start_tasks(operator("mine:big", bundle_digest=digest), ["t-1"])
        (end,) = await scheduler.exited("t-1")
        assert json.loads(scheduler.store.blobs[end.result.value_digest]) == "x" * 200_000


async def test_bad_requirements_are_a_setup_error_in_uvs_words(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        spec = command("true", environment=task_pb2.Environment(requirements="not a requirement !!\n"))
        scheduler.start_tasks(spec, ["t-1"])
        (end,) = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_SETUP
        assert "not a requirement" in end.error.message
        assert end.error.next_step


async def test_environment_is_built_once_and_used_by_command_and_operator(tmp_path: Path) -> None:
    package = tmp_path / "tiny"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "tiny"\nversion = "1"\n'
    )
    (package / "backend.py").write_text(_BACKEND)
    environment = task_pb2.Environment(requirements=f"tiny @ file://{package}\n")
    async with running_agent(tmp_path / "y") as (scheduler, agent):
        scheduler.start_tasks(
            command("python", "-c", "import tiny; print(tiny.x)", environment=environment), ["t-1"]
        )
        scheduler.start_tasks(operator("tiny:answer", environment=environment), ["t-2"])
        ran, called = await scheduler.exited("t-1", "t-2")
        assert not ran.HasField("error"), ran
        assert called.result.value_json == "42", called
        assert len(list((agent.root / "environments").iterdir())) == 1


_BACKEND = """
import os, zipfile
def get_requires_for_build_wheel(config_settings=None): return []
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w") as z:
        z.writestr("tiny.py", "x = 1\\ndef answer() -> int:\\n    return 42\\n")
        z.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny\\nVersion: 1\\n")
        z.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        z.writestr("tiny-1.dist-info/RECORD", "")
    return name
"""


async def test_memory_limit_ends_a_command_as_out_of_memory(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        if scheduler.session.hello.enforcement != "cgroup":
            pytest.skip("cgroups cannot be written here")
        spec = command("python", "-c", "x = bytearray(300_000_000)")
        spec.resources.memory_bytes = 64 << 20
        scheduler.start_tasks(spec, ["t-1"])
        (end,) = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_OUT_OF_MEMORY
        assert end.usage.enforcement == "cgroup"


async def test_memory_limit_ends_an_operator_as_out_of_memory(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y") as (scheduler, _):
        if scheduler.session.hello.enforcement != "cgroup":
            pytest.skip("cgroups cannot be written here")
        digest = scheduler.store.add(
            bundle(mine__py="def eat() -> int:\n    return len(bytearray(300_000_000))\n")
        )
        spec = operator("mine:eat", bundle_digest=digest)
        spec.resources.memory_bytes = 64 << 20
        scheduler.start_tasks(spec, ["t-1"])
        (end,) = await scheduler.exited("t-1")
        assert end.error.cause == task_pb2.TASK_CAUSE_OUT_OF_MEMORY
        await asyncio.sleep(0)
