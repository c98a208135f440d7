"""An image of this machine's own Python, for machines that reach no registry.

Owns what it is made of: the interpreter and its standard library, the shared libraries that these and wheels need, two
certificates' worth of /etc. Made once per machine and Python in seconds; nothing of any model is in it.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from modelyard.enclosure.engine import Engine, EngineFailed

OWN, RECIPE = "modelyard/python", 2
"""What is in the image changes with the recipe, and so does its tag."""
_OFFICIAL = re.compile(r"(?:docker\.io/)?(?:library/)?python:(\d+\.\d+)(?:\.\d+)?(?:-[a-z0-9.-]+)?")
_LEFT_OUT = frozenset(
    {"site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"}
)
# What wheels expect of a system beside libc.
_EXPECTED = (
    *("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libresolv.so.2", "libnss_files.so.2"),
    *("libnss_dns.so.2", "libstdc++.so.6", "libgcc_s.so.1", "libgomp.so.1", "libz.so.1"),
)
_PASSWD = b"root:x:0:0:root:/root:/bin/false\nframe:x:10001:10001:frame:/tmp:/bin/false\n"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def own_image(image: str) -> str:
    """Ours for the same Python as an official image's, if this machine's Python is that; else empty."""
    found = _OFFICIAL.fullmatch(image)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"{OWN}:{version}-{RECIPE}" if found is not None and found[1] == version else ""


def provide(engine: Engine, name: str) -> bool:
    """Sees to it that the image is there; whether it is. Repeating it is harmless."""
    if engine.image_id(name):
        return True
    try:
        with tempfile.TemporaryFile() as archive:
            write_archive(archive)
            engine.import_image(name, archive, ('CMD ["python3"]', "ENV LANG=C.UTF-8"))
    except (EngineFailed, OSError) as error:
        os.write(2, f"the image {name} could not be made: {error}\n".encode())
        return False
    return True


class _Whole(tarfile.TarFile):
    """With an entry for every directory: what is not named some engines make so that only root comes through."""

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: Any = None) -> None:
        """The directories above it first."""
        made: set[str] = self.__dict__.setdefault("made", set())
        for above in (*reversed(PurePosixPath(tarinfo.name).parents), PurePosixPath(tarinfo.name)):
            name = str(above)
            if name != tarinfo.name and name != "." and name not in made:
                folder = tarfile.TarInfo(name)
                folder.type, folder.mode = tarfile.DIRTYPE, 0o755
                super().addfile(folder)
            made.add(name)
        super().addfile(tarinfo, fileobj)


def write_archive(stream: IO[bytes]) -> None:
    """The image's file system. Raises OSError."""
    with _Whole.open(fileobj=stream, mode="w|", dereference=False) as archive:
        for name in (
            "tmp",
            "room",
            "component",
            "opt/modelyard",
            "opt/environment",
            "proc",
            "sys",
            "dev",
            "etc",
        ):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(folder)
        _add_text(archive, "etc/passwd", _PASSWD)
        _add_text(archive, "etc/group", b"root:x:0:\nframe:x:10001:\n")
        if _CERTIFICATES.exists():
            _add_text(archive, str(_CERTIFICATES).lstrip("/"), _CERTIFICATES.read_bytes())
        _add_python(archive)
        for path in sorted(_libraries()):
            archive.add(path.resolve(), f"usr/lib/{path.name}", filter=_plain)
        loader = _loader()
        archive.add(loader.resolve(), str(loader).lstrip("/"), filter=_plain)


def _add_python(archive: tarfile.TarFile) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    archive.add(_interpreter(), f"usr/local/bin/{version}", filter=_plain)
    for alias in ("python3", "python"):
        link = tarfile.TarInfo(f"usr/local/bin/{alias}")
        link.type, link.linkname, link.mode = tarfile.SYMTYPE, version, 0o777
        archive.addfile(link)
    archive.add(sysconfig.get_path("stdlib"), f"usr/local/lib/{version}", filter=_wanted)


def _interpreter() -> Path:
    return Path(os.path.realpath(sys.executable))


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(member.name).name
    if name in _LEFT_OUT or name.startswith("config-") or name.endswith(".a"):
        return None
    return _plain(member)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, whoever it was of here."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _add_text(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))


def _libraries() -> set[Path]:
    """What the interpreter and its modules are linked with, and what wheels expect."""
    modules = [*Path(sysconfig.get_path("stdlib"), "lib-dynload").glob("*.so")]
    found = {path for path in _linked([_interpreter(), *modules]) if path.name.startswith("lib")}
    known = dict(_cached())
    expected = {known[name] for name in _EXPECTED if name in known}
    return found | expected | {path for path in _linked(sorted(expected)) if path.name.startswith("lib")}


def _linked(files: list[Path]) -> set[Path]:
    said = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False).stdout
    return {Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE)}


def _cached() -> Iterator[tuple[str, Path]]:
    """Libraries of this machine by name, as its loader knows them."""
    tool = "/sbin/ldconfig" if Path("/sbin/ldconfig").exists() else "ldconfig"
    said = subprocess.run([tool, "-p"], capture_output=True, text=True, check=False).stdout
    for name, path in reversed(re.findall(r"^\s+(\S+) \([^)]*x86-64[^)]*\) => (\S+)$", said, re.MULTILINE)):
        yield name, Path(path)
    for name, path in reversed(re.findall(r"^\s+(\S+) \([^)]*AArch64[^)]*\) => (\S+)$", said, re.MULTILINE)):
        yield name, Path(path)


def _loader() -> Path:
    found = [path for path in _linked([_interpreter()]) if path.name.startswith("ld-")]
    return found[0]


def main() -> int:
    """Makes the image of this Python; its name on stdout."""
    name = own_image(f"python:{sys.version_info.major}.{sys.version_info.minor}")
    try:
        engine = Engine.find(os.environ)
        if not provide(engine, name):
            return 1
    except EngineFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
