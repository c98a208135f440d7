"""Files of an agent on the store's own machine: copied where they lie, and nothing else of this machine ever read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from modelyard.errors import from_rpc_error
from modelyard.v1 import artifact_pb2 as pb
from services.store.model import Limits
from tests.support.store_yard import Client, sha256, store_yard

DATA = bytes(range(256)) * 10_000


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a task of node n1, whose agent's token the tests have, has left."""
    path = tmp_path / "agents" / "n1" / "tasks" / "t-1-1" / "work" / "out.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    (tmp_path / "agents" / "n1" / "credentials").mkdir()
    (tmp_path / "agents" / "n1" / "credentials" / "token").write_bytes(DATA)
    return path


def header(file: Path, path: str = "t-1-1/work/out.bin", **fields: Any) -> pb.PutArtifactHeader:
    found = file.stat()
    local = pb.LocalFile(path=path, device=found.st_dev, inode=found.st_ino)
    said = {"size_bytes": found.st_size, "account": "ada", "holder": "task:t-1", "local_file": local}
    return pb.PutArtifactHeader(**{**said, **fields})


@pytest.mark.asyncio
async def test_file_of_the_agent_is_copied_by_the_store(tmp_path: Path, left: Path) -> None:  # S1.5
    async with store_yard(tmp_path) as yard, Client(yard.address, "agent") as agent:
        artifact = await agent.put_parts(header(left), [])
        assert (artifact.digest, artifact.size_bytes) == (sha256(DATA), len(DATA))
        assert yard.blob_path(artifact.digest).stat().st_ino != left.stat().st_ino
        left.write_bytes(b"changed later")
        assert await agent.get(artifact.digest, account="ada") == DATA


def outside(left: Path) -> Path:
    return left.parents[3] / "credentials" / "token"


def link_to_file(left: Path) -> None:
    (left.parent / "link").symlink_to(outside(left))


def link_to_folder(left: Path) -> None:
    (left.parent / "folder").symlink_to(outside(left).parent)


def pipe(left: Path) -> None:
    os.mkfifo(left.parent / "pipe")


Prepare = Callable[[Path], None]
TRICKS: list[tuple[str, Prepare | None]] = [
    ("../credentials/token", None),
    ("t-1-1/../../credentials/token", None),
    ("/etc/passwd", None),
    ("", None),
    ("t-1-1//work/out.bin", None),
    ("t-1-1/work", None),
    ("t-1-1/work/none", None),
    ("t-1-1/work/out.bin\0", None),
    ("a/" * 200 + "b", None),
    ("x" * 10_000, None),
    ("t-1-1/work/link", link_to_file),
    ("t-1-1/work/folder/token", link_to_folder),
    ("t-1-1/work/pipe", pipe),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("path", "prepare"), TRICKS)
async def test_path_that_leads_elsewhere_is_not_read(
    tmp_path: Path, left: Path, path: str, prepare: Prepare | None
) -> None:
    if prepare is not None:
        prepare(left)
    async with store_yard(tmp_path) as yard, Client(yard.address, "agent") as agent:
        # As if it knew what stat says of the file that it is after.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.put_parts(header(outside(left), path), [])
        error = from_rpc_error(caught.value)
        assert (error.code, error.reason, error.field) == (
            "FAILED_PRECONDITION", "FILE_NOT_LOCAL", "header.local_file",
        )  # fmt: skip
        assert error.next_step == "Send its bytes in chunks."
        assert yard.files() == []


@pytest.mark.asyncio
async def test_file_of_the_same_name_that_is_another_is_not_read(tmp_path: Path, left: Path) -> None:
    said = header(left)
    left.unlink()
    (left.parent / "other").write_bytes(DATA)
    left.write_bytes(DATA)
    async with store_yard(tmp_path) as yard, Client(yard.address, "agent") as agent:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.put_parts(said, [])
        assert from_rpc_error(caught.value).reason == "FILE_NOT_LOCAL"


@pytest.mark.asyncio
@pytest.mark.parametrize("token", ["ada", "task", "service", "admin"])
async def test_only_an_agent_names_files(tmp_path: Path, left: Path, token: str) -> None:
    async with store_yard(tmp_path) as yard, Client(yard.address, token) as caller:
        account = "ada" if token in ("service", "admin") else ""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.put_parts(header(left, account=account, holder=""), [])
        assert from_rpc_error(caught.value).reason == "FILE_NOT_LOCAL"
        assert yard.files() == []


@pytest.mark.asyncio
async def test_agent_of_another_node_does_not_reach_it(tmp_path: Path, left: Path) -> None:
    (tmp_path / "agents" / "n1").rename(tmp_path / "agents" / "n2")
    moved = tmp_path / "agents" / "n2" / "tasks" / "t-1-1" / "work" / "out.bin"
    async with store_yard(tmp_path) as yard, Client(yard.address, "agent") as agent:
        for path in ("t-1-1/work/out.bin", "../../n2/tasks/t-1-1/work/out.bin"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await agent.put_parts(header(moved, path), [])
            assert from_rpc_error(caught.value).reason == "FILE_NOT_LOCAL"


@pytest.mark.asyncio
async def test_quota_holds_for_local_files_too(tmp_path: Path, left: Path) -> None:
    limits = Limits(quota_bytes=1_000)
    async with store_yard(tmp_path, limits=limits) as yard, Client(yard.address, "agent") as agent:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await agent.put_parts(header(left), [])
        assert from_rpc_error(caught.value).reason == "QUOTA_EXCEEDED"
        assert yard.files() == []
