"""Which results the cache holds: by what they are a function of, bounded, least recently used out. Pure."""

import re
from collections import OrderedDict

import msgspec

_COMPUTED = re.compile(r"computed by (.+) of (r-\d+)")


class CacheEntry(msgspec.Struct, frozen=True):
    """`run` put it there: a run never takes what it put itself, else the log would depend on who was quicker."""

    run: int
    size_bytes: int
    has_artifacts: bool


def holder(account: str, key: bytes) -> str:
    """Who refers to an entry's artefacts in the store. Holders are the store's, keys are each account's own."""
    return f"cache:{account}:{key.hex()}"


def computed_by(node_id: str, run: int) -> str:
    """The reason of a node whose results the cache had."""
    return f"computed by {node_id} of r-{run}"


def computed_where(reason: str) -> tuple[str, str] | None:
    """Run and node that `computed_by` names."""
    found = _COMPUTED.fullmatch(reason)
    return (found[2], found[1]) if found else None


class CacheIndex:
    """Which keys the cache holds, least recently used first; a key is (account, 32 bytes)."""

    def __init__(self, bytes_most: int = 256 << 20, entries_most: int = 200_000) -> None:
        self.bytes_most = bytes_most
        self.entries_most = entries_most
        self.size_bytes = 0
        self._entries: OrderedDict[tuple[str, bytes], CacheEntry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def has(self, key: tuple[str, bytes], run: int) -> bool:
        """Whether it is of use to that run."""
        entry = self._entries.get(key)
        return entry is not None and entry.run != run

    def put(self, key: tuple[str, bytes], entry: CacheEntry) -> list[tuple[tuple[str, bytes], CacheEntry]]:
        """Takes it in; what has to go for it."""
        self.remove(key)
        self._entries[key] = entry
        self.size_bytes += entry.size_bytes
        gone = []
        while self.size_bytes > self.bytes_most or len(self._entries) > self.entries_most:
            oldest, found = self._entries.popitem(last=False)
            self.size_bytes -= found.size_bytes
            gone.append((oldest, found))
        return gone

    def touch(self, key: tuple[str, bytes]) -> None:
        """It was of use."""
        self._entries.move_to_end(key)

    def remove(self, key: tuple[str, bytes]) -> None:
        """It turned out not to be there."""
        found = self._entries.pop(key, None)
        if found is not None:
            self.size_bytes -= found.size_bytes
