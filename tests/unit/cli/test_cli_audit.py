"""The audit log as a table."""

from __future__ import annotations

from cli.output.audit import ENTRY_COLUMNS
from cli.output.table import format_table
from modelyard.v1 import audit_pb2


def test_rpcs_can_be_told_apart_in_a_narrow_terminal() -> None:
    names = (
        "TaskService/SubmitTasks",
        "TaskService/SuspendTask",
        "FrameworkService/RegisterFrameworkVersions",
    )
    entries = [
        audit_pb2.AuditEntry(
            rpc=rpc, role="admin", account="some-account", resources="t-1 nodes/node-1 accounts/ada", code="OK",
            reason="PERMISSION_DENIED", peer="ipv4:127.0.0.1:44444", count=count,
        )
        for count, rpc in enumerate(names, 1)
    ]  # fmt: skip
    for entry in entries:
        entry.time.GetCurrentTime()
    titles = [title for title, _ in ENTRY_COLUMNS]
    lines = format_table(titles, [[cell(one) for _, cell in ENTRY_COLUMNS] for one in entries], 80)
    shown = [line.split("  ")[0] for line in lines[1:]]
    assert shown == ["SubmitTasks", "SuspendTask ×2", "RegisterFrameworkVersions ×3"]
    assert max(map(len, lines)) <= 80
