"""The audit log: which RPCs are changes, what an entry names, sharing, retention."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from modelyard.v1 import (
    account_pb2,
    agent_link_pb2,
    artifact_pb2,
    audit_pb2,
    node_pb2,
    operator_pb2,
    task_pb2,
)
from services.chassis.audit.entry import LONG, RESOURCES_MOST, is_change, resources_of
from services.chassis.audit.log import PACKAGE, AuditLog, Caller, note_in_stream, set_current
from services.chassis.audit.servicer import AuditServicer
from services.chassis.errors import InvalidArgument
from services.chassis.requests.paging import encode_token
from services.chassis.security import USER, Principal
from services.chassis.storage.errors import DiskFull
from services.chassis.storage.sqlite import Database, load_migrations
from tests.support.fake_clock import FakeClock
from tests.support.full_disk import FullDisk

FILES = (account_pb2, agent_link_pb2, artifact_pb2, audit_pb2, node_pb2, operator_pb2, task_pb2)
METHODS = [m for f in FILES for s in f.DESCRIPTOR.services_by_name.values() for m in s.methods]
CALLER = Caller(Principal(USER, "ada", token_id="t"), "ipv4:1.2.3.4:5", "call")
EVERYTHING = {
    "before": 1 << 62, "since_ms": 0, "account": "", "rpc": "", "resource": "", "refused_only": False, "most": 1000,
}  # fmt: skip
DAY_MS = 86_400_000


@asynccontextmanager
async def opened(folder: Path, clock: FakeClock, **options: Any) -> AsyncIterator[AuditLog]:
    chosen = {"keep_days": 30, "keep_bytes": 1 << 30, **options}
    log = await AuditLog.open(folder / "audit.db", clock=clock, **chosen)
    try:
        yield log
    finally:
        await log.close()


def test_every_rpc_with_a_request_id_is_a_change_and_no_read_has_one() -> None:
    for method in METHODS:
        path = f"/{method.containing_service.full_name}/{method.name}"
        if method.name not in LONG and "request_id" in method.input_type.fields_by_name:
            assert is_change(path), path
    changes = {m.name for m in METHODS if is_change(f"/x/{m.name}")}
    without_id = {m.name for m in METHODS if "request_id" not in m.input_type.fields_by_name}
    assert changes & without_id == {"Join", "AddReferences", "RemoveReferences"}


def test_entry_names_things_and_never_contents() -> None:
    spec = task_pb2.TaskSpec(name="secret name", params_json='{"password": "x"}')
    answer = task_pb2.SubmitTasksResponse(task_ids=["t-7", "t-8"])
    request = task_pb2.SubmitTasksRequest(specs=[spec])
    assert resources_of("/modelyard.v1.TaskService/SubmitTasks", request, answer) == "tasks/t-7 tasks/t-8"
    made = account_pb2.CreateTokenResponse(token=account_pb2.Token(id="ab"), secret="yard_user_x")
    asked = account_pb2.CreateTokenRequest(account="ada", comment="for ada's laptop")
    assert resources_of("/modelyard.v1.AccountService/CreateToken", asked, made) == "accounts/ada tokens/ab"
    join = agent_link_pb2.JoinRequest(join_token="yard_join_x", node="n0")
    assert resources_of("/modelyard.v1.AgentLinkService/Join", join) == "nodes/n0"
    many = task_pb2.CancelTasksRequest(task_ids=[f"t-{n}" for n in range(RESOURCES_MOST + 3)])
    assert resources_of("/modelyard.v1.TaskService/CancelTasks", many).endswith(" (+3)")


@pytest.mark.asyncio
async def test_kept_entry_is_on_disk_and_noted_ones_follow(tmp_path: Path) -> None:
    clock = FakeClock()
    async with opened(tmp_path, clock) as log:
        await log.keep(log.entry("/modelyard.v1.NodeService/CordonNode", CALLER, "nodes/n0"))
        log.note(
            log.entry("/modelyard.v1.NodeService/DrainNode", CALLER, "nodes/n0", code="PERMISSION_DENIED")
        )
    async with opened(tmp_path, clock) as log:
        rows = await log.list(EVERYTHING)
        assert [row[2] for row in rows] == ["NodeService/DrainNode", "NodeService/CordonNode"]
        assert [row[2] for row in await log.list({**EVERYTHING, "refused_only": True})] == [
            "NodeService/DrainNode"
        ]
        assert len(await log.list({**EVERYTHING, "rpc": "/CordonNode"})) == 1
        assert len(await log.list({**EVERYTHING, "resource": "/n0"})) == 2
        assert await log.list({**EVERYTHING, "resource": "/n"}) == []
        assert await log.list({**EVERYTHING, "account": "bob"}) == []


@pytest.mark.asyncio
async def test_submissions_of_one_session_share_an_entry(tmp_path: Path) -> None:
    async with opened(tmp_path, FakeClock()) as log:
        set_current(log, CALLER)
        for number in range(1, 5):
            note_in_stream("TaskService/SubmitTasks", f"tasks/t-{number}", "id")
        note_in_stream("TaskService/SubmitTasks", "", "id", "INVALID_ARGUMENT", "INVALID_SPEC")
        refused, made = await log.list(EVERYTHING)
        assert (made[8], made[-1]) == ("tasks/t-1..t-4", 4)
        assert (refused[9:11], refused[-1]) == (("INVALID_ARGUMENT", "INVALID_SPEC"), 1)


@pytest.mark.asyncio
async def test_old_entries_go_by_age_and_by_size(tmp_path: Path) -> None:
    clock = FakeClock()
    async with opened(tmp_path, clock, keep_bytes=400_000) as log:
        for _ in range(3_000):
            log.note(log.entry("/x.Service/CreateThing", CALLER, "things/" + "x" * 80))
        await log.flush()
        await log.prune()
        assert 0 < len(await log.list({**EVERYTHING, "most": 10_000})) < 3_000
        clock.jump(31 * DAY_MS)
        await log.prune()
        assert await log.list(EVERYTHING) == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "request_",
    [
        audit_pb2.ListAuditEntriesRequest(page_size=-1),
        audit_pb2.ListAuditEntriesRequest(page_token="garbage"),
        audit_pb2.ListAuditEntriesRequest(page_token=encode_token("not a number", b"")),
        audit_pb2.ListAuditEntriesRequest(page_token=encode_token("9" * 40, b"")),
    ],
)
async def test_bad_list_is_refused_in_words(tmp_path: Path, request_: Any) -> None:
    async with opened(tmp_path, FakeClock()) as log:
        with pytest.raises(InvalidArgument) as refused:
            await AuditServicer(log, "echo").ListAuditEntries(request_, None)
        assert refused.value.field in ("page_size", "page_token")


@pytest.mark.asyncio
async def test_entry_outlives_a_full_disk(tmp_path: Path) -> None:
    """The change is made and answered; its entry waits until there is room."""
    log = AuditLog(
        FullDisk(await Database.open(tmp_path / "a.db", load_migrations(PACKAGE))), 1, 1 << 30, FakeClock()
    )  # type: ignore[arg-type]
    disk: Any = log._database
    try:
        disk.is_full = True
        await log.keep(log.entry("/x.Service/CreateThing", CALLER))
        with pytest.raises(DiskFull):
            await log.flush()
        disk.is_full = False
        assert len(await log.list(EVERYTHING)) == 1
    finally:
        disk.is_full = False
        await log.close()
