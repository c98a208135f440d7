"""How the process of a frame is started: its launch file, its argv, its secret (the edge)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import msgspec

from modelyard.v1 import framework_pb2, seat_pb2
from services.models.frames.secrets import secret_of
from services.models.frames.state import Frame
from services.models.frames.submissions import COMPONENT, EXAMPLE, PORT, imports_of
from services.models.seams import Served

LAUNCH_FILE = "frame.json"
ANSWER_BYTES_MOST = 256 << 20
LISTENING = 1
"""The sign that its process takes connections."""
MODULE = "modelyard.serving"


def launch_of(frame: Frame, served: Served, key: bytes) -> seat_pb2.LaunchSeat:
    """The command for its present epoch."""
    content = json.dumps(document_of(frame, served))
    return seat_pb2.LaunchSeat(
        epoch=frame.epoch,
        processes=[process_of(frame, secret_of(key, frame.number, frame.epoch))],
        files=[framework_pb2.RenderedFile(path=LAUNCH_FILE, content=content)],
        signs=[seat_pb2.SignSpec(id=LISTENING, listening=PORT)],
        imports=imports_of(served) if frame.shape.runtime == "environment" else (),
    )


def process_of(frame: Frame, secret: str) -> framework_pb2.RenderedProcess:
    """Where frames in containers differ: see `services.models.association`."""
    env = {"MODELYARD_FRAME": f"{frame.directory}/{LAUNCH_FILE}", "MODELYARD_FRAME_SECRET": secret}
    return framework_pb2.RenderedProcess(argv=["python", "-m", MODULE], env=env)


def document_of(frame: Frame, served: Served) -> dict[str, Any]:
    """What the frame is to load, and where it listens."""
    golden = None
    if served.golden_digest and served.golden_example:
        golden = {"inputs": f"{frame.directory}/{EXAMPLE}", "digest": served.golden_digest}
    return {
        "component": f"{frame.directory}/{COMPONENT}",
        "config": msgspec.to_builtins(served.config),
        "listen": listen_of(frame.address),
        "golden": golden,
        "may_unpickle": served.may_unpickle,
        "answer_bytes_most": ANSWER_BYTES_MOST,
    }


def listen_of(address: str) -> str:
    """Where it binds: what only its own machine can reach stays there."""
    parts = urlsplit(address)
    if parts.scheme != "tcp" or parts.hostname in ("127.0.0.1", "::1", "localhost"):
        return address
    return f"tcp://0.0.0.0:{parts.port}"
