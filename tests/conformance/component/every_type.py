"""Gives back what it is given: a tensor of each type that the protocol has."""

from collections.abc import Mapping
from typing import Any


class EveryType:
    def predict(self, **inputs: Any) -> Mapping[str, Any]:
        return {name.replace("in_", "out_", 1): value for name, value in inputs.items()}
