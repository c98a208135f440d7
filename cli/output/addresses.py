"""Addresses of instances, as rows and as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.output.render import Columns
    from modelyard.v1 import framework_pb2


def _ports(one: framework_pb2.InstanceAddress) -> str:
    return " ".join(f"{name}={number}" for name, number in sorted(one.ports.items()))


ADDRESS_COLUMNS: Columns = [
    ("INSTANCE", lambda one: f"{one.role}-{one.index}"),
    ("NODE", lambda one: one.node),
    ("HOST", lambda one: one.host),
    ("IP", lambda one: one.ip),
    ("PORTS", _ports),
    ("EPOCH", lambda one: str(one.epoch) if one.epoch else ""),
]


def line_of(one: framework_pb2.InstanceAddress) -> str:
    """What is told when it has changed."""
    name = f"{one.role}-{one.index}"
    return (
        f"{name} is at {one.host} ({one.node}) {_ports(one)}".rstrip() if one.node else f"{name} has no place"
    )
