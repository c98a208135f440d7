"""What people have – rows, pictures, arrays, texts – as tensors of a model, and answers as they are read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import exit_codes
from cli.errors import CommandError, UsageError
from cli.inputs.given import read_inputs
from cli.inputs.values import Sent, Taken
from cli.output.answers import document, read_answer, remarks, save, table
from modelyard import packing
from modelyard.oip.v2 import inference_pb2 as pb

IRIS = Taken("x", "FP32", (-1, 4), columns=("sl", "sw", "pl", "pw"))
VECTOR = Taken("v", "INT64", (-1,))
TEXTS = Taken("t", "BYTES", (-1,), "text/plain")
PICTURE = Taken("img", "UINT8", (-1, -1, -1, 3), "image/*")
FRAME = Taken("f", "BYTES", (1,), "application/vnd.apache.arrow.stream", columns=("a", "b"))
DATA = Taken("d", "BYTES", (1,), "application/json")
FILE = Taken("file", "BYTES", (1,), "application/octet-stream")


def one(taken: Taken, what: str) -> Sent:
    [sent] = read_inputs([what], [taken])
    return sent


def as_array(sent: Sent) -> Any:
    kinds = {"FP32": "<f4", "INT64": "<i8", "FP64": "<f8", "UINT8": "u1"}
    return np.frombuffer(sent.data, kinds[sent.datatype]).reshape(sent.shape)


def elements(sent: Sent) -> list[bytes]:
    return packing.unpack("BYTES", sent.data)


def test_rows_of_a_csv_go_by_their_names(tmp_path: Path) -> None:  # S2.5
    file = tmp_path / "rows.csv"
    file.write_text("species,pw,pl,sw,sl\na,0.2,1.4,3.5,5.1\nb,,5.1,1.9,5.8\n")
    array = as_array(one(IRIS, f"x=@{file}"))
    assert np.allclose(array, [[5.1, 3.5, 1.4, 0.2], [5.8, 1.9, 5.1, np.nan]], equal_nan=True)
    assert as_array(one(IRIS, f"@{file}")).shape == (2, 4)


@pytest.mark.parametrize(
    "what",
    [
        "x=5.1,3.5,1.4,0.2", "x=[5.1, 3.5, 1.4, 0.2]", "x=[[5.1, 3.5, 1.4, 0.2]]", "[5.1, 3.5, 1.4, 0.2]",
        'x={"sl": 5.1, "sw": 3.5, "pl": 1.4, "pw": 0.2}', 'x=[{"pw": 0.2, "sl": 5.1, "sw": 3.5, "pl": 1.4}]',
        'x={"columns": ["pw", "sl", "sw", "pl"], "data": [[0.2, 5.1, 3.5, 1.4]]}',
        'x={"sl": [5.1], "sw": [3.5], "pl": [1.4], "pw": ["0.2"]}', '{"x": [[5.1, 3.5, 1.4, 0.2]]}',
    ],
)  # fmt: skip
def test_one_row_can_be_written_in_many_ways(what: str) -> None:
    assert np.allclose(as_array(one(IRIS, what)), [[5.1, 3.5, 1.4, 0.2]])


def test_files_of_arrays_and_tables_are_read(tmp_path: Path) -> None:
    rows = np.arange(8).reshape(2, 4)
    np.save(tmp_path / "t.npy", rows.astype(">f8"))
    table_ = pa.table({name: rows[:, at] for at, name in enumerate(("pw", "pl", "sw", "sl"))})
    with pyarrow.ipc.new_stream(str(tmp_path / "f.arrow"), table_.schema) as writer:
        writer.write_table(table_)
    (tmp_path / "d.json").write_text(json.dumps(rows.tolist()))
    assert as_array(one(IRIS, f"x=@{tmp_path}/t.npy")).tolist() == rows.tolist()
    assert as_array(one(IRIS, f"x=@{tmp_path}/d.json")).tolist() == rows.tolist()
    assert as_array(one(IRIS, f"x=@{tmp_path}/f.arrow")).tolist() == rows[:, ::-1].tolist()
    np.save(tmp_path / "t.npy", np.array(["a", "über"]))
    assert elements(one(TEXTS, f"t=@{tmp_path}/t.npy")) == [b"a", "über".encode()]


def test_pictures_tables_and_files_go_as_they_are(tmp_path: Path) -> None:
    for name in ("a.png", "b.csv", "c.bin", "d.json"):
        (tmp_path / name).write_bytes(b'{"a": [1], "b": ["x"]}' if name == "d.json" else b"a,b\n1,x\n")
    sent = one(PICTURE, f"img=@{tmp_path}/a.png")
    assert (sent.datatype, sent.shape, sent.parameters) == ("BYTES", (1,), {"content_type": "image/png"})
    assert one(FRAME, f"f=@{tmp_path}/b.csv").parameters == {"content_type": "text/csv"}
    assert one(FRAME, f"f=@{tmp_path}/d.json").parameters == {"content_type": "application/json"}
    assert elements(one(FILE, f"file=@{tmp_path}/c.bin")) == [b"a,b\n1,x\n"]


def test_texts_are_taken_as_they_are_written(tmp_path: Path) -> None:
    assert elements(one(TEXTS, "t=hello, you")) == [b"hello, you"]
    assert elements(one(TEXTS, "t=@@home")) == [b"@home"]
    assert elements(one(TEXTS, 't=["a", "b"]')) == [b"a", b"b"]
    assert elements(one(TEXTS, "t=[open")) == [b"[open"]
    assert elements(one(DATA, 'd={"a": 1}')) == [b'{"a": 1}']
    assert elements(one(DATA, "d=plain")) == [b'"plain"']
    (tmp_path / "t.txt").write_text("one\ntwo\n")
    assert elements(one(TEXTS, f"t=@{tmp_path}/t.txt")) == [b"one\ntwo\n"]
    assert as_array(one(VECTOR, "v=7")).tolist() == [7]


def test_several_inputs_come_from_one_file(tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    file.write_text(json.dumps({"x": [[1, 2, 3, 4]], "t": "hi"}))
    sent = read_inputs([f"@{file}", "v=1,2"], [IRIS, TEXTS, VECTOR])
    assert [item.name for item in sent] == ["x", "t", "v"]


@pytest.mark.parametrize(
    ("taken", "content", "name", "words"),
    [
        (IRIS, "sl,sw,pl\n1,2,3\n", "r.csv", "the column pw is missing; there are sl, sw, pl"),
        (IRIS, "sl,sw,pl,pw\n1,2,3,4\n1,2,tall,4\n", "r.csv", "row 3, column pl: 'tall' is no number"),
        (IRIS, "sl,sw,pl,pw\n1,2,3\n", "r.csv", "line 2 has 3 cells, and the first has 4"),
        (IRIS, "", "r.csv", "there are no rows"),
        (IRIS, "sl,sw,pl,pw\n", "r.csv", "there are no rows"),
        (IRIS, "1,2,3\n", "r.csv", "3 columns without names, and 4 are needed: sl, sw, pl, pw"),
        (IRIS, "[[1,2],[3]]", "r.json", "unlike length"),
        (IRIS, "[[1,2,3,", "r.json", "line 1, column 9 is no JSON"),
        (IRIS, "[" * 100_000, "r.json", "JSON"),
        (IRIS, "[[1,2,3]]", "r.json", "the shape [1, 3], and [-1, 4] is taken"),
        (IRIS, '[[1,2,3,"x"]]', "r.json", "element 3: 'x' is no number"),
        (IRIS, "\x93NUMPY", "r.npy", "no npy file"),
        (IRIS, "PAR1", "r.parquet", "save it as .arrow or .csv"),
        (IRIS, "x", "r.xlsx", "files ending in '.xlsx' are not known"),
        (IRIS, "ARROW1 no", "r.arrow", "no table in Arrow"),
        (VECTOR, "v\n1\n2.5\n", "r.csv", "row 3, column v: '2.5' is no whole number"),
        (VECTOR, "v\n9223372036854775808\n", "r.csv", "does not fit into INT64"),
        (FRAME, "a,c\n1,2\n", "r.csv", "the column b is missing"),
        (TEXTS, "x", "r.png", "it is a picture, and text/plain is taken"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_where_it_is(
    tmp_path: Path, taken: Taken, content: str, name: str, words: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content.encode("latin1"))
    with pytest.raises(CommandError) as refused:
        one(taken, f"{taken.name}=@{file}")
    assert words in refused.value.message, refused.value.message
    assert str(file) in refused.value.message
    assert refused.value.code == exit_codes.INVALID_SPECIFICATION
    assert taken.words in refused.value.next_step


def test_numbers_between_commas_are_one_row() -> None:
    with pytest.raises(CommandError, match="row 1, column pl: 'x' is no number"):
        one(IRIS, "x=1,2,x,4")


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ([], "the model needs x: FP32 [-1, 4]"),
        (["x=1,2,3,4"], "the model needs t: BYTES [-1]"),
        (["x=1,2,3,4", "x=1,2,3,4"], "given twice"),
        (["z=1"], "no input 'z'"),
        (["5"], "say for which input '5' is"),
        (["x=@/nowhere.csv"], "No such file"),
    ],
)
def test_what_is_asked_wrongly_says_how_to_ask(given_: list[str], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_inputs(given_, [IRIS, TEXTS])
    assert words in refused.value.message


def test_description_of_the_server_is_understood() -> None:
    tensor = pb.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1, 2])
    tensor.parameters["columns"].string_param = '["a, b", "c"]'
    tensor.parameters["labels"].string_param = "x,y"
    tensor.parameters["optional"].bool_param = True
    assert Taken.of(tensor) == Taken("x", "FP32", (-1, 2), "", ("a, b", "c"), ("x", "y"), True)


def an_answer() -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(model_name="iris")
    for name, datatype, shape, data in (
        ("label", "BYTES", [2], packing.pack("BYTES", [b"setosa", b"other"])),
        ("p", "FP32", [2, 2], np.array([[0.25, 0.75], [np.nan, 1]], "<f4").tobytes()),
        ("viz:../bar", "BYTES", [1], packing.pack("BYTES", [b"\x89PNG"])),
        ("deep", "INT64", [1, 1, 2], np.array([1, 2], "<i8").tobytes()),
    ):
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(data)
    response.outputs[2].parameters["content_type"].string_param = "image/png"
    return response


def test_answer_is_a_table_with_remarks_and_json() -> None:
    outputs = read_answer(an_answer())
    titles, rows = table(outputs, [Taken("p", "FP32", (-1, 2), columns=("a", "b"))])
    assert titles == ["label", "p.a", "p.b"]
    assert rows == [["setosa", "0.25", "0.75"], ["other", "nan", "1"]]
    assert remarks(outputs) == [("viz:../bar", "image/png, 4 bytes (--save DIR)"), ("deep", "[[[1, 2]]]")]
    found = document(outputs)
    assert found["p"] == [[0.25, 0.75], [None, 1.0]]
    assert found["viz:../bar"] == {"content_type": "image/png", "base64": "iVBORw=="}
    json.dumps(found, allow_nan=False)


def test_saved_answers_stay_in_their_folder(tmp_path: Path) -> None:
    outputs = read_answer(an_answer())
    saved = save(outputs, tmp_path / "out")
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == [
        "bar.png",
        "deep.npy",
        "label.json",
        "p.npy",
    ]
    assert np.load(tmp_path / "out" / "deep.npy").tolist() == [[[1, 2]]]
    assert document(outputs, saved)["viz:../bar"]["file"].endswith("out/bar.png")


def test_typed_answer_is_read_and_a_broken_one_is_refused() -> None:
    response = pb.ModelInferResponse()
    output = response.outputs.add(name="y", datatype="FP32", shape=[2])
    output.contents.fp32_contents.extend([1, 2])
    assert read_answer(response)[0].plain == [1.0, 2.0]
    output.shape[0] = 3
    with pytest.raises(CommandError):
        read_answer(response)


KINDS = {
    "UINT8": (st.integers(0, 255), "u1"), "INT16": (st.integers(-(1 << 15), (1 << 15) - 1), "<i2"),
    "UINT64": (st.integers(0, (1 << 64) - 1), "<u8"), "FP16": (st.floats(width=16), "<f2"),
    "FP32": (st.floats(width=32), "<f4"), "FP64": (st.floats(), "<f8"), "BOOL": (st.booleans(), "?"),
}  # fmt: skip


@settings(deadline=None)
@given(st.data())
def test_packed_elements_are_what_numpy_has(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from(sorted(KINDS)))
    strategy, dtype = KINDS[datatype]
    values = data.draw(st.lists(strategy, max_size=20))
    packed = packing.pack(datatype, values)
    array = np.array(values, dtype)
    assert np.array_equal(np.frombuffer(packed, dtype), array, equal_nan=array.dtype.kind == "f")
    assert np.array_equal(
        np.array(packing.unpack(datatype, packed), dtype), array, equal_nan=array.dtype.kind == "f"
    )
    file = packing.write_npy(datatype, [len(values)], packed)
    assert np.array_equal(np.load(io.BytesIO(file)), array, equal_nan=array.dtype.kind == "f")
    assert packing.read_npy(file) == (datatype, [len(values)], packed)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_broken_npy_is_refused(content: bytes) -> None:
    for text in (content, b"\x93NUMPY\x01\x00" + content):
        try:
            packing.read_npy(text)
        except ValueError:
            continue


@settings(deadline=None)
@given(st.text(max_size=200))
def test_whatever_is_given_is_sent_or_refused(text: str) -> None:
    for taken in (IRIS, VECTOR, TEXTS, FRAME, DATA, PICTURE, FILE):
        try:
            sent = one(taken, f"{taken.name}=@{text}" if text.startswith("@") else f"{taken.name}={text}")
        except CommandError:
            continue
        assert sent.datatype in ("BYTES", taken.datatype)
