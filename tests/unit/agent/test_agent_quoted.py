"""Texts of operators as files for commands, however long, wherever a piece ends."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from services.agent.preparation import quoted
from services.agent.preparation.quoted import ValueUnreadable

LETTERS = 'a"\\\n\r\t/é😀\u2028ud83d\x00 '


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 11, 12, 13, 1 << 20])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_text_is_written_as_it_was_returned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, is_ascii: bool
) -> None:
    monkeypatch.setattr(quoted, "_PIECE_CHARACTERS", piece)
    chance = random.Random(piece)
    for number, length in enumerate((0, 1, 2, 5, 30, 400)):
        text = "".join(chance.choice(LETTERS) for _ in range(length))
        source, target = tmp_path / "source", tmp_path / f"target{number}"
        source.write_text(json.dumps(text, ensure_ascii=is_ascii), encoding="utf-8")
        assert quoted.is_text(source)
        quoted.write_text(source, target)
        assert target.read_bytes().decode() == text


@pytest.mark.parametrize("bad", ['"abc', '"a\\ud83d"', '"a"x', '"a\\', '"\\x"'])
def test_what_is_no_json_string_is_refused(tmp_path: Path, bad: str) -> None:
    (tmp_path / "source").write_text(bad)
    with pytest.raises(ValueUnreadable, match="an input is no JSON"):
        quoted.write_text(tmp_path / "source", tmp_path / "target")
    with pytest.raises(ValueUnreadable):
        quoted.text_of(bad.encode())


def test_other_json_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "source").write_text('{"a": "b"}')
    assert not quoted.is_text(tmp_path / "source")
    assert quoted.text_of(b' {"a": "b"}') == b' {"a": "b"}'
    assert quoted.text_of(b'"\\u00e9\\n"') == "é\n".encode()
