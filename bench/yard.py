"""A yard of its own for a measurement: real processes on free ports, taken down afterwards."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cli.supervisor.ports import free_base

YARD = Path(sys.executable).with_name("yard")
ROOT = Path(__file__).parents[1]
# What `yard up` reserves from its base on.
PORTS = 10


@dataclass(frozen=True)
class Yard:
    state: Path
    port_base: int
    # From the start of `yard up` until it returned.
    up_s: float
    # What its services, agents and their tasks run on; none: this interpreter.
    python: Path | None = None

    def run(self, *arguments: str) -> str:
        """One `yard` command; its standard output. Raises where it fails."""
        command = [*command_of(self.python), *arguments, "--state", str(self.state)]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=surroundings()).stdout


def command_of(python: Path | None) -> list[str]:
    """`yard` on another interpreter, which need not have it installed."""
    return [str(python), "-m", "cli"] if python else [str(YARD)]


def surroundings() -> dict[str, str]:
    """With which any interpreter finds this project."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def free_port_base() -> int:
    """The first of ten ports in a row that nobody uses now."""
    base = free_base(range(17_000, 30_000, PORTS), PORTS)
    if base is None:
        raise RuntimeError("no ten free ports in a row")
    return base


@contextlib.contextmanager
def running_yard(
    *options: str,
    prepare: Callable[[Path], None] | None = None,
    python: Path | None = None,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Yard]:
    """Brings a yard up in a temporary directory, and takes it down in the end.

    `prepare` may put into the state directory what is to be there already; `environ` is what its services have
    besides.
    """
    with tempfile.TemporaryDirectory(prefix="yard-bench-") as folder:
        if prepare is not None:
            prepare(Path(folder))
        base = free_port_base()
        begun = time.perf_counter()
        command = [
            *command_of(python),
            "up",
            "--detach",
            "--state",
            folder,
            "--port-base",
            str(base),
            *options,
        ]
        settings = {**surroundings(), **environ}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=settings)
        yard = Yard(Path(folder), base, time.perf_counter() - begun, python)
        try:
            yield yard
        finally:
            yard.run("down")
