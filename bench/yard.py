"""A yard of its own for a measurement: real processes on free ports, taken down afterwards."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

YARD = Path(sys.executable).with_name("yard")
# What `yard up` reserves from its base on.
PORTS = 10


@dataclass(frozen=True)
class Yard:
    state: Path
    port_base: int
    # From the start of `yard up` until it returned.
    up_s: float

    def run(self, *arguments: str) -> str:
        """One `yard` command; its standard output. Raises where it fails."""
        command = [str(YARD), *arguments, "--state", str(self.state)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def free_port_base() -> int:
    """The first of ten ports in a row that nobody uses now."""
    for base in range(17_000, 30_000, PORTS):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(base, base + PORTS):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return base
    raise RuntimeError("no ten free ports in a row")


@contextlib.contextmanager
def running_yard(*options: str, prepare: Callable[[Path], None] | None = None) -> Iterator[Yard]:
    """Brings a yard up in a temporary directory, and takes it down in the end.

    `prepare` may put into the state directory what is to be there already.
    """
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        if prepare is not None:
            prepare(Path(folder))
        base = free_port_base()
        begun = time.perf_counter()
        command = [str(YARD), "up", "--detach", "--state", folder, "--port-base", str(base), *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        yard = Yard(Path(folder), base, time.perf_counter() - begun)
        try:
            yield yard
        finally:
            yard.run("down")
