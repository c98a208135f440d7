"""What an import or export tells beside its result, and why it refuses.

Owns the findings: one for each thing that was not understood, with its path in the document. Pure.
"""

import msgspec

from services.chassis.errors import InvalidArgument
from services.graph.problems import shown

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


class Report:
    """Findings as they are made, in the order of the document; bounded."""

    def __init__(self) -> None:
        self._found: list[Finding] = []
        self._more = 0

    def add(self, path: str, message: str, node: str = "") -> None:
        """Takes a finding down."""
        if len(self._found) >= FINDINGS_MOST:
            self._more += 1
        else:
            self._found.append(Finding(shown(path, 200), shown(message, 300), shown(node, 200)))

    def all(self) -> tuple[Finding, ...]:
        """Everything that was found."""
        if not self._more:
            return tuple(self._found)
        return (*self._found, Finding("", f"there are {self._more} more findings"))

    def clear(self) -> None:
        """Forgets what was found: it is known from elsewhere after all."""
        self._found.clear()
        self._more = 0
