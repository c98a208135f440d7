"""What a step may say: options, their kinds and their limits. Pure, standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PRE, POST, VISUALISE = "pre", "post", "visualise"
BOTH = (PRE, POST)

SIDE_MOST = 16_384
"""Of a picture, in pixels."""
LAYOUTS = ("hwc", "chw")
DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
)  # fmt: skip
"""Those that numpy has."""
PNG, SVG, HTML = "image/png", "image/svg+xml", "text/html"
VEGA_LITE = "application/vnd.vegalite.v5+json"


PILLOW = ("pillow>=11",)
CHARTS = ("vl-convert-python>=1.7",)
SANITISER = ("nh3>=0.2.18",)


@dataclass(frozen=True, slots=True)
class Option:
    """One field of a step. `kind` is a key of `KINDS`."""

    name: str
    kind: str
    what: str
    default: Any = None
    is_required: bool = False
    least: float = -1e308
    most: float = 1e308
    words: tuple[str, ...] = ()
    length: int = 0
    """Of a list that has to have so many items; 0: any."""


KINDS = {
    "flag": "true or false",
    "integer": "an integer",
    "number": "a number",
    "text": "a text",
    "word": "a word",
    "name": "the name of a value",
    "names": "a name, or a list of names",
    "texts": "a list of texts",
    "integers": "a list of integers",
    "numbers": "a number, or a list of numbers",
    "columns": "a list of names or positions",
}
"""In words."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a name stands for."""

    name: str
    what: str
    options: tuple[Option, ...] = ()
    phases: tuple[str, ...] = BOTH
    requirements: tuple[str, ...] = ()
    """What the frame's environment needs for it."""

    def option(self, name: str) -> Option | None:
        """By its name; None: it has none such."""
        return next((one for one in self.options if one.name == name), None)

    def defaults(self) -> dict[str, Any]:
        """Of its options that need not be given."""
        return {one.name: one.default for one in self.options if not one.is_required}


def mistake(option: Option, value: Any) -> str:
    """What is wrong with a value of an option; empty: nothing."""
    wanted = KINDS[option.kind]
    if option.kind in ("integers", "numbers", "names", "texts", "columns"):
        items = value if isinstance(value, (list, tuple)) else [value]
        if not isinstance(value, (list, tuple)) and option.kind not in ("numbers", "names", "columns"):
            return f"it should be {wanted}"
        if option.length and len(items) != option.length:
            return f"it has {len(items)} items, and should have {option.length}"
        if option.is_required and not items:
            return "it is empty"
        if len(items) > 10_000:
            return f"it has {len(items)} items; at most 10000 are taken"
        return next((wrong for item in items if (wrong := _item(option, item, wanted))), "")
    return _item(option, value, wanted)


_SCALARS: dict[str, tuple[type, ...]] = {
    "flag": (bool,), "integer": (int,), "integers": (int,), "number": (int, float), "numbers": (int, float),
    "text": (str,), "word": (str,), "name": (str,), "names": (str,), "texts": (str, int, float),
    "columns": (str, int),
}  # fmt: skip


def _item(option: Option, value: Any, wanted: str) -> str:
    if type(value) not in _SCALARS[option.kind]:
        return f"it should be {wanted}"
    if isinstance(value, str):
        if option.words and value not in option.words:
            return f"{value[:80]!r} is none of its words"
        return "" if len(value) <= 1_000 else f"it has {len(value)} characters; at most 1000 are taken"
    if not isinstance(value, bool) and not option.least <= value <= option.most:
        return f"it is {value}, and should be within {option.least:g} … {option.most:g}"
    return ""
