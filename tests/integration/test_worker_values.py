"""Values of operators that come as JSON, to ports that take text, bytes or a file: the text itself (S1.5)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.frames import Peer

HERE = "tests.support.sample_operators:"
TEXT = 'a "quoted" text\\ with é, 😀\nand lines\n'


def inline(value: object, **more: Any) -> dict[str, Any]:
    return {"data": base64.b64encode(json.dumps(value).encode()).decode(), "is_value": True, **more}


def in_file(place: Path, value: object) -> dict[str, Any]:
    path = place / f"value{len(list(place.iterdir()))}"
    path.write_text(json.dumps(value))
    return {"path": str(path), "is_value": True}


@pytest.mark.parametrize("size", [1, (64 << 10) - 1, (64 << 10) + 1, 5_000_000])
def test_text_port_gets_the_text_of_a_json_string(peer: Peer, place: Path, size: int) -> None:
    text = (TEXT * (size // len(TEXT) + 1))[:size]
    sources = {"text": in_file(place, text), "data": in_file(place, text), "value": in_file(place, text)}
    ended = peer.call("a/1", HERE + "shown", inputs=sources, directory=str(place / "t"))
    shown = json.loads(
        Path(ended["value_path"]).read_text() if "value_path" in ended else ended["value_json"]
    )
    assert shown == [text, text, text]


def test_inline_value_is_taken_the_same_way(peer: Peer, place: Path) -> None:
    sources = {"text": inline(TEXT), "data": inline(TEXT), "value": inline(TEXT)}
    ended = peer.call("a/1", HERE + "shown", inputs=sources, directory=str(place / "t"))
    assert json.loads(ended["value_json"]) == [TEXT, TEXT, TEXT]


def test_other_values_stay_json_and_files_stay_as_they_are(peer: Peer, place: Path) -> None:
    (place / "file").write_text('"not a value"')
    sources = {"text": inline({"a": 1}), "data": {"path": str(place / "file")}, "value": inline([1])}
    ended = peer.call("a/1", HERE + "shown", inputs=sources, directory=str(place / "t"))
    assert json.loads(ended["value_json"]) == ['{"a": 1}', '"not a value"', [1]]


def test_parts_of_a_list_of_texts_are_texts(peer: Peer, place: Path) -> None:
    # S1.8: several results flow into one port, one of them large
    (place / "file").write_text("a file's own")
    sources = {
        "texts.0": inline("é"), "texts.1": in_file(place, TEXT * 3_000), "texts.2": {"path": str(place / "file")},
    }  # fmt: skip
    ended = peer.call("a/1", HERE + "all_shown", inputs=sources, directory=str(place / "t"))
    assert json.loads(Path(ended["value_path"]).read_text()) == ["é", TEXT * 3_000, "a file's own"]


def test_file_port_gets_a_file_with_the_text(peer: Peer, place: Path) -> None:
    sources = {"file": in_file(place, TEXT)}
    ended = peer.call("a/1", HERE + "kept", inputs=sources, directory=str(place / "t"))
    assert json.loads(ended["value_json"]) == [TEXT, TEXT]


def test_value_that_is_no_json_is_a_setup_error(peer: Peer, place: Path) -> None:
    (place / "broken").write_text('"no end')
    sources = {"text": {"path": str(place / "broken"), "is_value": True}}
    error = peer.call("a/1", HERE + "shown", inputs=sources)["error"]
    assert error["cause"] == "setup"
    assert "input 'text' of operator 'shown' is not UTF-8 text" in error["message"]


def test_large_outputs_beside_each_other_are_told_to_be_values(peer: Peer, place: Path) -> None:
    ended = peer.call("a/1", HERE + "parted", '{"size":100000}', directory=str(place / "t"))
    files = {file["name"]: file for file in ended["files"]}
    assert set(files) == {"long", "both"}
    assert all(file["is_value"] for file in files.values())
    assert json.loads(Path(files["long"]["path"]).read_text()) == '"' * 100_000
    assert json.loads(ended["value_json"]) == {"short": "é"}
