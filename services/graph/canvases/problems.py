"""What can be wrong with a canvas (S1.3), and how it is told: every problem with its place and a next step. Pure."""

from collections.abc import Iterable
from enum import Enum

import msgspec

from modelyard.nearest import nearest

SHOWN_LENGTH = 60
"""More of a caller's text is not repeated to them."""
PROBLEMS_MOST = 1_000
"""After so many a report ends, and says so."""


class Reason(Enum):
    """Stable words; `docs` and programs refer to them."""

    MALFORMED = "MALFORMED"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    """This and the next: only ever hints."""
    NOTHING_FLOWS = "NOTHING_FLOWS"
    BAD_ID = "BAD_ID"
    DUPLICATE_ID = "DUPLICATE_ID"
    TOO_LARGE = "TOO_LARGE"
    NO_WORK = "NO_WORK"
    SEVERAL_WORKS = "SEVERAL_WORKS"
    WITHOUT_EFFECT = "WITHOUT_EFFECT"
    UNKNOWN_OPERATOR = "UNKNOWN_OPERATOR"
    UNKNOWN_VERSION = "UNKNOWN_VERSION"
    PLACEHOLDER = "PLACEHOLDER"
    MISSING_PARAMETER = "MISSING_PARAMETER"
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER"
    INVALID_PARAMETER = "INVALID_PARAMETER"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    BAD_ADDRESS = "BAD_ADDRESS"
    BAD_SETTING = "BAD_SETTING"
    MISSING_INPUT = "MISSING_INPUT"
    UNKNOWN_PORT = "UNKNOWN_PORT"
    DUPLICATE_PORT = "DUPLICATE_PORT"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    TOO_MANY_EDGES = "TOO_MANY_EDGES"
    DANGLING_EDGE = "DANGLING_EDGE"
    CYCLE = "CYCLE"
    UNKNOWN_SUBGRAPH = "UNKNOWN_SUBGRAPH"
    RECURSIVE_SUBGRAPH = "RECURSIVE_SUBGRAPH"
    TOO_DEEP = "TOO_DEEP"
    OPERATORS_UNKNOWN = "OPERATORS_UNKNOWN"
    TOO_MANY_PROBLEMS = "TOO_MANY_PROBLEMS"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong; `node` has the path of the instances above it: "n5/n1"."""

    reason: Reason
    message: str
    node: str = ""
    port: str = ""
    edge: str = ""
    field: str = ""
    next_step: str = ""
    nodes: tuple[str, ...] = ()
    """Of a cycle, in its direction."""


class Findings:
    """Problems as they are found, in the order of the canvas; bounded."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(
        self,
        reason: Reason,
        message: str,
        *,
        node: str = "",
        port: str = "",
        edge: str = "",
        field: str = "",
        next_step: str = "",
        nodes: Iterable[str] = (),
    ) -> None:
        """Takes a problem down."""
        if self.is_full:
            return
        self._found.append(
            Problem(
                reason, message, shown(node, 200), shown(port), shown(edge, 200), shown(field, 200), next_step,
                tuple(shown(one) for one in nodes),
            )
        )  # fmt: skip

    def extend(self, problems: Iterable[Problem]) -> None:
        """Takes down what was found elsewhere."""
        for problem in problems:
            if self.is_full:
                return
            self._found.append(problem)

    @property
    def is_full(self) -> bool:
        """Further problems are not told."""
        return len(self._found) >= PROBLEMS_MOST

    def __bool__(self) -> bool:
        return bool(self._found)

    def all(self) -> tuple[Problem, ...]:
        """Everything that was found."""
        if not self.is_full:
            return tuple(self._found)
        last = Problem(
            Reason.TOO_MANY_PROBLEMS,
            f"these are the first {PROBLEMS_MOST} problems; there may be more",
            next_step="correct these, then validate again",
        )
        return (*self._found, last)


def shown(text: str, most: int = SHOWN_LENGTH) -> str:
    """The text, or its beginning."""
    return text if len(text) <= most else text[: most - 1] + "…"


def suggestion(word: str, known: Iterable[str], otherwise: str) -> str:
    """A next step: the nearest known word, or what to do when there is none."""
    close = nearest(word, known)
    return f"did you mean {close!r}?" if close else otherwise
