"""Transfers that are left: what a thread holds for them is put away, however often whoever waits is cancelled."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from services.store.blobs.blobs import Blobs
from services.store.blobs.directory import Directory
from services.store.blobs.in_order import InOrder
from services.store.blobs.intake import BLOCK_BYTES, Intake
from tests.support.store_yard import sha256

DATA = bytes(1000)


@pytest.mark.asyncio
async def test_steps_are_taken_in_their_order_also_after_one_that_failed() -> None:
    taken: list[int] = []
    with ThreadPoolExecutor(4) as threads:
        steps = InOrder(threads)

        def fail() -> None:
            raise OSError("the disk is full")

        failed = steps.start(fail)
        rest = [steps.start(lambda number=number: taken.append(number)) for number in range(50)]  # type: ignore[misc]
        with pytest.raises(OSError, match="the disk is full"):
            await failed
        await asyncio.gather(*rest)
    assert taken == list(range(50))


@pytest.mark.asyncio
async def test_download_cancelled_twice_closes_its_file(tmp_path: Path) -> None:
    # A client that goes away leaves nothing open
    storage = _Waiting(tmp_path)
    blobs = Blobs(storage)
    await blobs.open()
    digest = await _kept(blobs)
    reading = asyncio.create_task(_read(blobs, digest))
    await asyncio.to_thread(storage.is_asked.wait)
    await _cancel_twice(reading)
    assert not storage.files
    storage.gate.set()
    await asyncio.to_thread(blobs.close)
    assert [file.closed for file in storage.files] == [True]


@pytest.mark.asyncio
async def test_upload_cancelled_twice_leaves_no_file(tmp_path: Path) -> None:
    # A client that goes away leaves nothing behind
    gate, path = threading.Event(), tmp_path / "upload.part"
    with ThreadPoolExecutor(2) as threads:
        intake = Intake(threads, path)
        await intake.write(bytes(BLOCK_BYTES))
        await asyncio.to_thread(_until_there, path)
        for _ in range(2):
            threads.submit(gate.wait)
        await intake.write(bytes(BLOCK_BYTES))
        await _cancel_twice(asyncio.create_task(intake.discard()))
        assert path.exists()
        gate.set()
    assert not path.exists()
    assert str(path) not in _open_files()


async def _cancel_twice(task: "asyncio.Task[Any]") -> None:
    """Once while it does its work and once while it tidies up."""
    for _ in range(2):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def _read(blobs: Blobs, digest: str) -> None:
    async with aclosing(blobs.read(digest, 0, 10, None)) as blocks:
        async for _ in blocks:
            pass


async def _kept(blobs: Blobs) -> str:
    intake = blobs.intake(keep=True)
    await intake.write(DATA)
    digest = await intake.seal()
    await blobs.publish(intake, digest)
    await intake.discard()
    assert digest == sha256(DATA)
    return digest


def _until_there(path: Path) -> None:
    while not path.exists():
        threading.Event().wait(0.001)


def _open_files() -> set[str]:
    return {
        str(link.readlink()).removesuffix(" (deleted)")
        for link in Path("/proc/self/fd").iterdir()
        if link.is_symlink()
    }


class _Waiting(Directory):
    """Opens a blob when it is allowed to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_asked, self.gate = threading.Event(), threading.Event()
        self.files: list[BinaryIO] = []

    def read(self, digest: str) -> BinaryIO:
        self.is_asked.set()
        self.gate.wait()
        self.files.append(super().read(digest))
        return self.files[-1]
