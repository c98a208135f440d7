"""Attached files and directories, put below a task's working directory before it starts.

Owns how bytes get from the caches to a task without letting it change what others will get: small files are its own
copy, large ones share their blocks where the disk can do that (reflink), else the name (a hard link of a file that is
read-only and looked at before it is given to the next). Blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from services.agent.tasks.model import Attachment

COPIED_MOST = 64 * 1024**2
"""Files up to this size are always the task's own."""
CLONED_LEAST = 256 * 1024
_FICLONE = 0x40049409
_BLOCK_BYTES = 8 * 1024**2

Source = Callable[[Attachment], Path]


class AttachmentClashes(Exception):
    """Something else lies at the path of an attachment."""

    next_step = "give the attachment another path, or leave the file out of the directory that is shipped"


def place(attachments: Iterable[Attachment], work: Path, source: Source) -> None:
    """Puts each at its path. Raises AttachmentClashes, OSError."""
    for attachment in attachments:
        target = work / attachment.path
        _make_way(attachment, work)
        if target.exists() or target.is_symlink():
            raise AttachmentClashes(f"attachment {attachment.path!r}: the working directory has that already")
        lay(attachment, target, source)


def replace(attachment: Attachment, work: Path, source: Source) -> None:
    """Puts it at its path at once, whatever lay there: a reader finds the former or the new one, whole; of a
    directory for an instant neither. Raises AttachmentClashes, OSError."""
    _make_way(attachment, work)
    target = work / attachment.path
    draft = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}")
    try:
        lay(attachment, draft, source)
        if target.is_dir() and not target.is_symlink():
            former = draft.with_name(f"{draft.name}.old")
            target.rename(former)
            draft.rename(target)
            shutil.rmtree(former, ignore_errors=True)
        else:
            if attachment.is_directory:
                target.unlink(missing_ok=True)
            draft.replace(target)
    finally:
        _remove(draft)


def take_away(path: str, work: Path) -> None:
    """Removes what was attached at the path; nothing there is as good."""
    target = work / path
    if _is_within(target.parent, work):
        _remove(target)


def lay(attachment: Attachment, target: Path, source: Source) -> None:
    """Makes the target of what the cache holds."""
    cached = source(attachment)
    if attachment.is_directory:
        shutil.copytree(cached, target, symlinks=True, copy_function=_copy)
    else:
        give(cached, target)


def give(cached: Path, target: Path) -> None:
    """One file of the cache for a task: its own copy if it is small, else as little of a copy as the disk allows."""
    if cached.stat().st_size <= COPIED_MOST or not _link(cached, target):
        _copy(str(cached), str(target))
        target.chmod(0o600)


def _make_way(attachment: Attachment, work: Path) -> None:
    """The directories above it, none of which may lead out of the working directory."""
    parent = (work / attachment.path).parent
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise AttachmentClashes(
            f"attachment {attachment.path!r}: a file lies where its directory is"
        ) from error
    if not _is_within(parent, work):
        raise AttachmentClashes(f"attachment {attachment.path!r}: a link leads out of the working directory")


def _is_within(directory: Path, work: Path) -> bool:
    return directory.resolve().is_relative_to(work.resolve())


def _link(cached: Path, target: Path) -> bool:
    """A large file without copying it; False: this disk knows no way."""
    if _clone(str(cached), str(target)):
        target.chmod(0o600)
        return True
    try:
        os.link(cached, target)
    except OSError:
        return False
    return True


def _copy(source: str, target: str) -> str:
    """As shutil's copy functions: bytes and mode; blocks are shared where the disk can, and it is worth asking."""
    if os.stat(source).st_size < CLONED_LEAST or not _clone(source, target):  # noqa: PTH116
        with open(source, "rb") as reader, open(target, "xb") as writer:  # noqa: PTH123
            shutil.copyfileobj(reader, writer, _BLOCK_BYTES)
    shutil.copymode(source, target)
    return target


def _clone(source: str, target: str) -> bool:
    with open(source, "rb") as reader, open(target, "xb") as writer:  # noqa: PTH123
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError:
            os.unlink(target)  # noqa: PTH108
            return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
