"""Tensors, raw as the Open Inference Protocol has them, and arrays."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.serving.errors import ComponentUnfit, InvalidValue
from modelyard.serving.launch import Spec
from modelyard.serving.tensors import DTYPES, from_wire, narrowed, to_wire, widened

NUMBERS = [name for name in DTYPES if name not in ("BYTES", "BF16", "BOOL")]


def meta(datatype: str, shape: Any, name: str = "x") -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("shape", [[], [3], [0], [2, 3], [2, 0, 4]])
def test_numbers_of_every_datatype_come_back_as_they_were(datatype: str, shape: list[int]) -> None:
    array = np.arange(int(np.prod(shape)), dtype=DTYPES[datatype]).reshape(shape)
    given, buffer = to_wire("x", array)
    assert given == meta(datatype, shape)
    back = from_wire(given, bytearray(buffer))
    assert back.dtype == DTYPES[datatype] and back.shape == tuple(shape)
    np.testing.assert_array_equal(back, array)


def test_numbers_are_the_received_memory_itself_and_writable() -> None:
    buffer = bytearray(np.arange(1000, dtype=np.float32).tobytes())
    array = from_wire(meta("FP32", [10, 100]), buffer)
    buffer[:4] = struct.pack("<f", 7.0)
    assert array[0, 0] == 7.0 and array.flags.writeable


def test_numbers_that_lie_askew_or_read_only_are_copied() -> None:
    raw = bytearray(b"\0" + np.arange(4, dtype=np.float64).tobytes())
    askew = from_wire(meta("FP64", [4]), memoryview(raw)[1:])
    assert askew.flags.aligned and askew.tolist() == [0, 1, 2, 3]
    assert from_wire(meta("FP64", [4]), bytes(raw[1:])).flags.writeable


def test_bool_is_a_byte_each() -> None:
    assert from_wire(meta("BOOL", [3]), b"\0\1\2").tolist() == [False, True, True]
    assert bytes(to_wire("x", np.array([True, False]))[1]) == b"\1\0"


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_bf16_is_the_nearest_of_two_neighbours(numbers: list[float]) -> None:
    array = np.array(numbers, np.float32)
    given, buffer = to_wire("x", array, Spec("x", "BF16"))
    assert given["datatype"] == "BF16" and len(buffer) == 2 * len(numbers)
    back = from_wire(given, bytearray(buffer))
    np.testing.assert_array_equal(np.isnan(back), np.isnan(array))
    finite = np.isfinite(array) & np.isfinite(back)
    with np.errstate(over="ignore"):
        step = np.maximum(np.abs(array[finite]) * 2.0**-8, np.float32(2.0**-133))
    assert (np.abs(back[finite] - array[finite]) <= step).all()
    np.testing.assert_array_equal(narrowed(back[finite]), narrowed(array[finite]))


def test_bf16_of_every_pattern_of_bits_comes_back() -> None:
    raw = np.arange(1 << 16, dtype=np.uint16)
    wide = widened(raw)
    numbers = ~np.isnan(wide)
    np.testing.assert_array_equal(narrowed(wide)[numbers], raw[numbers])
    assert np.isnan(widened(narrowed(wide[~numbers]))).all()


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_bytes_come_back_with_zeros_at_their_ends(elements: list[bytes]) -> None:
    given, buffer = to_wire("x", np.array([*elements, None], object)[:-1])
    assert given == meta("BYTES", [len(elements)])
    assert from_wire(given, buffer).tolist() == elements


@pytest.mark.parametrize(
    "value", [b"a\0", "grün", ["a", "b"], [b"a\0", b""], np.array(["a", "bc"]), [1.5, "x"]]
)
def test_texts_of_python_are_bytes(value: Any) -> None:
    given, buffer = to_wire("x", value)
    assert given["datatype"] == "BYTES"
    wanted = [value] if isinstance(value, (bytes, str)) else list(value)
    got = from_wire(meta("BYTES", [len(wanted)]), buffer).tolist()
    assert got == [one if isinstance(one, bytes) else str(one).encode() for one in wanted]


@pytest.mark.parametrize(
    ("given", "buffer", "field"),
    [
        (meta("FP32", [2]), b"1234", "inputs[x]"),
        (meta("FP32", [1 << 40, 1 << 40]), b"1234", "inputs[x]"),
        (meta("FP32", [-1]), b"", "inputs[x].shape"),
        (meta("FP32", [1.0]), b"1234", "inputs[x].shape"),
        (meta("FP32", [True]), b"1234", "inputs[x].shape"),
        (meta("FP32", "4"), b"1234", "inputs[x].shape"),
        (meta("FP32", [1] * 33), b"1234", "inputs[x].shape"),
        (meta("FP8", [1]), b"1", "inputs[x].datatype"),
        (meta(None, [1]), b"1", "inputs[x].datatype"),  # type: ignore[arg-type]
        ({"datatype": "FP32", "shape": [1]}, b"1234", "inputs"),
        (meta("BYTES", [2]), b"\1\0\0\0a", "inputs[x]"),
        (meta("BYTES", [1]), b"\xff\xff\xff\xff", "inputs[x]"),
        (meta("BYTES", [1]), b"\0\0\0\0more", "inputs[x]"),
        (meta("BYTES", [1 << 60]), b"\0\0\0\0", "inputs[x]"),
    ],
)  # fmt: skip
def test_a_tensor_that_is_none_is_refused_with_its_field(
    given: dict[str, Any], buffer: bytes, field: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        from_wire(given, buffer)
    assert refused.value.field == field


@given(st.lists(st.integers(-2, 5), max_size=4), st.sampled_from(sorted(DTYPES)), st.binary(max_size=64))
def test_whatever_comes_is_an_array_or_refused(shape: list[int], datatype: str, buffer: bytes) -> None:
    try:
        array = from_wire(meta(datatype, shape), buffer)
    except InvalidValue:
        return
    assert list(array.shape) == shape


def test_another_type_or_shape_than_declared_is_refused() -> None:
    spec = Spec("x", "FP32", (-1, 2))
    assert from_wire(meta("FP32", [3, 2]), bytes(24), spec).shape == (3, 2)
    for wrong, field in (
        (meta("FP64", [1, 2]), "inputs[x].datatype"),
        (meta("FP32", [2]), "inputs[x].shape"),
        (meta("FP32", [1, 3]), "inputs[x].shape"),
    ):
        with pytest.raises(InvalidValue) as refused:
            from_wire(wrong, bytes(16), spec)
        assert refused.value.field == field


@pytest.mark.parametrize(
    ("value", "datatype", "wanted"),
    [
        (np.array([1, 2], np.int32), "INT64", [1, 2]),
        (np.array([1, 2], np.int64), "FP32", [1.0, 2.0]),
        (np.array([1.5], np.float64), "FP32", [1.5]),
        (np.array([2.0]), "INT64", [2]),
        (np.array([True]), "INT64", [1]),
        (3, "INT64", [3]),
    ],
)
def test_outputs_become_the_declared_datatype_where_nothing_is_lost(
    value: Any, datatype: str, wanted: Any
) -> None:
    given, buffer = to_wire("y", value, Spec("y", datatype, (-1,)))
    assert given == meta(datatype, [len(wanted)], "y")
    assert from_wire(given, buffer).tolist() == wanted


@pytest.mark.parametrize(
    ("value", "datatype"),
    [([1.5], "INT64"), ([300], "UINT8"), (["a"], "FP32"), ([1 + 2j], "FP64"), ([None], "BYTES")],
)
def test_outputs_that_would_lose_something_are_refused(value: Any, datatype: str) -> None:
    with pytest.raises(ComponentUnfit) as refused:
        to_wire("y", np.array(value), Spec("y", datatype))
    assert refused.value.field == "outputs[y]"


def test_a_type_that_the_protocol_has_not_is_refused() -> None:
    with pytest.raises(ComponentUnfit, match="complex"):
        to_wire("y", np.array([1j]))
