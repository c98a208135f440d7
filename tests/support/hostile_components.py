"""Components that mean harm, each as a directory; by name, with the reason that a yard gives, and a word of it."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Hostile(NamedTuple):
    """What is made, and what becomes of it."""

    make: Callable[[Path], None]
    reason: str
    word: str


class Command:
    """What unpickling calls."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def _exported(folder: Path) -> None:
    """A sound graph that nobody trusts."""
    value = {"dtype": 7, "sizes": [{"as_int": 4}]}
    spec = {"arg": {"as_tensor": {"name": "x"}}}
    signature = {"input_specs": [{"user_input": spec}], "output_specs": [{"user_output": spec}]}
    graph = {"graph_module": {"graph": {"tensor_values": {"x": value}}, "signature": signature}}
    with zipfile.ZipFile(folder / "m.pt2", "w") as archive:
        archive.writestr("m/models/model.json", json.dumps(graph))
        archive.writestr("m/data/sample_inputs/model.pt", pickle.dumps({"x": 1}))


def _exported_command(folder: Path) -> None:
    _exported(folder)
    with zipfile.ZipFile(folder / "m.pt2", "a") as archive:
        archive.writestr("m/data/constants/opaque_obj_0", pickle.dumps(Command("touch /tmp/taken")))


def _pickled_command(folder: Path) -> None:
    (folder / "m.pkl").write_bytes(pickle.dumps(Command("touch /tmp/taken")))


def _bomb(folder: Path) -> None:
    with (
        zipfile.ZipFile(folder / "m.skops", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("schema.json", "w") as file,
    ):
        for _ in range(80):
            file.write(bytes(1 << 20))


def _overlapping(folder: Path) -> None:
    header = json.dumps(
        {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}
    ).encode()
    (folder / "m.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"abcd")


def _arguments(folder: Path) -> None:
    names = ",".join(f"a{number}: Tensor" for number in range(100_000))
    with zipfile.ZipFile(folder / "m.pt", "w") as archive:
        archive.writestr("m/code/__torch__.py", f"class A:\n  def forward(self, {names}): ...\n")


def _deep(folder: Path) -> None:
    (folder / "m.json").write_bytes(b'{"learner": ' + b"[" * 1_000_000)


BY_NAME = {
    "exported": Hostile(_exported, "PICKLE_NOT_TRUSTED", "torch.export"),
    "exported-command": Hostile(_exported_command, "CANNOT_BE_SERVED", "system"),
    "pickled-command": Hostile(_pickled_command, "CANNOT_BE_SERVED", "system"),
    "bomb": Hostile(_bomb, "FORMAT_UNKNOWN", "more than"),
    "overlapping": Hostile(_overlapping, "FORMAT_UNKNOWN", "lies over"),
    "arguments": Hostile(_arguments, "FORMAT_UNKNOWN", "256 inputs"),
    "deep": Hostile(_deep, "FORMAT_UNKNOWN", "no model of XGBoost"),
}


def packed(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """A tar.gz with one member of this name, as no tool of ours would pack it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        archive.addfile(member)
    return file.getvalue()


PACKED = {
    "climbing": packed("../../taken"),
    "device": packed("m.onnx", tarfile.CHRTYPE),
    "link-out": packed("m.onnx", tarfile.SYMTYPE, "/etc/passwd"),
}
"""Whole components as archives, by name."""
