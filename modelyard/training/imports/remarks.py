"""What an import tells: errors, by which it is refused, and remarks, with which it is done. Pure."""

from __future__ import annotations

from modelyard.documents.problems import (
    PATH_MOST,
    PROBLEMS_MOST,
    Findings,
    Kind,
    Position,
    Problem,
    Reason,
    shown,
)

_REMARKS = frozenset({Reason.NOT_CONVERTED, Reason.CONVERTED_OTHERWISE})


class Remarks(Findings):
    """Remarks are kept apart, so that many of them never hide an error."""

    def __init__(self) -> None:
        super().__init__(Kind.SOURCE)
        self._remarks: dict[Problem, None] = {}
        self._left = 0

    def add(
        self, reason: Reason, message: str, at: Position, next_step: str = "", column_more: int = 0
    ) -> None:
        """Takes an error or a remark down."""
        if reason not in _REMARKS:
            super().add(reason, message, at, next_step, column_more)
        elif len(self._remarks) < PROBLEMS_MOST:
            path = shown(at.path, PATH_MOST)
            self._remarks[
                Problem(reason, message, path, at.line, at.column + column_more, next_step, self.kind)
            ] = None
        else:
            self._left += 1

    def remarks(self) -> tuple[Problem, ...]:
        """In the order of the source."""
        found = tuple(sorted(self._remarks, key=lambda problem: (problem.line, problem.column)))
        if not self._left:
            return found
        message = f"{self._left} more are not listed"
        return (*found, Problem(Reason.TOO_MANY_PROBLEMS, message, kind=self.kind))
