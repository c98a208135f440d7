"""What steps know of values beside their numbers: the names along their last axis, and what their numbers stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Names:
    """Columns and labels by value; steps that choose or move columns keep them in step."""

    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    labels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    current: str = ""
    """The value that is worked on."""
    target: str = ""
    """The name of the result."""

    @classmethod
    def of(cls, tensors: Iterable[Mapping[str, Any]]) -> Names:
        """As model.yaml declares them."""
        declared = list(tensors)
        return cls(
            {str(one["name"]): tuple(one["columns"]) for one in declared if one.get("columns")},
            {str(one["name"]): tuple(one["labels"]) for one in declared if one.get("labels")},
        )

    def copy(self) -> Names:
        """For one call."""
        return Names(dict(self.columns), dict(self.labels))
