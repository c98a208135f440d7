"""The directories that commands run in: made for each, or taken over from one that has left nothing.

Owns log_directory, directory below it and params.json, where the agent has not filled them itself. To make
and remove three files and two directories takes longer than to start a process; to rename what a silent
command has left untouched takes a hundredth of it. A worker serves one account, so a room never changes hands.
"""

# On the path of every command: a string costs less than a Path.
# ruff: noqa: PTH102, PTH104, PTH105, PTH108, PTH208

import os
import stat

from modelyard.worker.frames import Message

PARAMS = "params.json"
_LOGS = ("stdout", "stderr")


class Rooms:
    """The rooms of one worker, of which at most one is empty."""

    def __init__(self) -> None:
        self._spare = ""
        self._has_params = False

    def enter(self, work: Message) -> None:
        """Makes what the command finds when it starts. Raises OSError."""
        directory = work.get("log_directory", "")
        if work.get("spare_path") and not self._move_in(directory):
            _make(directory, work["directory"])
        if "params_json" in work:
            self._has_params = True
            _write(f"{directory}/{PARAMS}", work["params_json"], _mode(work))
        elif self._has_params and work.get("spare_path"):
            self._has_params = False
            os.unlink(f"{directory}/{PARAMS}")

    def leave(self, work: Message) -> None:
        """Takes the room back if the command has left nothing in it, not even a changed mode."""
        spare, directory = work.get("spare_path"), work.get("log_directory", "")
        if not spare or not _is_untouched(directory):
            self._has_params = False
            return
        try:
            os.rename(directory, spare)
        except OSError:
            # Something of that name is in the way: the agent removes both.
            self._has_params = False
            return
        self._spare = spare

    def _move_in(self, directory: str) -> bool:
        spare, self._spare = self._spare, ""
        if not spare:
            return False
        try:
            os.rename(spare, directory)
        except OSError:
            # The agent has removed it, or the task has a directory already.
            self._has_params = False
            return False
        return True


def give_params(work: Message, text: str) -> None:
    """Has a command that has not entered its room find these parameters there."""
    work["params_json"] = text
    work["env"] = {**work.get("env", {}), "YARD_PARAMS": f"{work['log_directory']}/{PARAMS}"}


def replace_params(work: Message, text: str) -> None:
    """Changes params.json so that a reader finds the former or the new one, whole. Raises OSError."""
    directory = work["log_directory"]
    draft = f"{directory}/{PARAMS}.new"
    _write(draft, text, _mode(work))
    os.replace(draft, f"{directory}/{PARAMS}")


def _make(*directories: str) -> None:
    for directory in directories:
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            continue


def _mode(work: Message) -> int:
    return 0o644 if work.get("is_shared") else 0o600


def _write(path: str, text: str, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode())
        if mode != 0o600:
            os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _is_untouched(directory: str) -> bool:
    try:
        if stat.S_IMODE(os.lstat(directory).st_mode) != 0o700:
            return False
        with os.scandir(directory) as entries:
            return all(map(_is_as_made, entries))
    except OSError:
        return False


def _is_as_made(entry: os.DirEntry[str]) -> bool:
    info = entry.stat(follow_symlinks=False)
    if entry.name == "work":
        return info.st_mode == stat.S_IFDIR | 0o700 and not os.listdir(entry.path)
    # A second name would let the task see what the next one writes.
    is_plain = info.st_mode == stat.S_IFREG | 0o600 and info.st_nlink == 1
    return is_plain and (entry.name == PARAMS or (entry.name in _LOGS and info.st_size == 0))
