"""Where the other instances of a training job are, for a program that is one of them.

Reads the file that `YARD_ADDRESSES` names, which the yard keeps up to date; nobody is asked, and no credentials are
needed. Nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Peer:
    """One instance. ``epoch``: how often it was started; ``node``: empty while it has no place."""

    role: str
    index: int
    epoch: int
    name: str
    host: str
    ip: str
    node: str
    ports: Mapping[str, int]
    local: Mapping[str, str]

    def address(self, port: str) -> str:
        """host:port, the local one where there is one. Raises KeyError where it has no such port or no place."""
        return self.local[port] if port in self.local else f"{self.host}:{self.ports[port]}"


@dataclass(frozen=True, slots=True)
class Peers:
    """All instances of the job at one moment; ``revision`` only grows."""

    revision: int
    by_key: Mapping[tuple[str, int], Peer]

    def __getitem__(self, key: tuple[str, int]) -> Peer:
        """By role and index. Raises KeyError."""
        return self.by_key[key]

    def __iter__(self) -> Iterator[Peer]:
        return iter(self.by_key.values())

    def __len__(self) -> int:
        return len(self.by_key)


def peers(path: str | Path = "") -> Peers:
    """As they are now. Raises OSError where there is no such file: this is no instance of a training job."""
    whole = json.loads(_path(path).read_bytes())
    found = (_peer(one) for one in whole.get("addresses", ()))
    return Peers(int(whole.get("revision", 0)), {(one.role, one.index): one for one in found})


def watch_peers(path: str | Path = "", revision: int = -1, every_s: float = 0.1) -> Iterator[Peers]:
    """As they are whenever something has changed after the revision, without end. Blocks; looks at the file every
    ``every_s`` seconds. Raises OSError as `peers` does."""
    stamp = (0, 0)
    while True:
        seen = _path(path).stat()
        if stamp != (stamp := (seen.st_ino, seen.st_mtime_ns)):
            found = peers(path)
            if found.revision > revision:
                revision = found.revision
                yield found
        time.sleep(every_s)


def _path(path: str | Path) -> Path:
    return Path(path or os.environ.get("YARD_ADDRESSES", "addresses.json"))


def _peer(one: Mapping[str, Any]) -> Peer:
    return Peer(
        role=one.get("role", ""),
        index=int(one.get("index", 0)),
        epoch=int(one.get("epoch", 0)),
        name=one.get("name", ""),
        host=one.get("host", ""),
        ip=one.get("ip", ""),
        node=one.get("node", ""),
        ports={name: int(number) for name, number in one.get("ports", {}).items()},
        local=one.get("local", {}),
    )
