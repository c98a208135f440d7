"""What lies in a directory of checkpoints: which entries there are, which of them are complete, what is put aside.

A checkpoint is an entry of the directory, a file or a directory, or files "name.index" and "name.data-00000-of-00001"
together. It is complete when nobody has any of its files open for writing, nothing of it has changed for a while, and
no form of a file speaks against it. Once its writers are dead there is no waiting: then what was not seen complete
before counts only if something proves it whole. Blocks; keeps in mind what it has seen of one directory.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from services.agent.keeping.handover import has_writer
from services.agent.seats.checkpoint_forms import Form, Torn, form_of
from services.agent.tasks.model import CheckpointRules

FILES_MOST = 1_000
"""Of one checkpoint."""
NAME_MOST = 200
ASIDE = ".torn-"
"""Before the name of what was put aside."""
_PART = re.compile(r"(.+)\.(?:index|data-\d+-of-(\d+))")
_DRAFTS = (".tmp", ".temp", ".part", ".partial", ".incomplete", ".lock", ".new", "~")

Signature = tuple[tuple[str, int, int, int], ...]
"""Of every file: path, size, time of change in ns, inode."""


class Found(msgspec.Struct, frozen=True):
    """A checkpoint that is complete."""

    name: str
    signature: Signature
    time_ms: int
    """When its last byte was written."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files, from the directory of checkpoints."""
        return tuple(path for path, _, _, _ in self.signature)

    @property
    def size_bytes(self) -> int:
        return sum(size for _, size, _, _ in self.signature)


class Directory:
    """One directory of checkpoints, looked at again and again."""

    def __init__(self, path: Path, rules: CheckpointRules) -> None:
        self.path = path
        self._rules = rules
        self._seen: dict[str, tuple[Signature, float]] = {}
        self._whole: dict[str, Signature] = {}
        self.is_calm = False
        """Nothing had changed at the last look."""

    def look(self) -> list[Found]:
        """Those that are complete while somebody may write."""
        now, found = time.monotonic(), []
        entries = dict(self._entries())
        self._seen = {name: seen for name, seen in self._seen.items() if name in entries}
        self.is_calm = {name: seen for name, (seen, _) in self._seen.items()} == entries
        for name, signature in entries.items():
            before = self._seen.get(name)
            if before is None or before[0] != signature:
                self._seen[name] = (signature, now)
                is_old = _time_ms(signature) < time.time() * 1000 - max(2_000, 2 * self._rules.settle_ms)
                if before is not None or not is_old:
                    continue
            elif (now - before[1]) * 1000 < self._rules.settle_ms:
                continue
            if self._whole.get(name) == signature or self._is_complete(name, signature):
                self._whole[name] = signature
                found.append(Found(name, signature, _time_ms(signature)))
        return found

    def last_look(self, *, is_clean: bool) -> list[Found]:
        """Those that are complete now that nobody writes; `is_clean`: the writers came to their own end."""
        found = []
        for name, signature in self._entries():
            is_known = self._whole.get(name) == signature
            if is_known or (self._forms(name, signature) and (is_clean or self._is_proved(name, signature))):
                self._whole[name] = signature
                found.append(Found(name, signature, _time_ms(signature)))
        return found

    def find(self, name: str) -> Found | None:
        """As it lies there now; None: it does not, or a form speaks against it. Says nothing of who still writes."""
        for entry, signature in self._entries():
            if entry == name and self._forms(name, signature) is not None:
                return Found(name, signature, _time_ms(signature))
        return None

    def put_aside(self, keep: list[str]) -> list[str]:
        """Renames what is none of these, so that no program takes it for a checkpoint. Their names."""
        aside = []
        for name, signature in list(self._entries(is_strict=False)):
            if name in keep:
                continue
            for part in {path.split("/")[0] for path, _, _, _ in signature} or {name}:
                target = self.path / f"{ASIDE}{part}"
                if target.exists():
                    remove(target)
                (self.path / part).rename(target)
            aside.append(name)
        return aside

    def remove(self, names: list[str]) -> None:
        """Those that are not kept any more; what is not there is as good."""
        for name, signature in list(self._entries(is_strict=False)):
            if name in names:
                for part in {path.split("/")[0] for path, _, _, _ in signature} or {name}:
                    remove(self.path / part)

    # --- entries

    def _entries(self, *, is_strict: bool = True) -> Iterator[tuple[str, Signature]]:
        """Names that count and what their files look like; not strict: whole or not."""
        groups: dict[str, list[os.DirEntry[str]]] = {}
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    if _is_draft(entry.name):
                        continue
                    part = _PART.fullmatch(entry.name)
                    groups.setdefault(part[1] if part else entry.name, []).append(entry)
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, parts in sorted(groups.items()):
            if self._counts(name) and (signature := _signature(parts)) is not None:
                if is_strict and (not signature or not _has_all_parts(name, signature)):
                    continue
                yield name, signature

    def _counts(self, name: str) -> bool:
        if len(name) > NAME_MOST or not name.isprintable():
            return False
        return not self._rules.match or fnmatchcase(name, self._rules.match)

    # --- completeness

    def _is_complete(self, name: str, signature: Signature) -> bool:
        for path, _, _, _ in signature:
            if _is_written_to(self.path / path):
                return False
        return self._forms(name, signature) is not None

    def _forms(self, name: str, signature: Signature) -> list[Form] | None:
        """What is known of its files; None: it is not whole."""
        if self._rules.marker and not self._is_marked(name, signature):
            return None
        try:
            found = [form_of(self.path / path) for path, size, _, _ in signature if size or "/" not in path]
        except (Torn, OSError):
            return None
        return found if _has_shards(self.path, signature) else None

    def _is_marked(self, name: str, signature: Signature) -> bool:
        paths = {path for path, _, _, _ in signature}
        return f"{name}/{self._rules.marker}" in paths or name in paths

    def _is_proved(self, name: str, signature: Signature) -> bool:
        """Whether something says that nothing is missing, though its writer was killed."""
        if self._rules.marker and f"{name}/{self._rules.marker}" in {path for path, _, _, _ in signature}:
            return True
        if [path for path, _, _, _ in signature] != [name]:
            return False
        return self._forms(name, signature) == [Form.WHOLE] or _was_put_there(self.path / name)


def remove(path: Path) -> None:
    """A file or a whole directory."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_draft(name: str) -> bool:
    return name.startswith((".", "tmp", "_tmp")) or name.endswith(_DRAFTS) or ".tmp." in name


def _signature(parts: list[os.DirEntry[str]]) -> Signature | None:
    """None: it has gone, or is no thing of files."""
    found: list[tuple[str, int, int, int]] = []
    try:
        for part in parts:
            if part.is_file(follow_symlinks=False):
                found.append(_stamp(part.name, part.stat(follow_symlinks=False)))
            elif part.is_dir(follow_symlinks=False):
                found += _below(part)
            else:
                return None
            if len(found) > FILES_MOST:
                return None
    except FileNotFoundError:
        return None
    return tuple(sorted(found))


def _below(part: os.DirEntry[str]) -> Iterator[tuple[str, int, int, int]]:
    top = len(part.path) - len(part.name)
    for root, _, names in os.walk(part.path):
        for name in names:
            path = f"{root}/{name}"
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode):
                yield _stamp(path[top:], found)


def _stamp(path: str, found: os.stat_result) -> tuple[str, int, int, int]:
    return path, found.st_size, found.st_mtime_ns, found.st_ino


def _time_ms(signature: Signature) -> int:
    return max((time_ns for _, _, time_ns, _ in signature), default=0) // 1_000_000


def _has_all_parts(name: str, signature: Signature) -> bool:
    """Of "name.index" and "name.data-…-of-2": everything."""
    counts = [int(part[2]) for path, *_ in signature if (part := _PART.fullmatch(path)) and part[2]]
    is_grouped = any(_PART.fullmatch(path) for path, *_ in signature if "/" not in path)
    if not is_grouped:
        return True
    has_index = any(path == f"{name}.index" for path, *_ in signature)
    return has_index and bool(counts) and len(counts) == max(counts)


def _has_shards(root: Path, signature: Signature) -> bool:
    """Whether every file is there that an index of shards names, and the description of those that have one apart."""
    paths = {path for path, _, _, _ in signature}
    if any(path.endswith(".distcp") for path in paths) and not any(p.endswith("/.metadata") for p in paths):
        return False
    for path in paths:
        if path.endswith(".index.json"):
            try:
                shards = msgspec.json.decode((root / path).read_bytes()).get("weight_map", {})
                names = set(shards.values())
            except (OSError, msgspec.DecodeError, AttributeError, TypeError):
                return False
            if any(str(Path(path).with_name(str(name))) not in paths for name in names):
                return False
    return True


def _was_put_there(path: Path) -> bool:
    """Whether it got its name, or its times, after its last byte: a write would have set both times to one."""
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_ctime_ns > found.st_mtime_ns


def _is_written_to(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return has_writer(descriptor) is True
    finally:
        os.close(descriptor)
