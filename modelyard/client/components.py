"""A trained file, or a directory with one, as the files of a component: which belong to it, and their way there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from modelyard.client.artifacts import Artifacts
from modelyard.client.specs import InvalidSpecification
from modelyard.v1 import model_pb2 as pb

FILES_MOST = 900
LEFT_OUT = ("__pycache__",)


def files_of(source: Path) -> list[tuple[str, Path]]:
    """Path below the component, and place, of every file; without hidden ones, links and bytecode.

    Raises InvalidSpecification for what is neither a file nor a directory with at most 900 files.
    """
    if source.is_file():
        return [(source.name, source)]
    if not source.is_dir():
        raise InvalidSpecification(f"{source}: there is no such file or directory", "files")
    found = []
    for path in _walk(source):
        found.append((path.relative_to(source).as_posix(), path))
        if len(found) > FILES_MOST:
            raise InvalidSpecification(
                f"{source} has more than {FILES_MOST} files; push the directory of the model alone, or pack"
                " what belongs together into one file",
                "files",
            )
    if not found:
        raise InvalidSpecification(f"{source} has no files", "files")
    return sorted(found)


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one not in LEFT_OUT)
        for name in sorted(files):
            path = Path(root) / name
            if not name.startswith(".") and not path.is_symlink():
                yield path


async def uploaded(artifacts: Artifacts, source: Path) -> list[pb.ComponentFile]:
    """Every file, once the store has it. What it has already is not sent again."""
    found = []
    for name, path in files_of(source):
        kept = await artifacts.put(path, name=name[-200:])
        found.append(pb.ComponentFile(path=name, digest=kept.digest, size_bytes=kept.size_bytes))
    return found
