"""Our own code as a task finds it: the package `modelyard` without what only services and clients need.

An environment has none of ours installed; and whatever an agent has, what looks at a component is of this service's
own version.
"""

from __future__ import annotations

import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

import modelyard
from modelyard.bundle import pack_directory

LEFT_OUT = ("__pycache__", "v1", "oip", "client", "training")
"""What only services and clients need."""


def packed(room: Path) -> tuple[bytes, str]:
    """A tar.gz and its sha256. Blocks; `room`: where a copy is made."""
    source = Path(modelyard.__file__).parent
    room.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=room, prefix="program-") as folder:
        target = Path(folder) / "program" / "modelyard"
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*LEFT_OUT))
        path, _ = pack_directory(target.parent, into=Path(folder))
        content = path.read_bytes()
    return content, sha256(content).hexdigest()
