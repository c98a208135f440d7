import json
from pathlib import Path
from typing import Any

import pytest

from modelyard import Context, File
from modelyard.worker.frames import BadFrame, FrameBuffer, encode
from modelyard.worker.results import BadResult, report_result


def test_report_small_value_is_inline(tmp_path: Path) -> None:
    assert report_result({"a": [1, None]}, Context(directory=str(tmp_path / "t"))) == {
        "value_json": '{"a":[1,null]}'
    }
    assert not (tmp_path / "t").exists()


def test_report_large_value_becomes_a_file(tmp_path: Path) -> None:
    fields = report_result("x" * 70000, Context(directory=str(tmp_path)))
    assert json.loads(Path(fields["value_path"]).read_text()) == "x" * 70000


def test_report_files_and_values_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"model")
    context = Context(directory=str(tmp_path))
    fields = report_result({"model": File("m.bin"), "raw": b"data", "score": 0.5}, context)
    assert fields["value_json"] == '{"score":0.5}'
    assert {item["name"]: Path(item["path"]).read_bytes() for item in fields["files"]} == {
        "model": b"model",
        "raw": b"data",
    }


def test_report_bytes_named_like_a_path_stay_in_the_directory(tmp_path: Path) -> None:
    fields = report_result({"../../evil": b"x"}, Context(directory=str(tmp_path)))
    assert Path(fields["files"][0]["path"]).parent == tmp_path / "outputs"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "contains a object, which JSON cannot carry"),
        (float("nan"), "NaN or Infinity"),
        (File("missing"), "there is no file"),
    ],
)
def test_report_what_json_cannot_carry_is_refused(value: Any, reason: str, tmp_path: Path) -> None:
    with pytest.raises(BadResult, match=reason):
        report_result(value, Context(directory=str(tmp_path)))


def test_frames_in_pieces_come_out_whole() -> None:
    data = encode({"a": 1}) + encode({"b": "ü"})
    buffer = FrameBuffer()
    found = [message for index in range(len(data)) for message in buffer.feed(data[index : index + 1])]
    assert found == [{"a": 1}, {"b": "ü"}]


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\1{", b"\0\0\0\1\xff"])
def test_frames_of_garbage_are_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        FrameBuffer().feed(data)
