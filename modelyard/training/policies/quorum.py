"""How many of a number: all, some, a share, the first. Pure."""

from __future__ import annotations

import re
from enum import Enum

import msgspec


class QuorumKind(Enum):
    ALL = "all"
    NUMBER = "number"
    SHARE = "share"
    FIRST = "first"
    """Instance 0, whatever the others do."""
    NEVER = "never"


class Quorum(msgspec.Struct, frozen=True):
    """ "all", "3", "50%", "first", "never"; "any" is 1."""

    kind: QuorumKind = QuorumKind.ALL
    value: int = 0

    def __str__(self) -> str:
        if self.kind is QuorumKind.NUMBER:
            return "any" if self.value == 1 else str(self.value)
        return f"{self.value}%" if self.kind is QuorumKind.SHARE else self.kind.value

    def needed(self, total: int) -> int:
        """How many of so many; never more than there are, at least one where there is one."""
        if self.kind is QuorumKind.NUMBER:
            return min(self.value, total)
        if self.kind is QuorumKind.SHARE:
            return max(-(-total * self.value // 100), min(total, 1))
        return total

    def is_met(self, count: int, total: int, is_first: bool = False) -> bool:
        """Whether `count` of `total` are enough; `is_first`: instance 0 is among them."""
        if self.kind is QuorumKind.NEVER:
            return False
        if self.kind is QuorumKind.FIRST:
            return is_first
        return count >= self.needed(total)


ALL = Quorum()
ANY = Quorum(QuorumKind.NUMBER, 1)
FIRST = Quorum(QuorumKind.FIRST)
NEVER = Quorum(QuorumKind.NEVER)

_WORDS = {"all": ALL, "any": ANY, "first": FIRST, "never": NEVER, "none_left": ALL}


def quorum(text: str) -> Quorum:
    """Raises ValueError that says how to write it."""
    if text in _WORDS:
        return _WORDS[text]
    if re.fullmatch(r"[1-9][0-9]{0,5}", text):
        return Quorum(QuorumKind.NUMBER, int(text))
    if re.fullmatch(r"[1-9][0-9]?%|100%", text):
        return Quorum(QuorumKind.SHARE, int(text[:-1]))
    raise ValueError(f"{text[:40]!r} is no number of instances; write all, any, first, never, 3 or 50%")
