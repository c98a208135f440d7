"""How a role's instances are made: the templates of their processes and files. Pure."""

from __future__ import annotations

import msgspec

from modelyard.training.expressions.templates import Template, Tree

PROCESSES_MOST = 1_024
"""Of an instance."""


class File(msgspec.Struct, frozen=True):
    """A file below the instance's directory: its content, or a line for each instance of a role."""

    path: Template
    content: Template | None = None
    json: Tree | None = None
    each: str = ""
    line: Template | None = None
    is_executable: bool = False


class Create(msgspec.Struct, frozen=True):
    """How processes of an instance are made."""

    argv: tuple[Template, ...] = ()
    """Empty: the job gives the command."""
    argv_prepend: tuple[Template, ...] = ()
    argv_append: tuple[Template, ...] = ()
    env: tuple[tuple[str, Template], ...] = ()
    env_json: tuple[tuple[str, Tree], ...] = ()
    files: tuple[File, ...] = ()
    stdin: Template | None = None
    processes: Template | None = None
    """How many run side by side in an instance; none: 1."""
    ends_together: bool = True
    imports: tuple[str, ...] = ()
    """Modules that a warm parent may have imported before the program starts."""
