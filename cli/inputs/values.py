"""What a model takes, what somebody gives for it, and what is sent: the values between `--input` and a call. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cli import exit_codes
from cli.errors import CommandError

if TYPE_CHECKING:
    from modelyard.oip.v2.inference_pb2 import ModelMetadataResponse


@dataclass(frozen=True, slots=True)
class Taken:
    """An input as a model takes it, or an output as it gives it; a size of −1 is any."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    content_type: str = ""
    """Of what may be given beside the tensor; image/* is any picture."""
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    is_optional: bool = False

    @classmethod
    def of(cls, tensor: ModelMetadataResponse.TensorMetadata) -> Taken:
        """As the server describes it."""
        said = {name: value.string_param for name, value in tensor.parameters.items()}
        return cls(
            name=tensor.name,
            datatype=tensor.datatype,
            shape=tuple(tensor.shape),
            content_type=said.get("content_type", ""),
            columns=_listed(said.get("columns", "")),
            labels=_listed(said.get("labels", "")),
            is_optional="optional" in tensor.parameters and tensor.parameters["optional"].bool_param,
        )

    @property
    def words(self) -> str:
        """For messages: x: FP32 [-1, 4] (a, b, c, d)."""
        names = ", ".join(self.columns[:8]) + (" …" if len(self.columns) > 8 else "")
        return f"{self.name}: {self.datatype} {list(self.shape)}" + (f" ({names})" if names else "")


def _listed(text: str) -> tuple[str, ...]:
    """A list in JSON, or words between commas."""
    if text.startswith("["):
        return tuple(map(str, json.loads(text)))
    return tuple(text.split(",")) if text else ()


@dataclass(frozen=True, slots=True)
class Sent:
    """A tensor that is sent: packed elements, and parameters such as content_type."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: bytes
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """What was given for an input: a text, or a file's content."""

    content: bytes
    source: str = ""
    """The file's name; empty: it stood on the command line."""

    @property
    def ending(self) -> str:
        return Path(self.source).suffix.lower()


def refused(taken: Taken, given: Given, message: str) -> CommandError:
    """What is given does not fit; says for which input, and from where."""
    where = f" ({given.source})" if given.source else ""
    return CommandError(
        f"input {taken.name}{where}: {message}",
        code=exit_codes.INVALID_SPECIFICATION,
        next_step=f"it takes {taken.words}",
    )
