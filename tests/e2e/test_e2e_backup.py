"""A backup taken under load restores to a state in which the promises hold (reliability.md, 10): what was acknowledged
before it is there, every task comes to one end, artefacts are whole, request ids still give their first answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from modelyard.client.aio import Client
from modelyard.client.specs import command_spec
from modelyard.v1 import account_pb2, account_pb2_grpc, task_pb2
from tests.support.wait import wait_until
from tests.support.yard import Yard, free_port_base

ENDED = (task_pb2.TASK_STATE_SUCCEEDED, task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_CANCELLED)


class Load:
    """Clients that submit, upload and delete without a pause; keeps what was acknowledged."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.folder = folder
        self.tasks: list[str] = []
        self.artifacts: list[str] = []
        self.requests: dict[str, list[str]] = {}
        self.is_over = False

    async def submit(self) -> None:
        while not self.is_over:
            request_id = str(uuid.uuid4())
            ids = await self.client.tasks.submit(command_spec(["true"], {}), request_id=request_id)
            self.tasks += ids
            self.requests[request_id] = ids

    async def call(self) -> None:
        number = 0
        while not self.is_over:
            assert await self.client.map("echo", [{"value": number + i} for i in range(20)]) == [
                number + i for i in range(20)
            ]
            number += 20

    async def upload(self) -> None:
        number = 0
        while not self.is_over:
            number += 1
            path = self.folder / f"{number}.bin"
            path.write_bytes(os.urandom(50_000))
            digest = (await self.client.artifacts.put(path)).digest
            if number % 3:
                self.artifacts.append(digest)
            else:
                await self.client.artifacts.remove(digest)


@contextlib.contextmanager
def elsewhere(state: Path) -> Iterator[Yard]:
    """The restored yard, on other ports."""
    yard = Yard(state, free_port_base())
    try:
        yard.start()
        yield yard
    finally:
        yard.down()


@pytest.mark.timeout(240)
def test_backup_under_load_restores_elsewhere_with_everything_acknowledged(
    own_yard: Yard, tmp_path: Path
) -> None:
    file, target = tmp_path / "yard.tar.gz", tmp_path / "restored"
    created = account_pb2.CreateTokenRequest(role=account_pb2.ROLE_USER, request_id=str(uuid.uuid4()))

    async def under_load() -> tuple[Load, list[str], list[str], str]:
        async with own_yard.client() as client:
            accounts = account_pb2_grpc.AccountServiceStub(client.connection.scheduler())
            secret = (await accounts.CreateToken(created)).secret
            load = Load(client, tmp_path)
            work = [
                asyncio.ensure_future(part()) for part in (load.submit, load.submit, load.call, load.upload)
            ]
            await wait_until(
                lambda: len(load.tasks) > 40 and len(load.artifacts) > 10, "a load", timeout_s=60
            )
            tasks, artifacts = list(load.tasks), list(load.artifacts)
            done = await asyncio.to_thread(own_yard.cli, "backup", str(file))
            load.is_over = True
            await asyncio.gather(*work)
            assert done.code == 0, done.stderr
            assert len(load.tasks) > len(tasks), "there was no load"
            return load, tasks, artifacts, secret

    load, tasks, artifacts, secret = asyncio.run(under_load())
    assert not list(own_yard.state.glob(".backup-*"))
    restored = own_yard.cli("restore", str(file), "--state", str(target))
    assert restored.code == 0, restored.stderr
    _every_reference_is_kept(target)

    async def afterwards(yard: Yard) -> None:
        async with yard.client() as client:
            for task_id in tasks:
                task = await client.tasks.wait(task_id)
                assert task.state in ENDED, task_id
            for digest in artifacts:
                path = tmp_path / "back.bin"
                await client.artifacts.get(digest, path)
                assert sha256(path.read_bytes()).hexdigest() == digest
            for request_id, ids in load.requests.items():
                if ids[0] in tasks:
                    again = await client.tasks.submit(command_spec(["true"], {}), request_id=request_id)
                    assert again == ids
            accounts = account_pb2_grpc.AccountServiceStub(client.connection.scheduler())
            assert (await accounts.CreateToken(created)).secret == secret
            # What was given out after the backup is not given out again.
            [fresh] = await client.tasks.submit(command_spec(["true"], {}), request_id=str(uuid.uuid4()))
            assert fresh not in load.tasks

    with elsewhere(target) as yard:
        asyncio.run(afterwards(yard))
        assert yard.cli("call", "echo", "--param", "value=1").stdout == "1\n"
        entries = yard.json("audit", "ls", "--rpc", "CreateToken")["entries"]
        assert entries[0]["account"] == "default"


def _every_reference_is_kept(state: Path) -> None:
    """References of the scheduler's tasks are to artefacts of the store, and those have their bytes."""
    store = sqlite3.connect(state / "store" / "store.db")
    try:
        digests = {digest for (digest,) in store.execute("SELECT digest FROM blob")}
        referred = {digest for (digest,) in store.execute("SELECT digest FROM reference")}
    finally:
        store.close()
    here = {path.name for path in (state / "store" / "blobs").rglob("*") if path.is_file()}
    assert digests
    assert referred <= digests <= here
