"""A trained file, or a directory with one, as the files of a component: which belong to it, and their way there.

Owns what is sent as it is, and which directories are packed into one file each because there would be too many.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelyard.bundle import pack_files
from modelyard.client.artifacts import Artifacts
from modelyard.client.specs import InvalidSpecification
from modelyard.v1 import model_pb2 as pb

ENTRIES_MOST = 900
"""Files and packed directories of one component."""
FILES_MOST = 50_000
LEFT_OUT = ("__pycache__",)
WHOLE = "./"
"""The component itself, packed."""


def files_of(source: Path) -> list[tuple[str, Path]]:
    """Path below the component, and place, of every file; without hidden ones, links, pipes, devices and bytecode.

    Raises InvalidSpecification for what is neither a file nor a directory with at most 50,000 files, and for names that
    are no text.
    """
    if source.is_file():
        return [(source.name, source)]
    if not source.is_dir():
        raise InvalidSpecification(
            f"{source}: there is no such file or directory", "files", next_step=_next_step(source)
        )
    found = []
    for path in _walk(source):
        found.append((_text(path.relative_to(source).as_posix()), path))
        if len(found) > FILES_MOST:
            raise InvalidSpecification(
                f"{source} has more than {FILES_MOST} files; push the directory of the model alone",
                "files",
            )
    if not found:
        raise InvalidSpecification(
            f"{source} has no files; hidden ones, links, pipes and devices are left out",
            "files",
            next_step=f"ls -la {source}",
        )
    return sorted(found)


def _text(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidSpecification(
            f"{os.fsencode(name)!r} is no name in UTF-8", "files", next_step="call the file something else"
        ) from None
    return name


def _next_step(source: Path) -> str:
    """What there is where it was looked for."""
    folder = source.parent
    if not folder.is_dir():
        return f"ls {next(one for one in folder.parents if one.is_dir())}"
    near = sorted(
        one.name for one in folder.iterdir() if one.suffix == source.suffix and not one.name.startswith(".")
    )
    return f"yard model push {folder / near[0]}" if len(near) == 1 and source.suffix else f"ls {folder}"


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one not in LEFT_OUT)
        for name in sorted(files):
            path = Path(root) / name
            # A pipe, or a device, may have no end.
            if not name.startswith(".") and stat.S_ISREG(path.lstat().st_mode):
                yield path


def packed_of(names: Sequence[str], most: int = ENTRIES_MOST) -> list[str]:
    """Which directories are sent packed, "tokens/", so that there are no more than ``most`` entries.

    Of those at the top the ones with the most files; the whole component ("./") where these are not enough.
    """
    tops = Counter(name.partition("/")[0] + "/" for name in names if "/" in name)
    packed: list[str] = []
    count = len(names)
    for top, files in sorted(tops.items(), key=lambda one: (-one[1], one[0])):
        if count <= most:
            break
        packed.append(top)
        count += 1 - files
    return sorted(packed) if count <= most else [WHOLE]


async def uploaded(artifacts: Artifacts, source: Path) -> list[pb.ComponentFile]:
    """Every file, once the store has it. What it has already is not sent again."""
    files = files_of(source)
    found = []
    packed = packed_of([name for name, _ in files])
    for name, path in files:
        if packed != [WHOLE] and name.partition("/")[0] + "/" not in packed:
            found.append(await _sent(artifacts, name, path))
    for folder in packed:
        names = [name for name, _ in files if folder == WHOLE or name.startswith(folder)]
        below = [name.removeprefix(folder) for name in names]
        archive, _ = await asyncio.to_thread(pack_files, source / folder, below)
        try:
            found.append(await _sent(artifacts, folder, archive))
        finally:
            archive.unlink()
    return found


async def _sent(artifacts: Artifacts, name: str, path: Path) -> pb.ComponentFile:
    kept = await artifacts.put(path, name=name[-200:])
    return pb.ComponentFile(path=name, digest=kept.digest, size_bytes=kept.size_bytes)
