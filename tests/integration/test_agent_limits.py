"""Limits and devices end to end: address spaces where there are no cgroups, the devices that a task was given."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from modelyard.v1 import task_pb2
from tests.support.agent_process import operator, running_agent, shell

pytestmark = pytest.mark.asyncio

MIB = 1 << 20


def bundle(name: str, text: str) -> bytes:
    """A tar.gz of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


async def test_without_cgroups_memory_is_an_address_space_limit(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y", "--enforcement", "rlimit") as (scheduler, _):
        assert scheduler.session.hello.enforcement == "rlimit"
        asked = task_pb2.Resources(memory_bytes=256 * MIB)
        scheduler.start_tasks(shell("sleep 0.1; ulimit -v", resources=asked), ["t-1"])
        greedy = shell("sleep 0.1; exec python3 -c 'bytearray(1 << 30)'", resources=asked)
        scheduler.start_tasks(greedy, ["t-2"])
        ends = await scheduler.exited("t-1", "t-2")
        await scheduler.until(lambda: scheduler.log("t-1") == f"{256 * 1024}\n".encode())
        assert ends[0].usage.enforcement == "rlimit"
        assert ends[1].error.exit_code == 1
        await scheduler.until(
            lambda: b"MemoryError" in scheduler.log("t-2", task_pb2.LOG_STREAM_STDERR), "the reason"
        )


async def test_limit_of_one_call_is_not_that_of_the_next_in_its_worker(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y", "--enforcement", "rlimit", "--cpu", "1") as (scheduler, _):
        digest = scheduler.store.add(
            bundle("mine.py", "def take(size: int) -> int: return len(bytearray(size))")
        )
        large = {"params_json": f'{{"size": {300 * MIB}}}', "bundle_digest": digest}
        asked = task_pb2.Resources(memory_bytes=256 * MIB)
        scheduler.start_tasks(operator("mine:take", resources=asked, **large), ["t-1"])
        scheduler.start_tasks(operator("mine:take", **large), ["t-2"])
        ends = await scheduler.exited("t-1", "t-2")
        assert "MemoryError" in ends[0].error.message
        assert not ends[1].HasField("error")


async def test_devices_of_a_task_are_the_only_ones_it_sees(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y", "--gpu", "0,1") as (scheduler, _):
        assert list(scheduler.session.hello.capacity.gpu_devices) == ["0", "1"]
        one, half = task_pb2.Resources(cpu=1, gpu=1), task_pb2.Resources(cpu=1, gpu=0.5)
        seen = operator("os:getenv", params_json='{"key": "CUDA_VISIBLE_DEVICES"}', resources=one)
        scheduler.start_tasks(seen, ["t-1"], gpu_devices=["1"])
        scheduler.start_tasks(
            shell("echo $CUDA_VISIBLE_DEVICES", resources=half), ["t-2"], gpu_devices=["0:0.5"]
        )
        plain = operator("os:getenv", params_json='{"key": "CUDA_VISIBLE_DEVICES"}')
        scheduler.start_tasks(plain, ["t-3"])
        scheduler.start_tasks(shell('echo "<$CUDA_VISIBLE_DEVICES>"'), ["t-4"])
        ends = await scheduler.exited("t-1", "t-2", "t-3", "t-4")
        assert [ends[0].result.value_json, ends[2].result.value_json] == ['"1"', '""']
        await scheduler.until(lambda: scheduler.log("t-2") == b"0\n")
        await scheduler.until(lambda: scheduler.log("t-4") == b"<>\n")


async def test_devices_are_offered_once(tmp_path: Path) -> None:
    async with running_agent(tmp_path / "y", "--gpu", "0,1", "--cpu", "8") as (scheduler, _):
        go = tmp_path / "go"
        wait = shell(f"while [ ! -e {go} ]; do sleep 0.05; done", resources=task_pb2.Resources(cpu=1, gpu=1))
        scheduler.start_tasks(wait, ["t-1"], gpu_devices=["0"])
        scheduler.start_tasks(wait, ["t-2"], gpu_devices=["1"])
        scheduler.start_tasks(wait, ["t-3"], gpu_devices=["0"])
        await scheduler.until(lambda: scheduler.kinds("t-1") and scheduler.kinds("t-2"))
        assert scheduler.kinds("t-3") == []
        go.touch()
        await scheduler.exited("t-1", "t-2", "t-3")
