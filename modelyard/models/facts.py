"""What is known of a component, field by field, and what is not. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.models.values import AXES_MOST, DIMENSION_MOST, TENSORS_MOST, Format, Provenance

NAME_LENGTH = 300


class Fact(msgspec.Struct, frozen=True):
    """The value of one field, and how it is known."""

    value: Any
    provenance: Provenance
    why: str = ""


Facts = dict[str, Fact]
"""By path: runtime.python, inputs (names in their order), inputs[x].shape …"""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A field that nothing settles but its owner."""

    field: str
    question: str
    choices: tuple[str, ...] = ()
    why: str = ""
    is_probed: bool = False
    """A run on an example will tell."""


class NoTensor(ValueError):
    """What the files say of an input or an output no call could mean."""


class Inspection(msgspec.Struct, kw_only=True):
    """What a component's files say, without any of its code having run."""

    format: Format
    file: str = ""
    facts: Facts = {}
    refusals: list[str] = []
    """Why it can never be served as it is; each with what to do."""
    warnings: list[str] = []
    has_example: bool = False
    """It brings one of its own: whatever its files leave open, a run tells."""

    def know(self, field: str, value: Any, why: str) -> None:
        """Takes down what a file says of a field."""
        self.facts[field] = Fact(value, Provenance.INSPECTED, why)

    def tensor(
        self, side: str, name: str, datatype: str | None, shape: tuple[int, ...] | None, why: str
    ) -> None:
        """Takes down an input or an output ("inputs", "outputs"); None: the files do not say. Raises NoTensor."""
        known = self.facts.get(side)
        names = known.value if known is not None else ()
        if len(names) >= TENSORS_MOST:
            raise NoTensor(f"it has more than {TENSORS_MOST} {side}")
        if name in names or len(name) > NAME_LENGTH:
            raise NoTensor(f"the name {name[:80]!r} of one of its {side} is there twice, or too long")
        if shape is not None and not (
            len(shape) <= AXES_MOST and all(-1 <= size <= DIMENSION_MOST for size in shape)
        ):
            raise NoTensor(
                f"{side}[{name}] has more than {AXES_MOST} axes, or sizes that are no sizes: {str(shape[:4])[:80]}"
            )
        self.know(side, (*names, name), why)
        if datatype is not None:
            self.know(f"{side}[{name}].datatype", datatype, why)
        if shape is not None:
            self.know(f"{side}[{name}].shape", shape, why)
