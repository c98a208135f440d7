"""Directories that commands run in: which are taken over, which stay as the command has left them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelyard.worker.rooms import Rooms


def work(place: Path, name: str, **fields: Any) -> dict[str, Any]:
    directory = place / name
    return {
        "log_directory": str(directory),
        "directory": str(directory / "work"),
        "spare_path": str(place / "spare"),
        **fields,
    }


def run(rooms: Rooms, asked: dict[str, Any], leave: Callable[[Path], object] = lambda _: None) -> Path:
    """Enters, opens the logs as the spawn does, does what a command would, and leaves."""
    room = Path(asked["log_directory"])
    rooms.enter(asked)
    for name in ("stdout", "stderr"):
        os.close(os.open(room / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    leave(room)
    rooms.leave(asked)
    return room


def test_room_of_a_silent_command_is_the_next_one_s(tmp_path: Path) -> None:
    rooms = Rooms()
    first = work(tmp_path, "a")
    rooms.enter(first)
    inode = (tmp_path / "a").stat().st_ino
    rooms.leave(first)
    assert not (tmp_path / "a").exists()
    rooms.enter(work(tmp_path, "b"))
    assert (tmp_path / "b").stat().st_ino == inode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]


@pytest.mark.parametrize(
    "leave",
    [
        lambda room: (room / "stdout").write_text("x"),
        lambda room: (room / "work" / "file").touch(),
        lambda room: (room / "work").chmod(0o755),
        lambda room: room.chmod(0o755),
        lambda room: (room / "progress").write_text("0.5\n"),
        lambda room: (room.parent / "alias").hardlink_to(room / "stdout"),
        lambda room: ((room / "stdout").unlink(), (room / "stdout").symlink_to("/dev/null")),
        lambda room: ((room / "work").rmdir(), (room / "work").symlink_to("/tmp")),
    ],
)
def test_room_in_which_anything_is_left_stays(tmp_path: Path, leave: Callable[[Path], object]) -> None:
    rooms = Rooms()
    room = run(rooms, work(tmp_path, "a"), leave)
    assert room.exists()
    assert not (tmp_path / "spare").exists()
    other = run(rooms, work(tmp_path, "b"))
    assert not other.exists()
    assert (tmp_path / "spare" / "work").is_dir()


def test_parameters_of_one_command_are_not_the_next_one_s(tmp_path: Path) -> None:
    rooms = Rooms()
    run(rooms, work(tmp_path, "a", params_json='{"a": 1}'))
    seen: list[str] = []
    run(
        rooms,
        work(tmp_path, "b", params_json="{}"),
        lambda room: seen.append((room / "params.json").read_text()),
    )
    run(rooms, work(tmp_path, "c"), lambda room: seen.append(str((room / "params.json").exists())))
    assert seen == ["{}", "False"]


def test_spare_room_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    rooms = Rooms()
    run(rooms, work(tmp_path, "a", params_json="{}"))
    (tmp_path / "spare").rename(tmp_path / "elsewhere")
    rooms.enter(work(tmp_path, "b"))
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["work"]


def test_staged_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a" / "work").mkdir(parents=True)
    rooms = Rooms()
    room = run(rooms, work(tmp_path, "a", spare_path="", params_json="{}"))
    assert (room / "params.json").read_text() == "{}"
