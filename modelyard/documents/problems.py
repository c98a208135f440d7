"""What can be wrong with a definition or a job file, and how it is told: all at once, each with its path. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

import msgspec

from modelyard.nearest import nearest

PROBLEMS_MOST = 200
"""After so many a report ends, and says so."""
SHOWN_MOST = 80
"""More characters of an author's text are not repeated to them."""
PATH_MOST = 300


class Kind(Enum):
    """Which text a problem is in."""

    JOB = "job"
    FRAMEWORK = "framework"
    SOURCE = "source"
    """Another controller's, which is imported."""
    MODEL = "model"


class Reason(Enum):
    """Stable words; documents and programs refer to them."""

    MALFORMED = "MALFORMED"
    TOO_LARGE = "TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    DUPLICATE_FIELD = "DUPLICATE_FIELD"
    MISSING_FIELD = "MISSING_FIELD"
    WRONG_TYPE = "WRONG_TYPE"
    BAD_VALUE = "BAD_VALUE"
    BAD_NAME = "BAD_NAME"
    BAD_PATH = "BAD_PATH"
    BAD_EXPRESSION = "BAD_EXPRESSION"
    BAD_PATTERN = "BAD_PATTERN"
    UNKNOWN_NAME = "UNKNOWN_NAME"
    UNKNOWN_FRAMEWORK = "UNKNOWN_FRAMEWORK"
    UNKNOWN_ROLE = "UNKNOWN_ROLE"
    UNKNOWN_PORT = "UNKNOWN_PORT"
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER"
    MISSING_PARAMETER = "MISSING_PARAMETER"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    CYCLE = "CYCLE"
    CONTRADICTION = "CONTRADICTION"
    NO_COMMAND = "NO_COMMAND"
    NO_INSTANCES = "NO_INSTANCES"
    PLUGIN_FAILED = "PLUGIN_FAILED"
    UNKNOWN_KIND = "UNKNOWN_KIND"
    NOT_CONVERTED = "NOT_CONVERTED"
    """Of an import: it is left out."""
    CONVERTED_OTHERWISE = "CONVERTED_OTHERWISE"
    """Of an import: it is there, and means something else than it did."""
    TOO_MANY_PROBLEMS = "TOO_MANY_PROBLEMS"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong. Line and column count from 1; 0: it is in no text."""

    reason: Reason
    message: str
    path: str = ""
    line: int = 0
    column: int = 0
    next_step: str = ""
    kind: Kind = Kind.FRAMEWORK

    def __str__(self) -> str:
        where = f"{self.line}:{self.column} " if self.line else ""
        path = f"{self.path}: " if self.path else ""
        step = f" ({self.next_step})" if self.next_step else ""
        return f"{where}{path}{self.message}{step}"


class Refused(ValueError):
    """A definition or a job file is wrong; `problems` says how."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems[:3])))
        self.problems = tuple(problems)


class Position(msgspec.Struct, frozen=True):
    """A place in a text and its path; line and column count from 1, 0: in no text."""

    path: str = ""
    line: int = 0
    column: int = 0
    is_rough: bool = False
    """Line and column are those of something around it."""

    def inner(self, name: str | int) -> Position:
        """Of a field or item below, until a better line is known."""
        path = (
            f"{self.path}[{name}]" if isinstance(name, int) else f"{self.path}.{name}" if self.path else name
        )
        return Position(path, self.line, self.column, True)


class Findings:
    """Problems as they are found; bounded."""

    def __init__(self, kind: Kind = Kind.FRAMEWORK) -> None:
        self.kind = kind
        self._locate: Callable[[str], tuple[int, int]] | None = None
        self._found: list[Problem] = []
        self._seen: set[Problem] = set()

    @contextmanager
    def of(self, kind: Kind, locate: Callable[[str], tuple[int, int]] | None) -> Iterator[None]:
        """What is added within is about such a text; `locate` gives line and column of a path in it."""
        before = self.kind, self._locate
        self.kind, self._locate = kind, locate
        try:
            yield
        finally:
            self.kind, self._locate = before

    def add(
        self, reason: Reason, message: str, at: Position, next_step: str = "", column_more: int = 0
    ) -> None:
        """Takes a problem down."""
        if len(self._found) < PROBLEMS_MOST:
            line, column = at.line, at.column + column_more
            if self._locate and (at.is_rough or not at.line):
                line, column = self._locate(at.path)
            path = shown(at.path, PATH_MOST)
            problem = Problem(reason, message, path, line, column, next_step, self.kind)
            # What holds for all roles may be wrong for each of them.
            if problem not in self._seen:
                self._seen.add(problem)
                self._found.append(problem)

    @property
    def is_full(self) -> bool:
        """Whether nothing more is taken down: who would look for words to say may leave it."""
        return len(self._found) >= PROBLEMS_MOST

    def asked(self, path: str, name: str, kind: str, detail: Any = None) -> None:
        """A field was asked for, as a value of that kind; for who wants to know what can be said (`schemas`)."""

    def extend(self, problems: Iterable[Problem]) -> None:
        """Takes down what was found elsewhere."""
        self._found += list(problems)[: PROBLEMS_MOST - len(self._found)]

    def __bool__(self) -> bool:
        return bool(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def all(self) -> tuple[Problem, ...]:
        """Everything that was found, in the order of the text; what is in no text last."""
        found = sorted(self._found, key=lambda problem: (not problem.line, problem.line, problem.column))
        if len(found) < PROBLEMS_MOST:
            return tuple(found)
        last = Problem(
            Reason.TOO_MANY_PROBLEMS,
            f"these are the first {PROBLEMS_MOST} problems; there may be more",
            next_step="correct these, then validate again",
            kind=self.kind,
        )
        return (*found, last)

    def refuse(self) -> None:
        """Raises `Refused` if anything was found."""
        if self._found:
            raise Refused(self.all())


def shown(text: str, most: int = SHOWN_MOST) -> str:
    """The text, or its beginning."""
    return text if len(text) <= most else text[: most - 1] + "…"


def suggestion(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """A next step: the nearest known word, all of them where they are few, or what else to do."""
    names = sorted(known)[:1_000]
    close = nearest(word, names)
    if close:
        return f"did you mean {close!r}?"
    if names and len(names) <= 12:
        return f"one of {', '.join(names)}"
    return otherwise
