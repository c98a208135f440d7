"""How the process of a frame is started: its launch file, what it is shut in by, its secret (the edge)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import msgspec

from modelyard.addresses import is_loopback
from modelyard.enclosure.telling import SAID
from modelyard.v1 import framework_pb2, seat_pb2
from services.models.frames.secrets import secret_of
from services.models.frames.state import Frame
from services.models.frames.submissions import COMPONENT, PORT, association_of, runtime_of
from services.models.seams import Served
from services.models.surroundings.association import FRAME_ARGV, RuntimeMap, enclosure_of

LAUNCH_FILE = "frame.json"
ANSWER_BYTES_MOST = 256 << 20
LISTENING, IMAGE = 1, 2
"""Signs: that its process takes connections; what it says of its container's image before that."""


Example = dict[str, Any] | None
"""To which the golden output belongs."""


def launch_of(
    frame: Frame, served: Served, key: bytes, runtimes: RuntimeMap, example: Example = None
) -> seat_pb2.LaunchSeat:
    """The command for its present epoch. Raises NoImage."""
    content = json.dumps(document_of(frame, served, runtimes, example))
    signs = [seat_pb2.SignSpec(id=LISTENING, listening=PORT)]
    if association_of(served, frame.shape, runtimes).image:
        signs.append(seat_pb2.SignSpec(id=IMAGE, log=SAID))
    env = {
        "MODELYARD_FRAME": f"{frame.directory}/{LAUNCH_FILE}",
        "MODELYARD_FRAME_SECRET": secret_of(key, frame.number, frame.epoch),
    }
    return seat_pb2.LaunchSeat(
        epoch=frame.epoch,
        processes=[framework_pb2.RenderedProcess(argv=FRAME_ARGV, env=env)],
        files=[framework_pb2.RenderedFile(path=LAUNCH_FILE, content=content)],
        signs=signs,
    )


def document_of(
    frame: Frame, served: Served, runtimes: RuntimeMap, example: Example = None
) -> dict[str, Any]:
    """What the frame is to load, what it is shut in by, and where it listens. Raises NoImage."""
    config = msgspec.structs.replace(served.config, runtime=runtime_of(served, frame.shape))
    golden = {**example, "digest": served.golden_digest} if example is not None else None
    return {
        "component": f"{frame.directory}/{COMPONENT}",
        "config": msgspec.to_builtins(config),
        "listen": listen_of(frame.address),
        "golden": golden,
        "may_unpickle": served.may_unpickle,
        "trusted_types": served.trusted_types,
        "answer_bytes_most": ANSWER_BYTES_MOST,
        "enclosure": enclosure_of(association_of(served, frame.shape, runtimes), served.image),
    }


def listen_of(address: str) -> str:
    """Where it binds: what only its own machine can reach stays there."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    if parts.scheme != "tcp" or is_loopback(host):
        return address
    return f"tcp://[::]:{parts.port}" if ":" in host else f"tcp://0.0.0.0:{parts.port}"
