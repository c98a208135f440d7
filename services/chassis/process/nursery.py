"""Services that start at once from one interpreter: it loads what all of them load, and becomes each of them by fork.

`python -m services.chassis.process.nursery PADDING`, with a JSON document on standard input: ``{"programs":
[{"argv": [python, "-m", module, …], "log": path}, …]}``. Writes the pid of each to standard output, a line each in
that order, and ends, so that they become children of the nearest subreaper. What is loaded before the fork is in memory
once for all of them.
A service that was born here is in nothing different from one that was started by its words: session, words, streams.
Does not know any service, and is not there to start one again: whoever dies later is started by its words.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from services.chassis.process import transport

COMMON = (
    "aiosqlite", "google.protobuf.struct_pb2", "google.protobuf.timestamp_pb2", "grpc.aio", "msgspec",
    "modelyard.channel", "modelyard.v1.task_pb2", "services.chassis.peers.outward",
    "services.chassis.process.bootstrap", "services.chassis.storage.sqlite",
)  # fmt: skip
"""What nearly every service imports; the rest each imports for itself."""
_WORDS_BEGIN, _WORDS_END = 45, 46
"""Where a process's words begin and end in memory: places in /proc/self/stat behind the name."""


def main() -> int:
    """Bears all programs of the document; the child's exit code in a child."""
    programs: list[dict[str, Any]] = json.load(sys.stdin)["programs"]
    transport.settle()
    for name in COMMON:
        importlib.import_module(name)
    # What lies still is shared until somebody writes to it; the collector would.
    gc.freeze()
    for program in programs:
        pid = os.fork()
        if pid == 0:
            return _become(program)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    return 0


def _become(program: dict[str, Any]) -> int:
    """In the child: the program to its end."""
    os.setsid()
    _redirect(Path(program["log"]))
    argv: list[str] = program["argv"]
    _rename(argv)
    sys.orig_argv = argv
    module = importlib.import_module(f"{argv[2]}.__main__")
    sys.argv = [str(module.__file__), *argv[3:]]
    code: int = module.main()
    return code


def _redirect(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, null), (1, file), (2, file)):
        os.dup2(source, target)
    os.close(null)
    os.close(file)


def _rename(argv: list[str]) -> None:
    """So that whoever lists processes sees the service's words. They take the place of the nursery's own."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[_WORDS_BEGIN]), int(fields[_WORDS_END])
    words = b"\0".join(word.encode() for word in argv) + b"\0"
    if begin and len(words) < end - begin:
        ctypes.memmove(begin, words.ljust(end - begin, b"\0"), end - begin)


if __name__ == "__main__":
    sys.exit(main())
