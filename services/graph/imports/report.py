"""What an import or export tells beside its result, and why it refuses.

Owns the findings: one for each thing that was not understood, with its path in the document. Pure.
"""

import msgspec

from services.chassis.errors import InvalidArgument
from services.graph.canvases.problems import shown

FINDINGS_MOST = 1_000
"""After so many a report ends with how many more there are."""


class ImportRefused(InvalidArgument):
    """The document cannot be read as a canvas."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was not understood, or was taken to mean something."""

    path: str
    """Where in the document: "nodes[3].mode"; of an export, where in the canvas."""
    message: str
    node: str = ""
    """The canvas node that it concerns."""
    is_need: bool = False
    """A bundle would settle it."""


class Need(msgspec.Struct, frozen=True):
    """A node that needs a bundle, and the files that it looks for in it; none: code of an operator."""

    body: str
    """The sub-graph that it is a node of; empty: of the drawing itself."""
    node: str
    files: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """As people are told."""
        return f"{self.body}/{self.node}" if self.body else self.node


class Report:
    """Findings as they are made, in the order of the document; bounded."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._more = 0
        self._needs: dict[tuple[str, str], dict[str, None]] = {}

    def add(self, path: str, message: str, node: str = "", *, is_need: bool = False) -> None:
        """Takes a finding down."""
        if len(self._found) >= FINDINGS_MOST:
            self._more += 1
        else:
            self._found.append(Finding(shown(path, 200), shown(message, 300), shown(node, 200), is_need))

    def need(self, path: str, message: str, node: str, file: str, body: str = "") -> None:
        """Takes down that a node of a body looks for a file that does not come with the document."""
        self.add(path, message, node, is_need=True)
        self._needs.setdefault((body, node), {})[file] = None

    @property
    def needs(self) -> tuple[Need, ...]:
        """Every node that looks for such files; also what `clear` forgot the findings of."""
        return tuple(Need(body, node, tuple(files)) for (body, node), files in self._needs.items())

    def all(self) -> tuple[Finding, ...]:
        """Everything that was found."""
        if not self._more:
            return tuple(self._found)
        return (*self._found, Finding("", f"there are {self._more} more findings"))

    def clear(self) -> None:
        """Forgets what was found: it is known from elsewhere after all."""
        self._found.clear()
        self._more = 0
