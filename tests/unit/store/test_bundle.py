"""Bundles: the same directory gives the same bytes, and no archive harms whoever unpacks it."""

import gzip
import io
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from modelyard.bundle import BundleInvalid, BundleLimits, extract_bundle, pack_directory


def _tree(root: Path) -> Path:
    for name, text in {
        "main.py": "print()",
        "pkg/__init__.py": "",
        "pkg/__pycache__/x.pyc": "no",
        ".git/config": "no",
        ".venv/bin/python": "no",
        "data/big.bin": "no",
        "data/small.csv": "1,2",
        "notes.tmp": "no",
        "deep/notes.tmp": "no",
        "ümlaut/ñ" + "x" * 120: "long",
        ".yardignore": "# what stays at home\n*.tmp\ndata/*.bin\nbuild/\n",
        "build/x": "no",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "empty").mkdir()
    (root / "run.sh").write_text("#!/bin/sh")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("pkg/../main.py")
    return root


def _files(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}


def test_pack_and_extract_keep_content_modes_links_and_leave_out_the_ignored(tmp_path: Path) -> None:
    root = _tree(tmp_path / "project")
    archive, digest = pack_directory(root, into=tmp_path)
    extract_bundle(archive, tmp_path / "out")
    out = tmp_path / "out"
    expected = {n: t for n, t in _files(root).items() if t != "no"}
    assert _files(out) == expected
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (out / "empty").is_dir()
    assert str((out / "link").readlink()) == "pkg/../main.py"
    assert len(digest) == 64
    assert list(tmp_path.glob(".out*")) == []


def test_pack_is_deterministic(tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        root = _tree(tmp_path / str(number))
        for path in root.rglob("*"):
            os.utime(path, (number * 1000, number * 1000), follow_symlinks=False)
        archive, digest = pack_directory(root)
        archive.unlink()
        digests.add(digest)
    assert len(digests) == 1
    (root / "main.py").chmod(0o700)
    archive, digest = pack_directory(root)
    archive.unlink()
    assert digest not in digests


def test_pack_refuses_what_cannot_travel(tmp_path: Path) -> None:
    for name, make in {
        "fifo": os.mkfifo,
        "out": lambda p: p.symlink_to("/etc/passwd"),
        "climb": lambda p: p.symlink_to("../../x"),
    }.items():
        root = tmp_path / name
        root.mkdir()
        make(root / name)
        with pytest.raises(BundleInvalid, match=name):
            pack_directory(root, into=tmp_path)
    (tmp_path / "negated").mkdir()
    (tmp_path / "negated/.yardignore").write_text("!keep\n")
    with pytest.raises(BundleInvalid, match="exceptions"):
        pack_directory(tmp_path / "negated", into=tmp_path)
    with pytest.raises(BundleInvalid, match="not a directory"):
        pack_directory(tmp_path / "absent", into=tmp_path)
    assert list(tmp_path.glob("bundle-*")) == []


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, size
    return member


def _archive(path: Path, members: Iterable[tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)) if member.size else None)
    return path


HOSTILE = {
    "absolute": [_member("/etc/cron.d/x", size=1)],
    "climbing": [_member("a/../../x", size=1)],
    "link_absolute": [_member("l", tarfile.SYMTYPE, "/etc")],
    "link_climbing": [_member("a/l", tarfile.SYMTYPE, "../../x")],
    "below_a_link": [
        _member("d", tarfile.DIRTYPE),
        _member("l", tarfile.SYMTYPE, "d"),
        _member("l/x", size=1),
    ],
    "link_replaced": [_member("l", tarfile.SYMTYPE, "x"), _member("l", size=1)],
    "link_through_link": [
        _member("a/b", tarfile.DIRTYPE),
        _member("l", tarfile.SYMTYPE, "a/b"),
        _member("m", tarfile.SYMTYPE, "l/../../x/../../y"),
        _member("n", tarfile.SYMTYPE, "l/../../../z"),
    ],
    "hard_link": [_member("x", size=1), _member("h", tarfile.LNKTYPE, "x")],
    "device": [_member("null", tarfile.CHRTYPE)],
    "fifo": [_member("fifo", tarfile.FIFOTYPE)],
    "file_as_directory": [_member("x", size=1), _member("x/y", size=1)],
    "twice": [_member("x", size=1), _member("x", size=1)],
    "too_many": [_member(f"f{n}") for n in range(51)],
    "too_large": [_member("big", size=2_000_000)],
    "sparse": [_member("sparse", tarfile.GNUTYPE_SPARSE)],
    "name_too_long": [_member("n" * 2000)],
    "name_of_a_file_too_long": [_member("n" * 300, size=1)],
    "block_device": [_member("sda", tarfile.BLKTYPE)],
    "hard_link_out": [_member("h", tarfile.LNKTYPE, "../../../etc/passwd")],
    "absolute_after_a_dot": [_member("a/./../../x", size=1)],
    "link_to_itself": [_member("l", tarfile.SYMTYPE, "l"), _member("l/x", size=1)],
    "directory_over_a_file": [_member("x", size=1), _member("x", tarfile.DIRTYPE)],
    "deeper_than_a_disk_goes": [_member("d/" * 500 + "x" * 300, size=1)],
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_extract_refuses_hostile_archives_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    archive = _archive(tmp_path / "a.tar.gz", HOSTILE[name])
    with pytest.raises(BundleInvalid):
        extract_bundle(archive, tmp_path / "in" / "out", BundleLimits(members=50, total_bytes=1_000_000))
    assert [p for p in tmp_path.rglob("*") if p.name not in ("in", "a.tar.gz")] == []


def test_names_of_other_systems_are_names_below_the_directory(tmp_path: Path) -> None:
    """Nothing is made of drives, backslashes, case or composition: each is a file as it is called."""
    names = ["C:\\x", "..\\x", "CON", "Model", "model", "\u00fc", "u\u0308"]
    archive = _archive(tmp_path / "a.tar.gz", [_member(name, size=1) for name in names])
    extract_bundle(archive, tmp_path / "out")
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == sorted(names)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.tar.gz", "out"]


def test_extract_refuses_bombs(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.tar.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as packed:
        packed.write(_member("zeros", size=200 << 20).tobuf())
        for _ in range(200):
            packed.write(bytes(1 << 20))
    with pytest.raises(BundleInvalid, match="honest"):
        extract_bundle(bomb, tmp_path / "out", BundleLimits(ratio=100))
    header = tmp_path / "header.tar.gz"
    with gzip.open(header, "wb") as packed:
        packed.write(_member("././@PaxHeader", tarfile.XHDTYPE, size=1 << 30).tobuf())
    with pytest.raises(BundleInvalid, match="header"):
        extract_bundle(header, tmp_path / "out")


@pytest.mark.parametrize(
    "junk",
    [b"", b"no gzip at all", gzip.compress(b"no tar" * 500, mtime=0), gzip.compress(b"x")[:12]],
    ids=["empty", "no gzip", "no tar in it", "cut"],
)
def test_extract_of_junk_says_so(tmp_path: Path, junk: bytes) -> None:
    archive = tmp_path / "junk"
    archive.write_bytes(junk)
    with pytest.raises(BundleInvalid, match=r"sound tar\.gz"):
        extract_bundle(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_extract_of_a_cut_archive_leaves_nothing(tmp_path: Path) -> None:
    archive, _ = pack_directory(_tree(tmp_path / "project"), into=tmp_path)
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(BundleInvalid):
        extract_bundle(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_extract_onto_something_is_refused(tmp_path: Path) -> None:
    archive, _ = pack_directory(_tree(tmp_path / "project"), into=tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError):
        extract_bundle(archive, tmp_path / "out")
