"""Codecs: pictures, tables, JSON, texts and files become what model.yaml declares; hostile ones are refused."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from modelyard.serving.codecs import decode, encode
from modelyard.serving.errors import ComponentUnfit, InvalidValue, LibraryMissing, library

STREAM = "application/vnd.apache.arrow.stream"


def a_spec(datatype: str, shape: list[int], codec: str, **more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": shape, "codec": codec, **more}


def a_box(*items: bytes) -> Any:
    found = np.empty(len(items), object)
    found[:] = items
    return found


def a_picture(form: str = "PNG", size: tuple[int, int] = (6, 4), mode: str = "RGB") -> bytes:
    content = io.BytesIO()
    Image.new(mode, size, 200 if mode == "L" else (10, 20, 30)[: len(mode)]).save(content, form)
    return content.getvalue()


def a_stream(**columns: Any) -> bytes:
    table = pa.table(columns)
    sink = io.BytesIO()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("shape", "datatype", "expected"),
    [
        ([-1, -1, -1, 3], "UINT8", (1, 4, 6, 3)), ([-1, 3, -1, -1], "FP32", (1, 3, 4, 6)),
        ([4, 6, 3], "UINT8", (4, 6, 3)),
        ([3, 4, 6], "FP32", (3, 4, 6)), ([1, 1, 4, 6], "FP32", (1, 1, 4, 6)), ([4, 6], "UINT8", (4, 6)),
        ([1], "BYTES", (4, 6, 3)), ([4, 6, 4], "UINT8", (4, 6, 4)),
    ],
)  # fmt: skip
def test_picture_comes_in_the_declared_order_of_axes(
    shape: list[int], datatype: str, expected: tuple[int, ...]
) -> None:
    for form in ("PNG", "BMP", "GIF", "WEBP", "JPEG"):
        found = decode(a_spec(datatype, shape, "image"), a_box(a_picture(form)), "image/png")
        assert found.shape == expected, form
    pixels = decode(a_spec("UINT8", [-1, -1, 3], "image"), a_box(a_picture()))
    assert pixels[0, 0].tolist() == [10, 20, 30]


def test_several_pictures_are_one_batch_if_they_are_of_one_size() -> None:
    spec = a_spec("UINT8", [-1, -1, -1, 3], "image")
    assert decode(spec, a_box(a_picture(), a_picture("JPEG"))).shape == (2, 4, 6, 3)
    with pytest.raises(InvalidValue, match="one size at a time"):
        decode(spec, a_box(a_picture(), a_picture(size=(9, 9))))
    with pytest.raises(InvalidValue, match="let the model resize it"):
        decode(a_spec("UINT8", [-1, 224, 224, 3], "image"), a_box(a_picture()))


def test_picture_is_turned_as_its_camera_says() -> None:
    content = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(content, "JPEG", exif=exif)
    assert decode(a_spec("UINT8", [-1, -1, 3], "image"), a_box(content.getvalue())).shape == (6, 4, 3)


def a_bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that says to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"GIF8", b"\x89PNG\r\n\x1a\n", a_picture()[:40], a_picture("JPEG")[:100], a_bomb(20_000, 20_000),
        a_bomb(9_000, 9_000), a_bomb(1 << 30, 1 << 30), a_bomb(0, 10), b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n", b"BM" + b"\xff" * 60, b"RIFF\xff\xff\xff\xffWEBPVP8X" + b"\xff" * 50,
    ],
)  # fmt: skip
def test_broken_and_hostile_pictures_are_refused_before_they_are_unpacked(content: bytes) -> None:
    with pytest.raises(InvalidValue) as refused:
        decode(a_spec("UINT8", [-1, -1, -1, 3], "image"), a_box(content), "image/png")
    assert refused.value.field == "inputs[x]"


@settings(deadline=None, max_examples=80)
@given(st.binary(max_size=80), st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "WEBP"]))
def test_damaged_pictures_are_pixels_or_refused(damage: bytes, form: str) -> None:
    content = bytearray(a_picture(form))
    content[len(content) // 3 : len(content) // 3 + len(damage)] = damage
    try:
        assert decode(a_spec("UINT8", [-1, -1, 3], "image"), a_box(bytes(content))).ndim == 3
    except InvalidValue:
        return


IRIS = a_spec("FP32", [-1, 2], "table", columns=["a", "b"])
MIXED = a_spec("BYTES", [1], "table")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"c,b,a\nx,2,1\ny,4,3\n", "text/csv"), (b"\xef\xbb\xbfb;a\n2;1\n4;3\n", "text/csv"), (b"1\t2\n3\t4\n", ""),
        (b'[{"b": 2, "a": 1}, {"a": 3, "b": 4}]', ""), (b"[[1, 2], [3, 4]]", "application/json"),
        (b'{"columns": ["b", "a"], "data": [[2, 1], [4, 3]]}', "application/json"),
        (b'{"a": [1, 3], "b": ["2", 4]}', ""),
        (a_stream(b=[2, 4], a=[1.0, 3.0]), STREAM), (a_stream(b=["2", "4"], a=[1, 3], c=[None, "x"]), ""),
    ],
)  # fmt: skip
def test_table_comes_in_the_order_of_the_declared_columns(content: bytes, kind: str) -> None:  # S2.2
    assert decode(IRIS, a_box(content), kind).tolist() == [[1, 2], [3, 4]]


def test_table_of_mixed_columns_is_arrays_by_name() -> None:
    for content in (b"n,t,f\n1,a,\n2,b,0.5\n", a_stream(n=[1, 2], t=["a", "b"], f=[None, 0.5])):
        found = decode(MIXED, a_box(content))
        assert found["n"].tolist() == [1, 2] and found["n"].dtype == np.int64
        assert found["t"].tolist() == ["a", "b"]
        assert np.isnan(found["f"][0]) and found["f"][1] == 0.5
    found = decode({**MIXED, "columns": ["t"]}, a_box(b'{"t": [true, false], "n": [1, 2]}'))
    assert list(found) == ["t"] and found["t"].dtype == np.bool_


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"a,c\n1,2\n", "text/csv", "the column b is missing; there are a, c"),
        (b"a,b\n1,2\n3,tall\n", "text/csv", "row 3, column b: 'tall' is no number"),
        (b"a,b\n1\n", "text/csv", "line 2 has 1 cells"),
        (b'a,b\n"1' + b"x" * 200_000, "text/csv", "line"),
        (b"a,b\n1,2\x00\n", "text/csv", ""),
        (b"\xff\xfe", "text/csv", "neither Arrow nor a text"),
        (b"", "", "empty"),
        (b"3", "application/json", "it is no table"),
        (b'[{"a": 1}, 2]', "application/json", "row 1 is no list"),
        (b"[" * 100_000, "application/json", "no JSON"),
        (b'{"a": 1e999, "b": {}}', "application/json", "is no number"),
        (b'{"columns": ["a", "b"], "data": [[1]]}', "application/json", "row 1 has 1 cells"),
        (b"\xff\xff\xff\xff\x10\x00", STREAM, "no table in Arrow"),
        (b"ARROW1\0\0", "application/vnd.apache.arrow.file", "no table in Arrow"),
        (a_stream(a=[1, 2], b=["x", "y"]), STREAM, "'x' is no number"),
        (a_stream(a=[1], c=[1]), STREAM, "the column b is missing"),
        (a_stream(a=pa.array([{"z": 1}]), b=[1]), STREAM, "is no number"),
        (a_stream(a=pa.array([0], pa.timestamp("ms")), b=[1]), STREAM, "numbers, booleans and texts are taken"),
        (a_stream(a=[1, 2], b=[1, 2])[:-200], STREAM, "no table in Arrow"),
        (b"x", "application/zip", "nothing reads the content type 'application/zip'"),
    ],
)  # fmt: skip
def test_wrong_tables_are_refused_with_row_and_column(content: bytes, kind: str, words: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        decode(IRIS, a_box(content), kind)
    assert words in refused.value.message, refused.value.message
    assert refused.value.field.startswith("inputs[x]")


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_damaged_tables_in_arrow_are_tables_or_refused(at: int, damage: bytes) -> None:
    content = bytearray(a_stream(a=[1, 2, 3], b=["x", None, "z"]))
    content[at : at + len(damage)] = damage
    for spec in (IRIS, MIXED):
        try:
            decode(spec, a_box(bytes(content)), STREAM)
        except InvalidValue:
            continue


CELLS = st.one_of(st.integers(-(1 << 40), 1 << 40), st.floats(allow_nan=False, allow_infinity=False))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8))
def test_rows_are_the_same_as_csv_json_and_arrow(rows: list[tuple[float, float]]) -> None:
    spec = a_spec("FP64", [-1, 2], "table", columns=["a", "b"])
    expected = np.asarray(rows, np.float64)
    csv = "a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in rows)
    stream = a_stream(b=[float(b) for _, b in rows], a=[float(a) for a, _ in rows])
    for content in (csv.encode(), json.dumps([list(row) for row in rows]).encode(), stream):
        assert np.array_equal(decode(spec, a_box(content)), expected)


def test_json_texts_and_files() -> None:
    assert decode(a_spec("BYTES", [1], "json"), a_box(b'{"a": [1]}')) == {"a": [1]}
    assert decode(a_spec("BYTES", [-1], "json"), a_box(b"1", b'"b"')) == [1, "b"]
    assert decode(a_spec("INT64", [-1, 2], "tensor"), a_box(b"[[1, 2]]"), "application/json").tolist() == [
        [1, 2]
    ]
    assert decode(a_spec("BYTES", [-1], "text"), a_box("ü".encode(), b"b")).tolist() == ["ü", "b"]
    assert decode(a_spec("BYTES", [1], "file"), a_box(b"\x00\xff")) == b"\x00\xff"
    for spec, content, kind in (
        (a_spec("BYTES", [1], "text"), b"\xff", ""), (a_spec("BYTES", [1], "json"), b"{", ""),
        (a_spec("INT64", [-1], "tensor"), b"[1.5]", "application/json"), (a_spec("INT64", [-1], "tensor"), b"1", ""),
        (a_spec("FP32", [-1, 2], "tensor"), b"[[1],[2,3]]", "application/json"),
        (a_spec("FP32", [1], "tensor"), b"x", "text/plain"),
    ):  # fmt: skip
        with pytest.raises(InvalidValue):
            decode(spec, a_box(content), kind)


def test_tensors_are_checked_as_they_are() -> None:
    spec = a_spec("FP32", [-1, 2], "tensor")
    value = np.zeros((3, 2), np.float32)
    assert decode(spec, value) is value
    for wrong in (np.zeros((3, 3), np.float32), np.zeros(2, np.float32), np.zeros((3, 2))):
        with pytest.raises(InvalidValue):
            decode(spec, wrong)


@settings(deadline=None, max_examples=60)
@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_picture_there_and_back_is_the_same(pixels: Any) -> None:
    array, parameters = encode(a_spec("BYTES", [1], "image"), pixels)
    assert parameters == {"content_type": "image/png"}
    assert np.array_equal(decode(a_spec("UINT8", [-1, -1, 3], "image"), array, "image/png"), pixels)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(JSONS)
def test_json_there_and_back_is_the_same(value: Any) -> None:
    spec = a_spec("BYTES", [1], "json")
    array, parameters = encode(spec, value)
    assert decode(spec, array, parameters["content_type"]) == value


def test_outputs_become_what_is_declared(tmp_path: Path) -> None:
    assert encode(a_spec("FP32", [-1], "tensor"), [1, 2])[0].dtype == np.float32
    assert encode(a_spec("INT64", [1], "tensor"), 5)[0].tolist() == [5]
    assert encode(a_spec("FP64", [-1, 2], "table", columns=["b", "a"]), {"a": [1, 2], "b": [3, 4]})[
        0
    ].tolist() == [[3, 1], [4, 2]]
    assert encode(a_spec("BYTES", [-1], "text"), ["a", "ü"])[0].tolist() == [b"a", "ü".encode()]
    array, parameters = encode(
        a_spec("BYTES", [1], "json"), {"n": np.arange(2), "nan": float("nan"), "s": {1}}
    )
    assert json.loads(array[0]) == {"n": [0, 1], "nan": None, "s": [1]}
    array, parameters = encode(a_spec("BYTES", [1], "table"), [{"a": 1, "b": "x"}, {"a": 2, "b": None}])
    assert parameters == {"content_type": STREAM}
    assert pyarrow.ipc.open_stream(array[0]).read_all().to_pydict() == {"a": [1, 2], "b": ["x", None]}
    (tmp_path / "f").write_bytes(b"content")
    assert encode(a_spec("BYTES", [1], "file"), tmp_path / "f")[0].tolist() == [b"content"]


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        (a_spec("INT64", [-1], "tensor"), [1.5]), (a_spec("FP32", [-1], "tensor"), ["a"]),
        (a_spec("FP32", [-1, 3], "tensor"), [[1, 2]]), (a_spec("UINT8", [-1], "tensor"), [300]),
        (a_spec("BYTES", [1], "image"), b"no picture"), (a_spec("BYTES", [1], "image"), np.zeros((2, 2, 7))),
        (a_spec("BYTES", [1], "json"), object()), (a_spec("FP32", [-1, 2], "table", columns=["a", "z"]), {"a": [1]}),
    ],
)  # fmt: skip
def test_outputs_that_are_something_else_are_refused(spec: dict[str, Any], value: Any) -> None:
    with pytest.raises(ComponentUnfit) as refused:
        encode(spec, value)
    assert refused.value.field == "outputs[x]"


def test_absent_library_is_named_with_what_to_do() -> None:
    with pytest.raises(LibraryMissing, match=r"a picture needs pillow: add it to runtime.requirements"):
        library("no_such_library_at_all", "pillow", "inputs[x]", "a picture")
