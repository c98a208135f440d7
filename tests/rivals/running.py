"""Other servers of models, each in an environment of its own, as processes on ports that nobody has."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.separate_environment import NotInstallable, interpreter

HERE = Path(__file__).parent
NAMES = ("triton", "mlserver", "mlserver-worker", "bentoml")
_REQUIREMENTS = {
    "triton": "pytriton",
    "mlserver": "mlserver",
    "mlserver-worker": "mlserver",
    "bentoml": "bentoml",
}
END_S = 10


@dataclass(frozen=True)
class Entry:
    """A model that a server is to have. `kind` is onnx or sklearn, a file of joblib."""

    name: str
    kind: str
    path: str
    batched: bool = False
    """Whether calls of it may be computed together, where the server asks."""


@dataclass(frozen=True)
class Rival:
    name: str
    port: int
    process: subprocess.Popen[bytes]
    begun: float
    """When its process was started, by `time.perf_counter`."""
    log: Path

    def said(self) -> str:
        """Its last words."""
        return self.log.read_text(errors="replace")[-2_000:]


def python_of(name: str) -> Path:
    """Of the environment of a server, which is made if there is none. Raises NotInstallable."""
    requirements = _REQUIREMENTS[name]
    return interpreter(f"rival-{requirements}", HERE / f"{requirements}.txt", compiled=True)


@contextlib.contextmanager
def running(name: str, entries: Sequence[Entry]) -> Iterator[Rival]:
    """The server with these models, from when its process is started: who calls it waits until it answers."""
    python, port = python_of(name), free_port()
    with tempfile.TemporaryDirectory(prefix=f"rival-{name}-") as place:
        catalogue, log = Path(place) / "catalogue.json", Path(place) / "log"
        catalogue.write_text(json.dumps([asdict(entry) for entry in entries]))
        with log.open("wb") as output:
            begun = time.perf_counter()
            process = subprocess.Popen(
                _command(name, python, catalogue, port), cwd=place, env=_surroundings(catalogue),
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            yield Rival(name, port, process, begun, log)
        finally:
            _end(process)


def _command(name: str, python: Path, catalogue: Path, port: int) -> list[str]:
    if name == "bentoml":
        service = [
            "bentoml_service:Iris",
            "--working-dir",
            str(HERE),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        return [str(python.with_name("bentoml")), "serve", *service]
    program = "pytriton_server.py" if name == "triton" else "mlserver_server.py"
    command = [str(python), str(HERE / program), str(catalogue), str(port)]
    return [*command, "1" if name == "mlserver-worker" else "0"] if name.startswith("mlserver") else command


def _surroundings(catalogue: Path) -> dict[str, str]:
    # Triton's own process loads the Python library: of the same release as the interpreter, or it does not start.
    libraries = str(sysconfig.get_config_var("LIBDIR") or "")
    return {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PYTHONPATH": str(HERE), "LD_LIBRARY_PATH": libraries, "CATALOGUE": str(catalogue),
        "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(catalogue.parent / "bentoml"),
        "XDG_CACHE_HOME": str(catalogue.parent),
    }  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and all that it started."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


__all__ = ["NAMES", "Entry", "NotInstallable", "Rival", "free_port", "python_of", "running"]
