"""What expressions may see: the job, its roles, instances, addresses. Views of a plan and an address book. Pure.

`FIELDS` is the same as a table, by which expressions are checked when a definition is read (`checking`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from modelyard.training.expressions.grammar import ExpressionError, View
from modelyard.training.rendering.forwards import Forwarded


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where an instance is reached, and the directory in which it runs."""

    host: str
    ip: str
    ports: Mapping[str, int] = {}
    directory: str = ""
    node: str = ""
    epoch: int = 0
    forward_port: int = 0
    """At which it reaches others locally; 0: its seat passes nothing on."""
    network: str = ""
    """Instances with the same reach each other within one machine."""


METER_MOST = 500_000
"""Values that are looked at for one instance, those of lists one by one."""
Book = Mapping[tuple[str, int], Address]
"""By role and index."""


class RoleFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan says of a role."""

    name: str
    count: int
    least: int
    most: int
    processes: int
    first_rank: int = -1
    """Of its instances among all instances; −1: the role has no ranks."""
    first_process_rank: int = -1
    cpu: float = 1.0
    memory_bytes: int = 0
    gpu: float = 0.0


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """A job as expressions see it."""

    job: Mapping[str, Any]
    params: Mapping[str, Any]
    roles: Mapping[str, RoleFacts]
    nodes: int
    size: int
    book: Book
    forwarded: Mapping[str, Forwarded] = {}
    """Roles with local addresses."""
    forward_port: int = 0
    """Of the instance that is made."""
    lists: dict[tuple[str, str], tuple[Any, ...]] = {}
    """Lists over a role's instances that were made already; they are asked for by every instance."""

    def address(self, role: str, index: int) -> Address:
        """Raises `ExpressionError` where it is not known."""
        found = self.book.get((role, index))
        if found is None:
            raise ExpressionError(f"the address of {role}[{index}] is not known")
        return found

    def local(self, role: str, index: int, port: str) -> str:
        """The IP address under which the instance that is made reaches another. Raises `ExpressionError`."""
        found = self.forwarded.get(role)
        if found is None:
            raise ExpressionError(f"the role {role} has no local addresses")
        if port not in found.ports:
            raise ExpressionError(f"the role {role} has no port {port}")
        if not self.forward_port:
            raise ExpressionError("local addresses are not known")
        return found.ip(index, port)

    def stable_name(self, role: str, index: int) -> str:
        """Under which others reach it through all moves."""
        return f"{role.replace('_', '-')}-{index}.{self.job['id']}"


class Meter:
    """What making one instance may still take, in values that are looked at."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = METER_MOST

    def spend(self, count: int) -> None:
        """Raises `ExpressionError` when it is too much."""
        self._left -= count
        if self._left < 0:
            raise ExpressionError(f"making one instance would look at more than {METER_MOST} values")


class Table(View):
    """Fixed fields."""

    __slots__ = ("_fields", "_what")

    def __init__(self, what: str, fields: Mapping[str, Any]) -> None:
        self._what, self._fields = what, fields

    def field(self, name: str) -> Any:
        if name not in self._fields:
            raise ExpressionError(f"{self._what} has no field {name}")
        return self._fields[name]


class InstanceView(View):
    """One instance. `names` is the whole scope of its expressions."""

    __slots__ = ("_at", "index", "meter", "role")

    def __init__(self, at: Surroundings, role: RoleFacts, index: int, meter: Meter | None = None) -> None:
        self._at, self.role, self.index, self.meter = at, role, index, meter or Meter()

    def field(self, name: str) -> Any:
        make = _INSTANCE.get(name)
        if make is None:
            raise ExpressionError(f"an instance has no field {name}")
        return make(self)

    @property
    def place(self) -> Address:
        """Raises `ExpressionError` where it is not known."""
        return self._at.address(self.role.name, self.index)

    @property
    def name(self) -> str:
        """Stable."""
        return self._at.stable_name(self.role.name, self.index)

    @property
    def rank(self) -> int:
        """Among all instances. Raises `ExpressionError`."""
        if self.role.first_rank < 0:
            raise ExpressionError(f"the role {self.role.name} has no ranks: name it in `ranks`")
        return self.role.first_rank + self.index

    def endpoints(self, is_ip: bool = False) -> Table:
        """host:port, or ip:port, by port."""
        place = self.place
        host = place.ip if is_ip else place.host
        return Table(
            f"the role {self.role.name}: port", {name: f"{host}:{port}" for name, port in place.ports.items()}
        )

    def locals(self, what: str) -> LocalView:
        """Where the instance that is made reaches this one, by port."""
        return LocalView(self._at, self.role.name, self.index, what)

    def peers(self, role: str) -> list[InstanceView]:
        """Every instance of a role. Raises `ExpressionError`."""
        facts = self._at.roles.get(role)
        if facts is None:
            raise ExpressionError(f"there is no role {role}")
        return [InstanceView(self._at, facts, index, self.meter) for index in range(facts.count)]

    def names(self) -> dict[str, Any]:
        """Everything that its expressions may use, but `proc` and `it`."""
        at = self._at
        return {
            "job": Table("job", at.job), "params": Table("params", at.params), "self": self,
            "role": RoleView(at, self.role, self.meter), "roles": RolesView(at, self.meter),
            "world": Table("world", {"size": at.size, "nodes": at.nodes}),
        }  # fmt: skip

    def process(self, local: int) -> Table:
        """`proc` of one of its processes."""
        fields: dict[str, Any] = {"local": local, "count": self.role.processes}
        if self.role.first_process_rank >= 0:
            fields["rank"] = self.role.first_process_rank + self.index * self.role.processes + local
        return Table(f"proc of {self.role.name}, which has no ranks," if len(fields) == 2 else "proc", fields)


class RoleView(View):
    """A role; `[i]` is one of its instances."""

    __slots__ = ("_at", "_meter", "_role")

    def __init__(self, at: Surroundings, role: RoleFacts, meter: Meter) -> None:
        self._at, self._role, self._meter = at, role, meter

    def field(self, name: str) -> Any:
        role = self._role
        if name in ("hosts", "ips", "names"):
            return self._list(name)
        if name in ("addr", "ip_addr"):
            return ListsView(name, self._list)
        if name == "local":
            return ListsView(name, self._locals)
        fields = {
            "name": role.name,
            "count": role.count,
            "min": role.least,
            "max": role.most,
            "procs": role.processes,
        }
        if name not in fields:
            raise ExpressionError(f"a role has no field {name}")
        return fields[name]

    def item(self, index: int) -> Any:
        if not 0 <= index < self._role.count:
            raise ExpressionError(f"{self._role.name} has {self._role.count} instances, so no [{index}]")
        return InstanceView(self._at, self._role, index, self._meter)

    def _list(self, what: str) -> tuple[Any, ...]:
        self._meter.spend(self._role.count)
        key = (self._role.name, what)
        found = self._at.lists.get(key)
        if found is None:
            found = tuple(self._one(what, index) for index in range(self._role.count))
            self._at.lists[key] = found
        return found

    def _locals(self, what: str) -> tuple[Any, ...]:
        """They differ by whom they are made for, so none of them is kept."""
        self._meter.spend(self._role.count)
        at, port = self._at, what.removeprefix("local.")
        return tuple(
            f"{at.local(self._role.name, index, port)}:{at.forward_port}" for index in range(self._role.count)
        )

    def _one(self, what: str, index: int) -> str:
        if what == "names":
            return self._at.stable_name(self._role.name, index)
        place = self._at.address(self._role.name, index)
        if what in ("hosts", "ips"):
            return place.host if what == "hosts" else place.ip
        kind, _, port = what.partition(".")
        if port not in place.ports:
            raise ExpressionError(f"the role {self._role.name} has no port {port}")
        return f"{place.host if kind == 'addr' else place.ip}:{place.ports[port]}"


class ListsView(View):
    """`addr`, `ip_addr`: host:port or ip:port of every instance, by port."""

    __slots__ = ("_make", "_what")

    def __init__(self, what: str, make: Callable[[str], tuple[Any, ...]]) -> None:
        self._what, self._make = what, make

    def field(self, name: str) -> Any:
        return self._make(f"{self._what}.{name}")


class LocalView(View):
    """`local`, `local_ip`, `local_port` of an instance, by port."""

    __slots__ = ("_at", "_index", "_role", "_what")

    def __init__(self, at: Surroundings, role: str, index: int, what: str) -> None:
        self._at, self._role, self._index, self._what = at, role, index, what

    def field(self, name: str) -> Any:
        ip, port = self._at.local(self._role, self._index, name), self._at.forward_port
        return {"local": f"{ip}:{port}", "local_ip": ip, "local_port": port}[self._what]


class RolesView(View):
    """All roles, by name."""

    __slots__ = ("_at", "_meter")

    def __init__(self, at: Surroundings, meter: Meter) -> None:
        self._at, self._meter = at, meter

    def field(self, name: str) -> Any:
        if name not in self._at.roles:
            raise ExpressionError(f"there is no role {name}")
        return RoleView(self._at, self._at.roles[name], self._meter)


def _cpus(view: InstanceView) -> int:
    return max(1, int(view.role.cpu))


_INSTANCE: dict[str, Callable[[InstanceView], Any]] = {
    "index": lambda view: view.index,
    "rank": lambda view: view.rank,
    "name": lambda view: view.name,
    "host": lambda view: view.place.host,
    "ip": lambda view: view.place.ip,
    "dir": lambda view: view.place.directory,
    "node": lambda view: view.place.node,
    "epoch": lambda view: view.place.epoch,
    "port": lambda view: Table(f"the role {view.role.name}: port", view.place.ports),
    "addr": lambda view: view.endpoints(),
    "ip_addr": lambda view: view.endpoints(is_ip=True),
    "local": lambda view: view.locals("local"),
    "local_ip": lambda view: view.locals("local_ip"),
    "local_port": lambda view: view.locals("local_port"),
    "cpus": _cpus,
    "gpus": lambda view: view.role.gpu,
    "memory": lambda view: view.role.memory_bytes,
    "procs": lambda view: view.role.processes,
}

JOB_FIELDS = ("id", "name", "account", "secret", "restarts", "checkpoint_dir", "resume_from")

FIELDS: dict[str, dict[str, str]] = {
    "job": dict.fromkeys(JOB_FIELDS, "value"),
    "world": {"size": "value", "nodes": "value"},
    "proc": {"local": "value", "rank": "value", "count": "value"},
    "role": {
        **dict.fromkeys(("name", "count", "min", "max", "procs", "hosts", "ips", "names"), "value"),
        "addr": "ports",
        "ip_addr": "ports",
        "local": "local ports",
    },
    "instance": {
        **dict.fromkeys(_INSTANCE, "value"),
        **dict.fromkeys(("port", "addr", "ip_addr"), "ports"),
        **dict.fromkeys(("local", "local_ip", "local_port"), "local ports"),
    },
}
"""Kind of a name → its fields → their kind. Those of roles, ports and params are the definition's own."""
