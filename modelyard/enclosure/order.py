"""What is to be shut in, read from a frame's launch; and what goes wrong before there is a frame.

The launch is the file at `MODELYARD_FRAME`, with one key more than a frame itself needs: `enclosure`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelyard.enclosure.confinement import FILE_BYTES, OUTPUT_BYTES, PIDS

LAUNCH, SECRET, SEAT = "MODELYARD_FRAME", "MODELYARD_FRAME_SECRET", "YARD_SEAT"
IDENTITY = "YARD_NODE_IDENTITY"
"""Names the file with the node's key and certificate; absent: it has none."""
SOCKET = "frame.socket"
"""In the seat's directory: where the frame can be reached on its machine."""
CONTAINER, ENVIRONMENT = "container", "environment"
TROUBLE_EXIT = 70
"""The exit code where there is no frame; the last line of stderr says why."""
MARK = "frame: "
HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
LISTENER = 3
"""The descriptor at which a frame that is shut in finds its listening socket."""


class Trouble(Exception):
    """There is no frame, or it was ended: a canonical code, the field of model.yaml it hangs on, and what to do."""

    def __init__(self, code: str, field: str, message: str) -> None:
        super().__init__(message)
        self.code, self.field, self.message = code, field, message

    def line(self) -> str:
        """As the last line of stderr says it."""
        return MARK + json.dumps({"code": self.code, "field": self.field, "message": self.message})


@dataclass(frozen=True)
class Image:
    """One that is, or was, on a machine."""

    name: str = ""
    """The tag; empty: nothing is known."""
    digest: str = ""
    """Its id in the engine: sha256 of its configuration, which names its layers."""
    source: str = ""
    """NAME@sha256:… under which its registry has it; empty: it is of none."""

    @classmethod
    def of(cls, said: object) -> Image:
        """As `plain` gives it. Raises ValueError."""
        if not isinstance(said, Mapping):
            raise ValueError("an image is an object")
        return cls(*(str(said.get(name, ""))[:500] for name in ("name", "digest", "source")))

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(frozen=True)
class Order:
    """One frame."""

    kind: str
    launch: Mapping[str, Any]
    """As the frame is to read it, but for paths."""
    component: Path
    listen: str
    secret: str
    room: Path
    """What the frame is given to read beside its component: the launch, as it reads it."""
    seat: str
    """Whose it is: no other frame of this machine is called so."""
    environment: Path | None
    """With the packages it needs; None: the interpreter's own."""
    image: str = ""
    tried: Image = Image()
    """The image that the version was tried in; unknown: any that the name means."""
    python: str = ""
    """"3.11", for which the environment was built."""
    memory_bytes: int = 0
    cpu: float = 0.0
    gpus: tuple[str, ...] = ()
    has_network: bool = False
    pids: int = PIDS
    threads: int = 1
    file_bytes: int = FILE_BYTES
    """The most that one file may have."""
    program: tuple[str, ...] = ("-m", "modelyard.serving")
    """What Python is given inside."""
    found: Path | None = None
    """The one file of this machine that it may write."""
    output_bytes: int = OUTPUT_BYTES
    """Of what it writes to stdout and stderr, so much is kept."""
    time_s: float = 0.0
    """After so long it is ended; 0: it may stay."""
    runs_code: bool = True
    """False: our own code only looks at files, and opens no socket at all."""
    identity: Path | None = None
    """The node's key and certificate, for connections beyond loopback, which are sealed."""

    @property
    def socket(self) -> Path:
        """Where the frame can be reached on this machine; nothing inside leads there."""
        return self.room.with_name(SOCKET)


def read_order(environ: Mapping[str, str], directory: Path) -> Order:
    """The order of this process. Raises Trouble."""
    path = environ.get(LAUNCH, "")
    if not path:
        raise Trouble("INVALID_ARGUMENT", "", f"{LAUNCH} does not name the launch of a frame")
    try:
        launch = json.loads((directory / path).read_bytes())
        return order_of(launch, launch.pop("enclosure", {}), environ, directory)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Trouble("INVALID_ARGUMENT", "", f"{path} is no launch of a frame: {error}") from error


def order_of(
    launch: Mapping[str, Any], wanted: Mapping[str, Any], environ: Mapping[str, str], directory: Path
) -> Order:
    """``wanted``: the key `enclosure`. Raises OSError, ValueError, KeyError, TypeError."""
    gpus = environ.get("CUDA_VISIBLE_DEVICES", "") if wanted.get("gpu") else ""
    return Order(
        kind=wanted.get("kind", ENVIRONMENT),
        launch=launch,
        component=_component(directory / launch["component"]),
        listen=launch["listen"],
        secret=environ.get(SECRET, ""),
        room=directory.absolute() / "room",
        seat=environ.get(SEAT) or f"pid-{os.getpid()}",
        environment=Path(environ["VIRTUAL_ENV"]) if environ.get("VIRTUAL_ENV") else None,
        image=wanted.get("image", ""),
        tried=Image.of(wanted.get("tried", {})),
        python=wanted.get("python", ""),
        memory_bytes=int(wanted.get("memory_bytes", 0)),
        cpu=float(wanted.get("cpu", 0.0)),
        gpus=tuple(filter(None, gpus.split(","))),
        has_network=bool(wanted.get("network")),
        pids=int(wanted.get("pids", PIDS)),
        threads=int(wanted.get("threads", 1)),
        file_bytes=int(wanted.get("file_bytes", FILE_BYTES)),
        output_bytes=int(wanted.get("output_bytes", OUTPUT_BYTES)),
        time_s=float(wanted.get("time_s", 0.0)),
        identity=Path(environ[IDENTITY]) if environ.get(IDENTITY) else None,
    )


def _component(path: Path) -> Path:
    if path.is_symlink():
        raise ValueError(f"the component {path.name} is a link")
    return path.resolve(strict=True)


def make_room(order: Order, component: str) -> None:
    """Makes the frame's own directory, with its launch as it reads it. Raises OSError.

    Others than its user cannot come as far as this directory, so its mode may be open: the frame has another user.
    """
    order.room.mkdir(exist_ok=True)
    order.room.chmod(0o755)
    path = order.room / "launch.json"
    launch = {**order.launch, "component": component, "listen": f"fd://{LISTENER}"}
    path.write_text(json.dumps(launch), encoding="utf-8")
    path.chmod(0o644)


def open_to_read(directory: Path) -> None:
    """Lets every user read what lies there. Links are not followed; times stay as they are. Raises OSError."""
    for root, _, files in os.walk(directory):
        _allow(Path(root), 0o555)
        for name in files:
            path = Path(root, name)
            if not path.is_symlink():
                _allow(path, 0o444)


def _allow(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod((mode | bits) & 0o7777)


def package_directory() -> Path:
    """Of `modelyard`: a frame is given it, and nothing else of ours."""
    return Path(__file__).parents[1]
