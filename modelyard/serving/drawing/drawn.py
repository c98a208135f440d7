"""What was drawn, typed and bounded; and the finding of the values that are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelyard.serving.errors import AnswerTooLarge, ComponentUnfit

Array = Any
Values = Mapping[str, Any]

CONTENT_BYTES_MOST = 16 << 20


@dataclass(frozen=True, slots=True)
class Drawn:
    """A visualisation. Width and height in pixels; 0: it has none."""

    content_type: str
    content: bytes
    width: int = 0
    height: int = 0

    def __post_init__(self) -> None:
        if len(self.content) > CONTENT_BYTES_MOST:
            raise AnswerTooLarge(
                f"the drawing has {len(self.content)} bytes; at most {CONTENT_BYTES_MOST} are sent"
            )


@dataclass(frozen=True, slots=True)
class Scene:
    """The values of one call, and what model.yaml says of them."""

    inputs: Values
    outputs: Values
    tensors: Mapping[str, Mapping[str, Any]]

    def value(self, name: str) -> Any:
        """An output, else an input. Raises ComponentUnfit, which names what there is."""
        for values in (self.outputs, self.inputs):
            if name in values:
                return values[name]
        raise ComponentUnfit(
            f"there is no value {name!r}; there are {', '.join([*self.outputs, *self.inputs])}"
        )

    def names_of(self, name: str, field: str) -> tuple[str, ...]:
        """The columns or labels of a value."""
        return tuple(map(str, self.tensors.get(name, {}).get(field) or ()))

    def numbers(self, name: str, axes: tuple[int, ...]) -> tuple[str, Array]:
        """The named output, or the first whose numbers have so many axes; a leading axis of the batch is left away.

        Raises ComponentUnfit if there is none.
        """
        candidates = [name] if name else list(self.outputs)
        for candidate in candidates:
            array = as_numbers(self.value(candidate))
            while array is not None and array.ndim > max(axes):
                array = array[0] if array.shape[0] else None
            if array is not None and array.ndim in axes and array.size:
                return candidate, array
        what = f"{name} has" if name else "none of the outputs has"
        raise ComponentUnfit(f"{what} numbers with {' or '.join(map(str, axes))} axes that could be drawn")


def as_numbers(value: Any) -> Array | None:
    """As an array of numbers; None: it is none."""
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array if array.dtype.kind in "biuf" else None


def words_of(value: Any) -> list[str]:
    """As texts, one after the other."""
    return [
        item.decode(errors="replace") if isinstance(item, bytes) else str(item)
        for item in np.asarray(value, dtype=np.object_).reshape(-1)
    ]
