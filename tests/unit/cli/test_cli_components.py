"""Which files of a directory become a component; no yard is needed to say so (S2.1, safety)."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from modelyard.client.components import files_of
from modelyard.client.specs import InvalidSpecification


def test_hidden_files_links_pipes_and_sockets_are_no_part_of_a_component(tmp_path: Path) -> None:
    (tmp_path / "greeter.py").write_text("x")
    os.link(tmp_path / "greeter.py", tmp_path / "linked.py")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("x")
    (tmp_path / ".env").write_text("secret")
    (tmp_path / "passwd").symlink_to("/etc/passwd")
    (tmp_path / "etc").symlink_to("/etc")
    os.mkfifo(tmp_path / "endless.bin")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
        assert [name for name, _ in files_of(tmp_path)] == ["greeter.py", "linked.py"]


def test_directory_of_pipes_alone_is_refused_in_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(InvalidSpecification, match="pipes"):
        files_of(tmp_path)


def test_name_that_is_no_text_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.onnx")).write_bytes(b"x")
    with pytest.raises(InvalidSpecification, match="UTF-8"):
        files_of(tmp_path)
