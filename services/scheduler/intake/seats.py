"""Specifications of seats: who may submit them, and what they must say (the edge for ``SeatWork``).

Every refusal names the field; nothing here changes state.
"""

import re
from collections.abc import Sequence

from modelyard.v1 import task_pb2
from services.chassis.security import SERVICE, Principal
from services.scheduler.refusals import SeatForbidden, invalid

MOST_PORTS, MOST_IMPORTS, MOST_AVOIDED, MOST_INDEX = 64, 32, 64, 1_000_000
MOST_SETTLE_MS = 3_600_000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_ENDPOINT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):([0-9]{1,5})")


def check_caller(specs: Sequence[task_pb2.TaskSpec], caller: Principal) -> None:
    """Seats are a controller's, on behalf of an account: nobody else knows what to do with one. Raises
    `SeatForbidden`."""
    for index, spec in enumerate(specs):
        if spec.HasField("seat") and not (caller.role == SERVICE and caller.account):
            raise SeatForbidden(
                field=f"specs[{index}].seat", next_step="submit a training job: yard train submit JOB.yaml"
            )


def check(spec: task_pb2.TaskSpec, field: str) -> None:
    """Raises `InvalidSpec`."""
    seat, path = spec.seat, f"{field}.seat"
    for name in ("job_id", "role"):
        if not _NAME.fullmatch(getattr(seat, name)):
            raise invalid(f"{path}.{name}", f"{getattr(seat, name)[:80]!r} is not a name")
    if not 0 <= seat.index <= MOST_INDEX:
        raise invalid(f"{path}.index", f"{seat.index} is not within 0 … {MOST_INDEX}")
    _check_ports(seat.ports, f"{path}.ports")
    if seat.endpoint and not _is_endpoint(seat.endpoint):
        raise invalid(f"{path}.endpoint", f"{seat.endpoint[:80]!r} is not host:port, :port or empty")
    if len(seat.imports) > MOST_IMPORTS:
        raise invalid(f"{path}.imports", f"{len(seat.imports)} modules are more than {MOST_IMPORTS}")
    for module in seat.imports:
        if len(module) > 256 or not _MODULE.fullmatch(module):
            raise invalid(f"{path}.imports", f"{module[:80]!r} is not the name of a module")
    if seat.HasField("checkpoints"):
        _check_checkpoints(seat.checkpoints, f"{path}.checkpoints")
    if spec.delivery != task_pb2.DELIVERY_AT_MOST_ONCE:
        raise invalid(
            f"{field}.delivery", "a seat that is lost is not another one's place",
            "deliver seats at most once, and submit another for one that was lost",
        )  # fmt: skip


def _check_ports(ports: Sequence[task_pb2.SeatPort], path: str) -> None:
    if len(ports) > MOST_PORTS:
        raise invalid(path, f"{len(ports)} ports are more than {MOST_PORTS}")
    seen: set[str] = set()
    for number, port in enumerate(ports):
        if not _NAME.fullmatch(port.name) or port.name in seen:
            raise invalid(f"{path}[{number}].name", f"{port.name[:80]!r} is not a name, or is there already")
        seen.add(port.name)
        if (port.low or port.high) and not 1 <= port.low <= port.high <= 65535:
            raise invalid(
                f"{path}[{number}]", f"{port.low} to {port.high} is no range of ports",
                "1 … 65535, low before high; both 0: any port",
            )  # fmt: skip


def _check_checkpoints(wish: task_pb2.SeatCheckpoints, path: str) -> None:
    words = {"directory": wish.directory, "match": wish.match, "marker": wish.marker}
    for name, text in words.items():
        if len(text) > 1_000 or ".." in text.split("/") or not text.isprintable():
            raise invalid(f"{path}.{name}", f"{text[:80]!r} is no path that stays where it is")
    if not wish.directory:
        raise invalid(f"{path}.directory", "where are they?")
    if not 0 <= wish.settle_ms <= MOST_SETTLE_MS:
        raise invalid(f"{path}.settle_ms", f"{wish.settle_ms} is not within 0 … {MOST_SETTLE_MS}")


def _is_endpoint(text: str) -> bool:
    found = _ENDPOINT.fullmatch(text)
    return found is not None and 1 <= int(found[2]) <= 65535


def avoided(placement: task_pb2.Placement, field: str) -> tuple[str, ...]:
    """The nodes that are left out, each once. Names of nodes that are not known do no harm."""
    names, path = placement.avoid_nodes, f"{field}.avoid_nodes"
    if len(names) > MOST_AVOIDED:
        raise invalid(path, f"{len(names)} nodes are more than {MOST_AVOIDED}")
    for name in names:
        if not _NAME.fullmatch(name):
            raise invalid(path, f"{name[:80]!r} is not a node's name", "see `yard nodes ls`")
    if placement.node and placement.node in names:
        raise invalid(
            path, f"it is pinned to {placement.node}, and leaves it out", "leave one of the two out"
        )
    if names and placement.quote:
        raise invalid(path, "the quote says already where it goes", "leave avoid_nodes out")
    return tuple(sorted(set(names)))
