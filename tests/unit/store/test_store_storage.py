"""Where blobs are kept: a directory and any fsspec URL promise the same; failures are told apart."""

import errno
from pathlib import Path

import pytest

from modelyard.artifacts import get_to_file, put_bytes
from services.chassis.errors import StartRefused
from services.store.blobs.blobs import storage_of
from services.store.blobs.directory import Directory
from services.store.blobs.failures import BlobsFull, BlobsReadOnly, BlobsUnavailable, translate
from services.store.blobs.remote import Remote
from tests.support.store_yard import Client, sha256, store_yard

DATA = bytes(range(256)) * 10_000


@pytest.mark.asyncio
async def test_remote_storage_keeps_gives_heals_and_forgets(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}"
    remote = Remote(url, tmp_path)
    async with store_yard(tmp_path, storage=remote) as yard, Client(yard.address, "ada") as ada:
        digest = (await ada.put(DATA, digest="")).digest
        assert await ada.get(digest, 7) == DATA[7:]
        assert list(remote.digests()) == [digest]
        assert not any((tmp_path / ".incoming").iterdir())
        remote._system.pipe_file(remote._path(digest), DATA[:-3] + b"rot")
        with pytest.raises(Exception, match="damaged"):
            await ada.get(digest)
        assert list(remote.digests()) == []
        await ada.put(DATA)
        await get_to_file(ada.channel, digest, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == DATA
        await ada.delete(digest)
        assert remote._system.find(remote._root) == []


@pytest.mark.asyncio
async def test_remote_orphans_are_removed(tmp_path: Path) -> None:
    remote = Remote(f"memory://{tmp_path.name}", tmp_path)
    async with store_yard(tmp_path, storage=remote) as yard, Client(yard.address, "ada") as ada:
        digest = (await put_bytes(ada.channel, b"mine", name="x")).digest
        remote._system.pipe_file(remote._path(sha256(b"orphan")), b"orphan")
        assert await yard.collector.remove_orphans() == 1
        assert list(remote.digests()) == [digest]


def test_storage_of_chooses_by_the_url(tmp_path: Path) -> None:
    assert isinstance(storage_of("", tmp_path), Directory)
    assert isinstance(storage_of(str(tmp_path), tmp_path), Directory)
    assert isinstance(storage_of(f"file://{tmp_path}", tmp_path), Directory)
    assert isinstance(storage_of("s3://bucket/yard", tmp_path), Remote)


def test_remote_with_an_unknown_scheme_refuses_to_start(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="nonsense://x"):
        Remote("nonsense://x", tmp_path).open()


def test_directory_open_sweeps_interrupted_uploads(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.open()
    left = directory.incoming_path()
    left.write_bytes(b"half")
    directory.open()
    assert not left.exists()


@pytest.mark.parametrize(
    ("number", "leaf"),
    [
        (errno.ENOSPC, BlobsFull),
        (errno.EDQUOT, BlobsFull),
        (errno.EFBIG, BlobsFull),
        (errno.EROFS, BlobsReadOnly),
        (errno.EACCES, BlobsReadOnly),
        (errno.EIO, BlobsUnavailable),
    ],
)
def test_failures_are_told_apart(number: int, leaf: type[Exception]) -> None:
    assert isinstance(translate(OSError(number, "why")), leaf)
