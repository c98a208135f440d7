"""A real yard-store: killed, restarted, out of room, without a writable disk."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from modelyard.artifacts import get_to_file, put_bytes, put_file
from modelyard.errors import YardError
from modelyard.v1 import artifact_pb2 as pb
from tests.support.store_yard import Client, StoreProcess, account_desk, sha256, store_process
from tests.support.wait import wait_until

MIB = 1 << 20
DATA = bytes(range(256)) * 4096 * 3


@pytest.mark.asyncio
async def test_store_killed_in_the_middle_of_an_upload_keeps_what_was_acknowledged_only(
    tmp_path: Path,
) -> None:
    async with account_desk() as desk:
        async with store_process(tmp_path, desk) as first, Client(first.address, "ada") as ada:
            kept = await ada.put(DATA, name="kept", holder="user:keep")
            async with _hanging_upload(ada, first):
                assert await first.stop(signal.SIGKILL) == -signal.SIGKILL
            assert len(_files(first.blobs)) == 2
        async with store_process(tmp_path, desk) as second, Client(second.address, "ada") as ada:
            assert _files(second.blobs) == [kept.digest]
            assert await ada.stat(kept.digest) == await ada.put(DATA)
            assert await ada.get(kept.digest) == DATA
            assert (await ada.put(bytes(4 * MIB))).size_bytes == 4 * MIB


@pytest.mark.asyncio
async def test_store_stopped_in_the_middle_of_an_upload_leaves_nothing_and_exits_well(tmp_path: Path) -> None:
    async with account_desk() as desk, store_process(tmp_path, desk) as store:
        async with Client(store.address, "ada") as ada, _hanging_upload(ada, store):
            assert await store.stop() == 0, store.log.read_text()
        assert _files(store.blobs) == []
        assert "Traceback" not in store.log.read_text()


@pytest.mark.asyncio
async def test_file_that_a_crash_left_without_a_row_is_removed(tmp_path: Path) -> None:
    orphan = tmp_path / "store" / "blobs" / sha256(DATA)[:2] / sha256(DATA)
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(DATA)
    async with account_desk() as desk, store_process(tmp_path, desk):
        await wait_until(lambda: not orphan.exists(), "the orphan is removed")


@pytest.mark.asyncio
async def test_download_goes_on_over_a_restart_of_the_store(tmp_path: Path) -> None:
    data = DATA * 20
    target = tmp_path / "target"
    async with account_desk() as desk:
        async with store_process(tmp_path / "state", desk) as first, Client(first.address, "ada") as ada:
            artifact = await put_bytes(ada.channel, data, name="big")
            download = asyncio.ensure_future(get_to_file(ada.channel, artifact.digest, target))
            await wait_until(lambda: _part_bytes(tmp_path) > 0 or download.done(), "the download has begun")
            await first.stop(signal.SIGKILL)
            port = first.address.rpartition(":")[2]
            async with store_process(tmp_path / "state", desk, "--port", port):
                await download
        assert target.read_bytes() == data


@pytest.mark.asyncio
async def test_upload_that_finds_no_room_is_refused_and_the_store_stays_well(tmp_path: Path) -> None:
    # RLIMIT_FSIZE: the kernel refuses to write further, as a full disk does.
    wrapper = _tool("prlimit", f"--fsize={2 * MIB}")
    async with account_desk() as desk, store_process(tmp_path, desk, wrapper=wrapper) as store:
        await _check_full_then_well(store)
        assert len(_files(store.blobs)) == 1


@pytest.mark.asyncio
async def test_upload_to_a_full_disk_is_refused_and_the_store_stays_well(tmp_path: Path) -> None:
    wrapper = _disk(tmp_path / "store", "size=3m")
    async with account_desk() as desk, store_process(tmp_path, desk, wrapper=wrapper) as store:
        await _check_full_then_well(store)
        inside = Path(f"/proc/{store.process.pid}/root{store.blobs}")
        assert len(_files(inside)) == 1


@pytest.mark.asyncio
async def test_store_on_a_read_only_disk_refuses_to_start_and_says_why(tmp_path: Path) -> None:
    wrapper = _disk(tmp_path / "store", "ro")
    async with account_desk() as desk, store_process(tmp_path, desk, wrapper=wrapper, wait=False) as store:
        assert await asyncio.to_thread(store.process.wait, 60) == 2
        assert f"cannot use the database {tmp_path / 'store'}" in store.log.read_text()
        assert "Traceback" not in store.log.read_text()


@pytest.mark.asyncio
async def test_disk_that_turns_read_only_refuses_uploads_and_still_gives(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    wrapper = _disk(disk, "size=9m")
    async with (
        account_desk() as desk,
        store_process(tmp_path, desk, "--blobs-url", str(disk), wrapper=wrapper) as store,
        Client(store.address, "ada") as ada,
    ):
        digest = (await ada.put(DATA)).digest
        await _remount(store, disk, "ro")
        with pytest.raises(YardError) as refused:
            await put_bytes(ada.channel, bytes(MIB), name="x")
        assert (refused.value.code, refused.value.reason) == ("UNAVAILABLE", "BLOBS_READ_ONLY")
        assert await ada.get(digest) == DATA
        await _remount(store, disk, "rw")
        await put_bytes(ada.channel, bytes(MIB), name="x")


@pytest.mark.asyncio
async def test_collection_runs_by_itself(tmp_path: Path) -> None:
    options = ("--collect-grace-s", "0.3")
    async with (
        account_desk() as desk,
        store_process(tmp_path, desk, *options) as store,
        Client(store.address, "ada") as ada,
    ):
        held = await ada.put(b"held", holder="user:keep")
        await ada.put(b"idle")
        await wait_until(lambda: _files(store.blobs) == [held.digest], "only what is held is left")


@pytest.mark.asyncio
async def test_memory_does_not_grow_with_the_size(tmp_path: Path) -> None:
    import psutil

    source = tmp_path / "source"
    with source.open("wb") as file:
        for number in range(96):
            file.write(number.to_bytes(1, "big") * MIB)
    async with (
        account_desk() as desk,
        store_process(tmp_path / "state", desk) as store,
        Client(store.address, "ada") as ada,
    ):
        await put_bytes(ada.channel, DATA, name="warm")
        memory = psutil.Process(store.process.pid).memory_info
        before = memory().rss
        artifact = await put_file(ada.channel, source, name="big")
        await get_to_file(ada.channel, artifact.digest, tmp_path / "copy")
        assert memory().rss - before < 50 * MIB


async def _check_full_then_well(store: StoreProcess) -> None:
    async with Client(store.address, "ada") as ada:
        for _ in range(2):
            with pytest.raises(YardError) as refused:
                await put_bytes(ada.channel, DATA * 2, name="large")
            assert (refused.value.code, refused.value.reason) == ("RESOURCE_EXHAUSTED", "BLOBS_FULL")
            assert refused.value.next_step
        small = await put_bytes(ada.channel, bytes(MIB), name="small")
        assert await ada.get(small.digest) == bytes(MIB)


@contextlib.asynccontextmanager
async def _hanging_upload(client: Client, store: StoreProcess) -> AsyncIterator[None]:
    """An upload of which some MiB are on the disk and the rest never comes; it has to end with an error."""
    hanging = asyncio.Event()

    async def parts() -> AsyncIterator[pb.PutArtifactRequest]:
        yield pb.PutArtifactRequest(header=pb.PutArtifactHeader(size_bytes=9 * MIB))
        for _ in range(3):
            yield pb.PutArtifactRequest(chunk=bytes(MIB))
        await hanging.wait()

    call = asyncio.ensure_future(client.stub.PutArtifact(parts()))
    incoming = store.blobs / ".incoming"
    await wait_until(
        lambda: sum(p.stat().st_size for p in incoming.iterdir()) >= 2 * MIB, "the upload is on its way"
    )
    yield
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    hanging.set()


def _files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def _part_bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob(".*.part"))


def _tool(*command: str) -> tuple[str, ...]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return command


def _disk(folder: Path, options: str) -> tuple[str, ...]:
    """Runs the store in a mount namespace of its own where `folder` is a small disk."""
    folder.mkdir()
    script = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
    wrapper = _tool("unshare", "-rm", "sh", "-c", script, str(folder))
    if subprocess.run([*wrapper, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this user may not make mount namespaces")
    return wrapper


async def _remount(store: StoreProcess, folder: Path, mode: str) -> None:
    namespace = ("-t", str(store.process.pid), "-U", "--preserve-credentials", "-m")
    command = _tool("nsenter", *namespace, "mount", "-o", f"remount,{mode}", str(folder))
    done = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"cannot remount: {done.stderr.decode()}")
