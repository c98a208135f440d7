"""An operator that runs a shell command; for more than that there are command nodes and `yard run`."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.failure import OperatorFailed
from modelyard.operator.ports import Input

_SHOWN_BYTES = 2_000
_BLOCK_BYTES = 1 << 16
_NOTHING = Path(os.devnull)
_OUTPUT_BYTES_MOST = 1 << 20


class CommandFailed(OperatorFailed):
    """The command did not end with 0, or cannot be run, or wrote too much."""


@operator(name="shell.run", version="1", outputs={"stdout": "text", "exit_code": "json"}, has_effects=True)
def run_shell(
    ctx: Context, command: str, input: Input[Path] = _NOTHING, check: bool = True
) -> dict[str, Any]:
    """Runs a command by ``/bin/sh`` in the task's directory, the input as its standard input, and returns what it
    wrote. With ``check`` a code other than 0 is a failure. It may do anything, so a graph keeps such nodes in order and
    never takes their results from a cache."""
    if not command.strip() or "\0" in command:
        raise CommandFailed(
            "the command is empty" if not command.strip() else "the command contains a NUL character"
        )
    with input.open("rb") as given, TemporaryFile() as stdout, TemporaryFile() as stderr:
        argv = ["/bin/sh", "-c", command]
        ended = subprocess.run(
            argv, stdin=given, stdout=stdout, stderr=stderr, cwd=ctx.directory, check=False
        )
        said = _logged(stderr)
        if check and ended.returncode:
            raise CommandFailed(
                _ending(ended.returncode, said),
                "correct the command, or set check to false and look at exit_code",
            )
        size = stdout.seek(0, os.SEEK_END)
        if size > _OUTPUT_BYTES_MOST:
            raise CommandFailed(
                f"the command wrote {size} bytes, and 1 MiB is the most",
                "let a command node write it to a file: command.outputs",
            )
        stdout.seek(0)
        return {"stdout": stdout.read().decode(errors="replace"), "exit_code": ended.returncode}


def _logged(stderr: IO[bytes]) -> bytes:
    """Passes it on to the task's own; its end."""
    stderr.seek(0)
    last = b""
    while block := stderr.read(_BLOCK_BYTES):
        last = (last + block)[-_SHOWN_BYTES:]
        sys.stderr.write(block.decode(errors="replace"))
    sys.stderr.flush()
    return last


def _ending(code: int, stderr: bytes) -> str:
    """How it ended, with the end of what it said."""
    said = stderr.decode(errors="replace").strip()
    if code < 0:
        number = -code
        known = {one.value: one.name for one in signal.Signals}
        how = f"the command was ended by signal {number} ({known.get(number, 'unknown')})"
    else:
        how = f"the command ended with code {code}"
    return f"{how}: {said}" if said else how
