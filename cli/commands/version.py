"""`yard version`."""

from __future__ import annotations

import sys

from cli.invocation import Invocation, command, new_command
from modelyard.version import VERSION

app = new_command()


@command(app)
def version(yard: Invocation) -> None:
    """Print the version."""
    sys.stdout.write(f"yard {VERSION}\n")
