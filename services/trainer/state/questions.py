"""What is asked of a package's code, and what it answered. Values."""

from __future__ import annotations

from typing import Any

import msgspec


class Question(msgspec.Struct, frozen=True):
    """Of a role's function, or (without a role) the framework's; `content` tells one asking from the next."""

    function: str
    role: str
    index: int
    content: Any

    @property
    def key(self) -> tuple[str, str, int]:
        """Of all with one key only the latest matters."""
        return self.function, self.role, self.index


class Answer(msgspec.Struct, frozen=True):
    """With an error there is no value."""

    question: Question
    value: Any
    error: str
    time_ms: int
