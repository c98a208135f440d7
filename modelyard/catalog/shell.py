"""An operator that runs a shell command; for more than that there are command nodes and `yard run`."""

import os
import subprocess
from pathlib import Path
from typing import Any

from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.ports import Input

_SHOWN_BYTES = 4_000
_NOTHING = Path(os.devnull)
_OUTPUT_BYTES_MOST = 1 << 20


class CommandFailed(RuntimeError):
    """The command ended with a code other than 0."""


@operator(name="shell.run", version="1", outputs={"stdout": "text", "exit_code": "json"}, has_effects=True)
def run_shell(
    ctx: Context, command: str, input: Input[Path] = _NOTHING, check: bool = True
) -> dict[str, Any]:
    """Runs a command by ``/bin/sh`` in the task's directory, the input as its standard input, and returns what it
    wrote. With ``check`` a code other than 0 is a failure. It may do anything, so a graph keeps such nodes in order and
    never takes their results from a cache."""
    with input.open("rb") as given:
        ended = subprocess.run(
            ["/bin/sh", "-c", command], stdin=given, capture_output=True, cwd=ctx.directory, check=False
        )
    os.write(2, ended.stderr)
    if check and ended.returncode:
        said = ended.stderr[-_SHOWN_BYTES:].decode(errors="replace").strip()
        raise CommandFailed(
            f"the command ended with {ended.returncode}: {said}"
            if said
            else f"the command ended with {ended.returncode}"
        )
    if len(ended.stdout) > _OUTPUT_BYTES_MOST:
        raise CommandFailed(
            f"the command wrote {len(ended.stdout)} bytes; write more than 1 MiB to a file, in a command node"
        )
    return {"stdout": ended.stdout.decode(errors="replace"), "exit_code": ended.returncode}
