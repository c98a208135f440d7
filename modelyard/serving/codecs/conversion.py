"""Which codec reads or writes a value: by its content type, else as model.yaml declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from modelyard.serving.codecs import images, plain, tables
from modelyard.serving.codecs.media import codec_of
from modelyard.serving.codecs.shaping import checked
from modelyard.serving.errors import ComponentUnfit, InvalidValue
from modelyard.serving.steps.numbers import DTYPES

Array = Any
Spec = Mapping[str, Any]
Parameters = dict[str, Any]

_DECODERS: dict[str, Callable[[Spec, list[bytes], str], Any]] = {
    "json": plain.decode_json, "text": plain.decode_text, "file": plain.decode_file, "image": images.decode,
    "table": tables.decode,
}  # fmt: skip
_ENCODERS: dict[str, Callable[[Spec, Any], tuple[Array, Parameters]]] = {
    "json": plain.encode_json, "text": plain.encode_text, "file": plain.encode_file, "image": images.encode,
    "table": tables.encode, "tensor": plain.encode_texts,
}  # fmt: skip


def decode(spec: Spec, array: Array, content_type: str = "") -> Any:
    """An input as the component, or its first step, takes it.

    `array` is what came: numbers, or an array of objects that are bytes. Numbers stay an array. Bytes become, by
    `content_type`, else by the declared codec: an array of str (text), what the JSON says, an array of pixels (image),
    an array in the order of the declared columns or, where the input is declared BYTES, {column: array} (table), bytes
    (file). Raises InvalidValue with the input's name as field.
    """
    field = f"inputs[{spec['name']}]"
    given = np.asarray(array)
    is_bytes = given.dtype.kind in "OSU"
    if not is_bytes:
        if spec["datatype"] == "BYTES":
            if spec.get("codec") == "image" and given.dtype.kind in "biuf":
                return given
            raise InvalidValue(f"it holds numbers, and BYTES are taken (codec {spec.get('codec')})", field)
        wanted = DTYPES.get(spec["datatype"])
        if wanted is not None and given.dtype != wanted:
            raise InvalidValue(
                f"it holds numbers of the type {given.dtype}, and {spec['datatype']} are taken", field
            )
        return checked(spec, given, field)
    codec = codec_of(content_type, field) if content_type else str(spec.get("codec") or "tensor")
    if codec == "tensor":
        if spec["datatype"] != "BYTES":
            raise InvalidValue(
                f"it holds BYTES, and {spec['datatype']} are taken; or say its content_type", field
            )
        return checked(spec, given, field)
    if spec["datatype"] == "BYTES" and not content_type:
        checked(spec, given, field)
    return _DECODERS[codec](spec, plain.items_of(given, field), content_type or "")


def encode(spec: Spec, value: Any) -> tuple[Array, Parameters]:
    """An output as it is sent: an array of its declared type (of bytes, where that is BYTES), and its parameters.

    Raises ComponentUnfit with the output's name as field: the component gave something else than model.yaml declares.
    """
    field = f"outputs[{spec['name']}]"
    try:
        if spec["datatype"] == "BYTES":
            return _ENCODERS[str(spec.get("codec") or "tensor")](spec, value)
        return plain.encode_numbers(spec, tables.stacked(spec, value)), {}
    except InvalidValue as error:
        raise ComponentUnfit(error.message, field) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise ComponentUnfit(f"it is {type(value).__name__}: {error}", field) from error
