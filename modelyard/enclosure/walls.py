"""The file system of a sandboxed frame: a new root, in which nothing lies but what a frame needs.

Owns what is in it and where. Runs in the process that becomes the frame, in a mount namespace of its own; it does not
matter what is left half done when it fails, as that process ends.
"""

from __future__ import annotations

import os
from pathlib import Path

from modelyard.enclosure.confinement import FOUND, SHARED_BYTES, TMP_BYTES
from modelyard.enclosure.linux import (
    BIND,
    NO_DEV,
    NO_EXEC,
    NO_SUID,
    PRIVATE,
    READ_ONLY,
    REC,
    REMOUNT,
    bind,
    mount,
    pivot,
)
from modelyard.enclosure.order import Order, package_directory

COMPONENT, ROOM, PACKAGES = "/component", "/room", "/opt/modelyard"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt/nvidia", "/sys/devices/system/cpu")
# Of /etc: what loaders, time zones, certificates and fonts need. No users, no hosts, no keys.
_ETC = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "timezone",
    "alternatives",
    "fonts",
    "mime.types",
)
_ETC_SSL = ("ssl/certs", "ssl/openssl.cnf", "ca-certificates.conf")
_ETC_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "gai.conf")
_DEVICES = ("null", "zero", "full", "random", "urandom")


def build(order: Order, python: Path, root: Path, user: int) -> None:
    """Makes the root and goes there. Raises OSError."""
    mount("", "/", "", REC | PRIVATE)
    mount("tmpfs", str(root), "tmpfs", NO_SUID | NO_DEV, "size=1m,mode=0755")
    # First, as what follows may lie below it.
    _temporary(root, "/tmp", TMP_BYTES)
    for place in _SYSTEM:
        _copy_place(Path(place), root)
    names = (*_ETC, *_ETC_SSL, *(_ETC_NETWORK if order.has_network else ()))
    for name in names:
        _copy_place(Path("/etc", name), root)
    _passwd(root, user)
    for path in _of_python(order, python):
        _copy_place(path, root)
    _place(package_directory(), root, f"{PACKAGES}/modelyard")
    _place(order.component, root, COMPONENT)
    _place(order.room, root, ROOM)
    if order.found is not None:
        _place(order.found, root, FOUND, is_writable=True)
    _devices(order, root)
    _temporary(root, "/dev/shm", SHARED_BYTES)
    (root / "proc").mkdir()
    mount("proc", str(root / "proc"), "proc", NO_SUID | NO_DEV | NO_EXEC)
    mount("", str(root), "", REMOUNT | READ_ONLY | NO_SUID | NO_DEV)
    pivot(str(root))


def _of_python(order: Order, python: Path) -> list[Path]:
    """Where interpreter and packages are, at the places by which they know each other."""
    found = [] if order.environment is None else [order.environment]
    base = Path(os.path.realpath(python)).parents[1]
    if not base.is_relative_to("/usr") or base.is_relative_to("/usr/local"):
        found.append(base)
    if order.environment is None:
        found.append(Path(python).parents[1])
    return [path for path in found if not path.is_relative_to("/usr")]


def _copy_place(path: Path, root: Path) -> None:
    """At the same place; a link stays one. Nothing where there is nothing."""
    if path.is_symlink():
        target = root / str(path).lstrip("/")
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        target.symlink_to(path.readlink())
    elif path.exists():
        _place(path, root, str(path))


def _place(source: Path, root: Path, where: str, *, is_writable: bool = False) -> None:
    target = root / where.lstrip("/")
    if target.exists() and not target.is_dir():
        return
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir(mode=0o755, exist_ok=True)
    else:
        target.touch()
    bind(str(source.resolve()), str(target), is_writable=is_writable)


def _devices(order: Order, root: Path) -> None:
    names = list(_DEVICES)
    if order.gpus:
        names += sorted(path.name for path in Path("/dev").glob("nvidia*"))
    for name in names:
        source, target = Path("/dev", name), root / "dev" / name
        target.parent.mkdir(mode=0o755, exist_ok=True)
        if source.is_dir():
            target.mkdir(exist_ok=True)
        elif source.exists():
            target.touch()
        else:
            continue
        mount(str(source), str(target), "", BIND | REC)


def _temporary(root: Path, where: str, size_bytes: int) -> None:
    target = root / where.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    mount("tmpfs", str(target), "tmpfs", NO_SUID | NO_DEV, f"size={size_bytes},mode=1777")


def _passwd(root: Path, user: int) -> None:
    folder = root / "etc"
    folder.mkdir(exist_ok=True)
    (folder / "passwd").write_text(f"frame:x:{user}:{user}:frame:/tmp:/bin/false\n")
    (folder / "group").write_text(f"frame:x:{user}:\n")
