"""Files that pass from task to task on one machine: under one inode, or not at all."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from services.agent.keeping import handover
from services.agent.keeping.handover import Handover
from services.agent.preparation.inputs import is_sealed, seal

DIGEST = "d" * 64


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A file that a task of the first agent has left behind."""
    for node in ("n1", "n2"):
        (tmp_path / "agents" / node / "inputs").mkdir(parents=True)
    path = tmp_path / "agents" / "n1" / "tasks" / "t-1-1" / "work" / "big.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"content")
    return path


def of(left: Path, node: str) -> tuple[Handover, Path]:
    inputs = left.parents[4] / node / "inputs"
    return Handover(inputs), inputs / DIGEST


def room(left: Path) -> Path:
    return left.parents[1]


def test_file_that_is_the_tasks_alone_becomes_the_cached_input_of_every_agent(left: Path) -> None:
    first, cached = of(left, "n1")
    assert first.settle(left, room(left))
    first.take(left, DIGEST)
    second, other = of(left, "n2")
    assert second.find(DIGEST)
    assert cached.stat().st_ino == other.stat().st_ino == left.stat().st_ino
    assert is_sealed(other)
    assert not other.stat().st_mode & 0o222
    assert [path.name for path in other.parent.iterdir()] == [DIGEST]
    assert first.taken_bytes == 7


def test_file_with_an_open_writer_is_left_alone(left: Path) -> None:
    first, cached = of(left, "n1")
    with left.open("ab") as writer:
        assert not first.settle(left, room(left))
        writer.write(b"!")
    assert left.stat().st_mode & 0o200
    with left.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        os.close(os.dup(file.fileno()))
        assert not first.settle(left, room(left))
        mapped[0] = 67
    assert first.settle(left, room(left))
    assert not cached.exists()


@pytest.mark.parametrize("kind", ["elsewhere", "symlink", "second name", "directory", "missing"])
def test_what_is_not_the_tasks_alone_is_never_taken(left: Path, tmp_path: Path, kind: str) -> None:
    first, _ = of(left, "n1")
    other = tmp_path / "precious"
    other.write_bytes(b"precious")
    path = left.parent / "x"
    if kind == "elsewhere":
        path = other
    elif kind == "symlink":
        path.symlink_to(left)
    elif kind == "second name":
        path.hardlink_to(other)
    elif kind == "directory":
        path.mkdir()
    assert not first.settle(path, room(left))
    assert other.stat().st_mode & 0o200


def test_link_that_leads_out_of_the_room_is_not_followed(left: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_bytes(b"precious")
    (left.parent / "sub").symlink_to(tmp_path / "out")
    first, _ = of(left, "n1")
    assert not first.settle(left.parent / "sub" / "precious", room(left))


def test_file_that_was_written_to_after_its_upload_is_not_taken(left: Path) -> None:
    first, cached = of(left, "n1")
    assert first.settle(left, room(left))
    left.chmod(0o600)
    left.write_bytes(b"changed")
    first.take(left, DIGEST)
    assert not cached.exists()


@pytest.mark.parametrize("how", ["unsealed", "writable", "symlink"])
def test_cached_file_of_another_agent_that_is_not_as_it_was_is_not_taken(left: Path, how: str) -> None:
    second, other = of(left, "n2")
    _, cached = of(left, "n1")
    if how == "symlink":
        seal(left)
        cached.symlink_to(left)
    else:
        cached.write_bytes(b"content")
        cached.chmod(0o644 if how == "writable" else 0o444)
        if how == "writable":
            seal(cached)
    assert not second.find(DIGEST)
    assert not list(other.parent.iterdir())


def test_nearly_full_disk_keeps_nothing_for_later(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "ROOM_TIMES", 1 << 60)
    first, _ = of(left, "n1")
    assert not first.settle(left, room(left))
