"""The power fails: whatever was not synced is gone, whatever was acknowledged is there. Promises 1, 2.

The yard lies on a small ext4 file system of its own, which is shut down as EXT4_IOC_SHUTDOWN does it: no page of its
cache reaches the disk any more. A file that was not synced bears witness that this is so.
POWER_ROUNDS and POWER_SEED make more and other runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from modelyard.client.aio import Client
from modelyard.client.outcomes import ENDED
from modelyard.client.specs import command_spec
from modelyard.errors import YardError
from modelyard.v1 import task_pb2
from tests.support.wait import wait_until, wait_until_sync
from tests.support.yard import Yard, new_yard

ROUNDS = int(os.environ.get("POWER_ROUNDS", "3"))
SEED = int(os.environ.get("POWER_SEED", "5"))
SMALL_DISK = {"YARD_SCHEDULER_LOW_DISK_BYTES": "1000000", "YARD_STORE_FREE_SPACE_FLOOR_BYTES": "1000000"}
_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSHING = 2

# Where the tools of administrators are is not on everybody's path.
MKFS = shutil.which("mkfs.ext4", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class Disk:
    """A file system in a file, that can lose its power."""

    def __init__(self, place: Path) -> None:
        self._image, self.root = place / "disk.img", place / "disk"
        self.root.mkdir()
        with self._image.open("wb") as file:
            file.truncate(160 << 20)
        subprocess.run([MKFS or "mkfs.ext4", "-q", self._image], check=True)

    def mount(self) -> None:
        done = subprocess.run(
            ["mount", "-o", "loop", self._image, self.root], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("file systems cannot be mounted here")

    def unmount(self) -> None:
        """Once the last of those that were killed has let go of it, in whatever namespace: while one has not, another
        mount gives the same file system again, with the pages that the disk never saw."""
        wait_until_sync(self._is_unmounted, "nobody uses the file system any more")
        wait_until_sync(self._is_let_go, "no namespace holds the file system any more")

    def _is_unmounted(self) -> bool:
        return subprocess.run(["umount", self.root], capture_output=True, check=False).returncode == 0

    def _is_let_go(self) -> bool:
        held = set()
        for file in Path("/sys/block").glob("loop*/loop/backing_file"):
            with contextlib.suppress(OSError):  # It is let go of at this moment.
                held.add(file.read_text().strip())
        return str(self._image) not in held

    def cut_power(self) -> None:
        """From now on nothing more is written; every page that is not on the disk is lost."""
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSHING))
        finally:
            os.close(descriptor)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() or MKFS is None:
        pytest.skip("needs root and mkfs.ext4")
    made = Disk(tmp_path)
    made.mount()
    yield made
    if made.root.is_mount():
        made.unmount()


@dataclass
class Acknowledged:
    """What clients were told before the power failed."""

    tasks: list[str] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)


async def load(client: Client, told: Acknowledged, dice: random.Random) -> None:
    """Works until something is refused; an answer that came is written down, nothing else is."""
    with contextlib.suppress(YardError, TimeoutError):
        while True:
            specs = [command_spec(["true"], {"cpu": 0.1})] * dice.randrange(1, 6)
            ids = await client.tasks.submit(*specs)
            told.tasks += ids
            held = await client.tasks.submit(command_spec(["true"], {"hold": True}))
            told.tasks += held
            await client.tasks.cancel(*held)
            told.cancelled += held
            for outcome in await asyncio.gather(*(client.outcome(task_id) for task_id in ids)):
                told.outcomes[outcome.task_id] = outcome.state
            data = dice.randbytes(dice.randrange(1, 30_000))
            told.artifacts[(await client.artifacts.put(data)).digest] = data


@pytest.mark.asyncio
@pytest.mark.timeout(120 + 40 * ROUNDS)
async def test_everything_acknowledged_is_there_after_the_power_failed(disk: Disk) -> None:
    dice = random.Random(SEED)
    told = Acknowledged()
    with new_yard(is_up=False, agents=1, environ=SMALL_DISK) as yard:
        real, yard.state = yard.state, disk.root / "yard"
        yard.state.mkdir()
        try:
            for number in range(ROUNDS):
                await asyncio.to_thread(yard.start)
                await recovered(yard, told)
                await fail_under_load(yard, disk, told, dice, disk.root / f"witness-{number}")
            await asyncio.to_thread(yard.start)
            await recovered(yard, told)
        finally:
            yard.down()
            yard.state = real
    assert len(told.outcomes) >= 10 * ROUNDS
    assert len(told.artifacts) >= 2 * ROUNDS


async def fail_under_load(
    yard: Yard, disk: Disk, told: Acknowledged, dice: random.Random, witness: Path
) -> None:
    """Three clients work; at some moment the power fails, and every process with it. `witness` is a new file: one that
    is written over is on its way to the disk when it is closed (ext4's auto_da_alloc)."""
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(yard.client(patience_s=1.0)) for _ in range(3)]
        before = len(told.outcomes)
        loads = [
            asyncio.ensure_future(load(client, told, random.Random(dice.random()))) for client in clients
        ]
        await wait_until(
            lambda: len(told.outcomes) > before + 20, "work is done", timeout_s=30, state=yard.logs
        )
        await asyncio.sleep(dice.uniform(0, 1.0))
        with witness.open("x") as file:
            file.write("this was never synced")
        disk.cut_power()
        yard.end_all()
        for one in loads:
            one.cancel()
        for ended in await asyncio.gather(*loads, return_exceptions=True):
            assert ended is None or isinstance(ended, asyncio.CancelledError), ended
    disk.unmount()
    disk.mount()
    assert not witness.exists() or not witness.read_text(), "the power did not really fail"


async def recovered(yard: Yard, told: Acknowledged) -> None:
    """All of it is there, as it was told; what had not ended ends."""
    async with yard.client() as client:
        for task_id in told.tasks:
            if (await client.tasks.get(task_id)).state == task_pb2.TASK_STATE_HELD:
                # Its cancellation was not acknowledged, so it may be missing; else it must not be.
                assert task_id not in told.cancelled
                await client.tasks.cancel(task_id)
            task = await client.tasks.wait(task_id, 30)
            assert task.state in ENDED
            assert task.state == told.outcomes.get(task_id, task.state), task_id
            assert (
                len([change for change in (await client.tasks.get(task_id)).history if change.state in ENDED])
                == 1
            )
        for task_id in told.cancelled:
            assert (await client.tasks.get(task_id)).error.cause, task_id
        for digest, data in told.artifacts.items():
            assert await client.artifacts.read(digest) == data
