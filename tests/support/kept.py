"""How much an object keeps: entries of every container that is reached from it through attributes of our own classes.

Counts what is reachable, not bytes: memory that an allocator holds back says nothing of what is forgotten.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

OURS = ("services.", "modelyard.")


def entries(*roots: object) -> Counter[str]:
    """By "Class.attribute" how many entries its containers have, and those within them."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    waiting: deque[tuple[str, object]] = deque(("", root) for root in roots)
    while waiting:
        where, one = waiting.popleft()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, Mapping):
            found[where] += len(one)
            waiting.extend((where, inner) for pair in [*one.items()] for inner in pair)
        elif isinstance(one, list | tuple | deque | AbstractSet):
            found[where] += len(one)
            waiting.extend((where, inner) for inner in [*one])
        elif type(one).__module__.startswith(OURS):
            waiting.extend(_attributes(one))
    return found


def _attributes(one: object) -> Iterator[tuple[str, object]]:
    name = type(one).__name__
    found: dict[str, Any] = dict(getattr(one, "__dict__", {}))
    for kind in type(one).__mro__:
        for slot in getattr(kind, "__slots__", ()):
            if isinstance(slot, str) and hasattr(one, slot):
                found.setdefault(slot, getattr(one, slot))
    for attribute, value in found.items():
        yield f"{name}.{attribute}", value


def grown(before: Counter[str], after: Counter[str], slack: int = 0) -> dict[str, int]:
    """What has more than ``slack`` entries more than before."""
    return {where: count - before[where] for where, count in after.items() if count > before[where] + slack}
