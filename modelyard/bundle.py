"""A directory as one file and back: deterministic tar.gz archives, and unpacking what nobody has to trust.

Owns the archive format of code bundles and the limits of unpacking. Standard library only. It blocks: run it
in a thread where an event loop is.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import gzip
import hashlib
import io
import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn, cast

IGNORE_FILE = ".yardignore"
DEFAULT_IGNORES = (".git", "__pycache__", ".venv")
_COPY_BYTES = 1 << 20
_HEADER_MOST = 1 << 20
_HEADER_TYPES = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_CLASHES = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
_RATIO_FREE_BYTES = 64 << 20
"""Below this an archive may be compressed as well as it likes."""


class BundleInvalid(Exception):
    """The directory cannot be packed, or the archive may not be unpacked; the message says which member."""


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """What an archive may come to."""

    members: int = 100_000
    total_bytes: int = 8 << 30
    """The sum of the files."""
    ratio: int = 200
    """Unpacked to packed bytes, for archives that unpack to more than 64 MiB."""
    path_length: int = 1024


def pack_directory(path: Path, *, into: Path | None = None) -> tuple[Path, str]:
    """A temporary tar.gz of the directory, and its sha256. The caller deletes the file.

    Deterministic: the same names, bytes, links and modes give the same digest wherever zlib is the same.
    Sorted, no times or owners; modes are kept without setuid and setgid. Left out: ``.git``, ``__pycache__``,
    ``.venv`` and what the directory's ``.yardignore`` names: one glob a line, matched against the path and
    against every name in it; ``#`` starts a comment, a trailing ``/`` matches directories only. Raises
    BundleInvalid for devices, sockets and links that lead out, and OSError. into: where to put the file.
    """
    root = Path(path)
    if not root.is_dir():
        raise BundleInvalid(f"{root} is not a directory")
    return pack_files(root, _walk(root, "", _Ignores.of(root)), into=into)


def pack_files(root: Path, relatives: Iterable[str], *, into: Path | None = None) -> tuple[Path, str]:
    """As `pack_directory`, of what is named below ``root``, in this order."""
    descriptor, name = tempfile.mkstemp(prefix="bundle-", suffix=".tar.gz", dir=into)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            with (
                gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
            ):
                for relative in relatives:
                    _add(archive, root, relative)
            file.flush()
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except BaseException:  # interrupted, too: half an archive is left nowhere
        Path(name).unlink()
        raise
    return Path(name), digest


def extract_bundle(archive: Path, target: Path, limits: BundleLimits | None = None) -> None:
    """Unpacks a tar.gz into the new directory `target`: all of it appears at once, or nothing.

    Refuses with BundleInvalid: members or links that climb out or are absolute, members below a link,
    devices, fifos, hard links and sparse files, more members or bytes than the limits, archives that are
    compressed too well to be honest, and what is no tar.gz. Raises FileExistsError where `target` exists,
    OSError of the disk.
    """
    limits = limits or BundleLimits()
    target = Path(target)
    if target.exists():
        raise FileExistsError(f"{target} exists already")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with Path(archive).open("rb") as file:
            _unpack(file, draft, limits)
        _check_links(draft)
        draft.rename(target)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise BundleInvalid(f"{archive} is not a sound tar.gz archive: {error}") from error
    finally:
        _remove_tree(draft)


class _Ignores:
    """The globs that keep a path out."""

    def __init__(self, globs: list[str]) -> None:
        self._any = [g for g in globs if not g.endswith("/")]
        self._directories = [g.rstrip("/") for g in globs if g.endswith("/")]

    @classmethod
    def of(cls, root: Path) -> _Ignores:
        globs = list(DEFAULT_IGNORES)
        file = root / IGNORE_FILE
        if file.is_file():
            lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
            globs += [line.removeprefix("./") for line in lines if line and not line.startswith("#")]
        negated = next((g for g in globs if g.startswith("!")), None)
        if negated:
            raise BundleInvalid(f"{file}: {negated}: exceptions are not supported, name what to leave out")
        return cls(globs)

    def match(self, relative: str, is_directory: bool) -> bool:
        globs = self._any + self._directories if is_directory else self._any
        name = posixpath.basename(relative)
        return any(
            fnmatch.fnmatchcase(relative, g.lstrip("/")) or ("/" not in g and fnmatch.fnmatchcase(name, g))
            for g in globs
        )


def _walk(root: Path, folder: str, ignored: _Ignores) -> Iterator[str]:
    """Relative paths, parents first, sorted by name. Does not follow links."""
    with os.scandir(root / folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        relative = posixpath.join(folder, entry.name)
        is_directory = entry.is_dir(follow_symlinks=False)
        if ignored.match(relative, is_directory):
            continue
        yield relative
        if is_directory:
            yield from _walk(root, relative, ignored)


def _add(archive: tarfile.TarFile, root: Path, relative: str) -> None:
    path = root / relative
    found = path.lstat()
    member = tarfile.TarInfo(relative)
    member.mode = stat.S_IMODE(found.st_mode) & 0o777
    if stat.S_ISDIR(found.st_mode):
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    elif stat.S_ISLNK(found.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
        _check_link(relative, member.linkname)
        archive.addfile(member)
    elif stat.S_ISREG(found.st_mode):
        with path.open("rb") as file:
            member.size = os.fstat(file.fileno()).st_size
            try:
                archive.addfile(member, file)
            except OSError as error:
                raise BundleInvalid(f"{relative} changed while it was packed: {error}") from error
    else:
        raise BundleInvalid(
            f"{relative} is neither a file nor a directory nor a link; ignore it in {IGNORE_FILE}"
        )


class _Bounded(io.RawIOBase):
    """Counts what comes out of the decompressor and stops a bomb before it fills memory or disk."""

    def __init__(self, packed: gzip.GzipFile, packed_bytes: int, limits: BundleLimits) -> None:
        self._packed = packed
        self._seen = 0
        by_ratio = max(_RATIO_FREE_BYTES, packed_bytes * limits.ratio)
        # Every member costs at most a few blocks beside its bytes.
        self._most = min(by_ratio, limits.total_bytes + limits.members * 4096)
        self._by_ratio = by_ratio <= self._most

    def read(self, size: int = -1) -> bytes:
        block = self._packed.read(size)
        self._seen += len(block)
        if self._seen > self._most:
            why = "is compressed too well to be honest" if self._by_ratio else "unpacks to too many bytes"
            raise BundleInvalid(f"the archive {why}: more than {self._most} bytes")
        return block


class _Member(tarfile.TarInfo):
    """Refuses, before it is read into memory, what tarfile would: long headers and maps of sparse files."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADER_TYPES and self.size > _HEADER_MOST:
            raise BundleInvalid("a member's header is larger than any honest one")
        if self.type == tarfile.GNUTYPE_SPARSE:
            self._refuse_sparse()
        return cast(tarfile.TarInfo, super()._proc_member(archive))  # type: ignore[misc]

    def _refuse_sparse(self, *_: object) -> NoReturn:
        raise BundleInvalid(f"{self.name} is a sparse file; pack it as a plain one")

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


def _unpack(file: IO[bytes], root: Path, limits: BundleLimits) -> None:
    packed_bytes = os.fstat(file.fileno()).st_size
    with gzip.GzipFile(fileobj=file, mode="rb") as packed:
        bounded = _Bounded(packed, packed_bytes, limits)
        with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Member) as archive:
            _unpack_members(archive, root, limits)


def _unpack_members(archive: tarfile.TarFile, root: Path, limits: BundleLimits) -> None:
    links: set[str] = set()
    modes: list[tuple[Path, int]] = []
    total_bytes = 0
    for count, member in enumerate(archive, start=1):
        if count > limits.members:
            raise BundleInvalid(f"the archive has more than {limits.members} members")
        total_bytes += member.size
        if total_bytes > limits.total_bytes:
            raise BundleInvalid(f"the archive unpacks to more than {limits.total_bytes} bytes")
        name = _safe_name(member.name, links, limits)
        if name != ".":
            try:
                _unpack_member(archive, member, root / name, name, links, modes)
            except OSError as error:
                if error.errno in _CLASHES:
                    raise BundleInvalid(f"{name!r} clashes with another member: {error.strerror}") from error
                raise
        # A stream keeps every member that it has seen.
        archive.members.clear()  # type: ignore[attr-defined]
    for path, mode in reversed(modes):
        path.chmod(mode)


def _unpack_member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    path: Path,
    name: str,
    links: set[str],
    modes: list[tuple[Path, int]],
) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        path.mkdir(exist_ok=True)
        modes.append((path, (member.mode & 0o777) | 0o700))
    elif member.issym():
        _check_link(name, member.linkname)
        path.symlink_to(member.linkname)
        links.add(name)
    elif member.isreg():
        source = archive.extractfile(member)
        if source is None:
            raise BundleInvalid(f"{name} has no content")
        with path.open("xb") as file:
            shutil.copyfileobj(source, file, _COPY_BYTES)
            os.fchmod(file.fileno(), (member.mode & 0o777) | 0o400)
    else:
        raise BundleInvalid(f"{name} is neither a file nor a directory nor a symbolic link")


def _safe_name(name: str, links: set[str], limits: BundleLimits) -> str:
    """The member's path in the target; refuses what is absolute, climbs out or goes through a link."""
    if len(name) > limits.path_length or "\0" in name:
        raise BundleInvalid(f"{name[:80]!r}… is no usable name")
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        raise BundleInvalid(f"{name!r} would leave the target directory")
    clean = posixpath.normpath(name)
    parent = posixpath.dirname(clean)
    while parent:
        if parent in links:
            raise BundleInvalid(f"{name!r} lies below the link {parent!r}")
        parent = posixpath.dirname(parent)
    if clean in links:
        raise BundleInvalid(f"{name!r} is in the archive twice")
    return clean


def _check_link(name: str, link: str) -> None:
    """Refuses a link that leads out by its words; `_check_links` looks at where links really lead."""
    reached = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
    if link.startswith("/") or reached == ".." or reached.startswith("../"):
        raise BundleInvalid(f"the link {name!r} leads out of the directory, to {link!r}")


def _check_links(root: Path) -> None:
    """Refuses links that lead out through other links."""
    real_root = root.resolve()
    for folder, directories, files in os.walk(root):
        for entry in (*directories, *files):
            path = Path(folder) / entry
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(real_root):
                raise BundleInvalid(f"the link {path.relative_to(root)} leads out of the directory")


def _remove_tree(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
