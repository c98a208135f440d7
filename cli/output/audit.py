"""Entries of the audit log as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.output.nouns import age

if TYPE_CHECKING:
    from cli.output.render import Columns
    from modelyard.v1 import audit_pb2


def _who(entry: audit_pb2.AuditEntry) -> str:
    return f"{entry.role} {entry.node or entry.account}".strip()


def _rpc(entry: audit_pb2.AuditEntry) -> str:
    return entry.rpc.rpartition("/")[2] + (f" ×{entry.count}" if entry.count > 1 else "")


# The first column is never cut: it is what --rpc takes, and of a narrow terminal's rows the one to be told apart by.
ENTRY_COLUMNS: Columns = [
    ("RPC", _rpc),
    ("AGE", lambda entry: age(entry.time)),
    ("WHO", _who),
    ("RESULT", lambda entry: entry.reason or entry.code),
    ("RESOURCES", lambda entry: entry.resources[:60]),
    ("FROM", lambda entry: entry.peer),
]
