"""`yard completion`: the script that makes a shell complete commands, task ids, nodes and operators."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import UsageError
from cli.invocation import Invocation, command, new_command

app = new_command()

SHELLS = ("bash", "zsh", "fish")


@command(app)
def completion(
    yard: Invocation,
    shell: Annotated[str, typer.Argument(help="bash|zsh|fish", show_default="yours")] = "",
) -> None:
    """Print the completion script of a shell.

    bash: eval "$(yard completion bash)" in ~/.bashrc
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    chosen = shell or Path(os.environ.get("SHELL", "")).name
    if chosen not in SHELLS:
        raise UsageError(
            f"{chosen or 'your shell'} is not supported", next_step=f"choose {', '.join(SHELLS)}"
        )
    script = get_completion_script(prog_name="yard", complete_var="_YARD_COMPLETE", shell=chosen)
    sys.stdout.write(script.strip() + "\n")
