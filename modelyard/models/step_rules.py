"""Of one value: what a step needs, by what is wanted of it, and what it makes, by what it is given. Pure.

What a step leaves open is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from modelyard.models.pictures import is_image
from modelyard.models.values import Codec

Shape = tuple[int, ...]
_REAL = ("FP16", "FP32", "FP64")


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a value at some place between the caller and the component."""

    name: str
    datatype: str | None = None
    shape: Shape | None = None
    codec: Codec | None = None
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    is_optional: bool = False


class Contradiction(ValueError):
    """A step cannot be where it is; `path` says which."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


Values = tuple[Known, ...]
Rule = Callable[[Known, Mapping[str, Any]], Known]


def unknown(value: Known, _: Mapping[str, Any]) -> Known:
    return Known(name=value.name, is_optional=value.is_optional)


def changed(value: Known, **changes: Any) -> Known:
    return msgspec.structs.replace(value, **changes)


def _same(value: Known, _: Mapping[str, Any]) -> Known:
    return value


def _as_pixels(value: Known, _: Mapping[str, Any]) -> Known:
    """Of pictures the pixels are given; other numbers as they are taken."""
    is_picture = value.shape is not None and is_image(value.shape)
    return changed(value, datatype="UINT8", codec=None) if is_picture else value


def as_real(value: Known, _: Mapping[str, Any]) -> Known:
    if value.datatype is None or value.datatype in _REAL:
        return changed(value, codec=None)
    return changed(value, datatype="FP32", codec=None)


def _before_cast(value: Known, options: Mapping[str, Any]) -> Known:
    if value.datatype not in (None, options["datatype"]):
        raise Contradiction(
            "", f"it makes {options['datatype']}, and {value.datatype} is wanted of {value.name}"
        )
    found = _as_pixels(value, options)
    return found if found.datatype == "UINT8" else changed(value, datatype=None, codec=None)


def _after_cast(value: Known, options: Mapping[str, Any]) -> Known:
    return changed(value, datatype=options["datatype"], codec=None)


def _sizes(value: Known, options: Mapping[str, Any], height: int, width: int) -> Known:
    if value.shape is None or len(value.shape) < 3:
        return value
    shape, at = list(value.shape), (-3, -2) if options["layout"] == "hwc" else (-2, -1)
    shape[at[0]], shape[at[1]] = height, width
    return changed(value, shape=tuple(shape))


def _any_size(value: Known, options: Mapping[str, Any]) -> Known:
    return _sizes(value, options, -1, -1)


def _after_size(value: Known, options: Mapping[str, Any]) -> Known:
    if options.get("fit") == "shorter":
        return _sizes(value, options, -1, -1)
    return _sizes(value, options, *options["size"])


def _channels(count: int) -> Rule:
    def rule(value: Known, options: Mapping[str, Any]) -> Known:
        if value.shape is None or len(value.shape) < 3:
            return value
        shape = list(value.shape)
        shape[-1 if options["layout"] == "hwc" else -3] = count
        return changed(value, shape=tuple(shape), codec=None)

    return rule


def _moved(value: Known, order: Sequence[int]) -> Known:
    if value.shape is None:
        return value
    if sorted(at % len(value.shape) for at in order) != list(range(len(value.shape))):
        raise Contradiction("", f"{value.name} has {len(value.shape)} axes")
    return changed(value, shape=tuple(value.shape[at] for at in order), codec=None, columns=())


def _after_transpose(value: Known, options: Mapping[str, Any]) -> Known:
    return _moved(value, options["axes"])


def _before_transpose(value: Known, options: Mapping[str, Any]) -> Known:
    axes = [at % len(options["axes"]) for at in options["axes"]]
    if value.shape is not None and len(axes) != len(value.shape):
        raise Contradiction("", f"{value.name} has {len(value.shape)} axes, and it moves {len(axes)}")
    return _moved(value, [axes.index(at) for at in range(len(axes))])


def _layout(result: str) -> Rule:
    def rule(value: Known, options: Mapping[str, Any]) -> Known:
        if value.shape is None or options["from"] == options["into"]:
            return value
        if len(value.shape) < 3:
            raise Contradiction("", f"{value.name} has {len(value.shape)} axes, and a picture has three")
        *batch, a, b, c = value.shape
        return changed(
            value, shape=(*batch, b, c, a) if options[result] == "hwc" else (*batch, c, a, b), codec=None
        )

    return rule


def _no_shape(value: Known, _: Mapping[str, Any]) -> Known:
    return changed(value, shape=None, codec=None, columns=())


def _after_reshape(value: Known, options: Mapping[str, Any]) -> Known:
    return changed(value, shape=tuple(options["shape"]), codec=None, columns=())


def _with_axis(value: Known, axis: int, size: int = 1) -> Known:
    if value.shape is None:
        return value
    at = axis + len(value.shape) + 1 if axis < 0 else axis
    return changed(value, shape=(*value.shape[:at], size, *value.shape[at:]), codec=None)


def _without_axis(value: Known, axis: int) -> Known:
    if value.shape is None:
        return value
    if not -len(value.shape) <= axis < len(value.shape):
        raise Contradiction("", f"{value.name} has {len(value.shape)} axes, and no axis {axis}")
    at = axis % len(value.shape)
    columns = () if at == len(value.shape) - 1 else value.columns
    return changed(value, shape=value.shape[:at] + value.shape[at + 1 :], columns=columns, codec=None)


def _before_one_hot(value: Known, options: Mapping[str, Any]) -> Known:
    words = tuple(map(str, options["categories"]))
    size = len(words) or options["size"]
    if value.shape and value.shape[-1] not in (-1, size):
        raise Contradiction("", f"it makes {size} columns, and {value.name} has {value.shape[-1]}")
    found = _without_axis(value, -1)
    return changed(
        found, datatype="BYTES" if words else "INT64", labels=() if words else found.columns, columns=()
    )


def _after_one_hot(value: Known, options: Mapping[str, Any]) -> Known:
    words = tuple(map(str, options["categories"]))
    size = len(words) or options["size"]
    return changed(_with_axis(value, -1, size), datatype="FP32", columns=words or value.labels, labels=())


def _before_select(value: Known, options: Mapping[str, Any]) -> Known:
    if not value.shape:
        return _no_shape(value, options)
    return changed(value, shape=(*value.shape[:-1], -1), columns=(), codec=None)


def _after_select(value: Known, options: Mapping[str, Any]) -> Known:
    wanted = options["columns"] if isinstance(options["columns"], list) else [options["columns"]]
    for name in wanted:
        if isinstance(name, str) and name not in value.columns:
            known = ", ".join(value.columns[:12]) or "no names of columns"
            raise Contradiction("", f"{value.name} has no column {name!r}; it has {known}")
    if not value.shape:
        return _no_shape(value, options)
    names = (
        tuple(one if isinstance(one, str) else value.columns[one] for one in wanted) if value.columns else ()
    )
    return changed(value, shape=(*value.shape[:-1], len(wanted)), columns=names)


def _before_argmax(value: Known, options: Mapping[str, Any]) -> Known:
    return changed(_with_axis(value, options["axis"], -1), datatype="FP32", labels=(), columns=value.labels)


def _after_argmax(value: Known, options: Mapping[str, Any]) -> Known:
    is_last = value.shape is not None and options["axis"] in (-1, len(value.shape) - 1)
    labels = value.labels or (value.columns if is_last else ())
    return changed(_without_axis(value, options["axis"]), datatype="INT64", labels=labels)


def _before_label(value: Known, _: Mapping[str, Any]) -> Known:
    return changed(value, datatype="INT64", codec=None)


def _after_label(value: Known, options: Mapping[str, Any]) -> Known:
    if not options["labels"] and not value.labels:
        raise Contradiction("", f"no labels of {value.name} are known; say labels: […]")
    return changed(value, datatype="BYTES", codec=None, labels=())


def _to(datatype: str) -> Rule:
    return lambda value, _: changed(value, datatype=datatype, codec=None, labels=())


RULES: dict[str, tuple[Rule, Rule]] = {
    "resize": (_any_size, _after_size),
    "centre_crop": (_any_size, _after_size),
    "normalize": (_as_pixels, as_real),
    "standardize": (_as_pixels, as_real),
    "scale": (_as_pixels, as_real),
    "clip": (_same, _same),
    "fill_missing": (_same, as_real),
    "exp": (_same, as_real),
    "log": (_same, as_real),
    "cast": (_before_cast, _after_cast),
    "transpose": (_before_transpose, _after_transpose),
    "layout": (_layout("from"), _layout("into")),
    "to_gray": (_channels(3), _channels(1)),
    "to_rgb": (_channels(3), _channels(3)),
    "reshape": (_no_shape, _after_reshape),
    "expand": (lambda v, o: _without_axis(v, o["axis"]), lambda v, o: _with_axis(v, o["axis"])),
    "squeeze": (lambda v, o: _with_axis(v, o["axis"]), lambda v, o: _without_axis(v, o["axis"])),
    "one_hot": (_before_one_hot, _after_one_hot),
    "select": (_before_select, _after_select),
    "lower": (_same, _same),
    "strip": (_same, _same),
    "truncate": (_same, _same),
    "softmax": (_same, as_real),
    "sigmoid": (_same, as_real),
    "argmax": (_before_argmax, _after_argmax),
    "threshold": (_to("FP32"), _to("BOOL")),
    "label": (_before_label, _after_label),
    "round": (_same, _same),
}
