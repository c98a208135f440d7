"""Backups: consistent under writes, restored whole or not at all."""

from __future__ import annotations

import io
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from cli.archives.archive import MANIFEST, read_backup, write_backup
from cli.archives.snapshot import BackupFailed, copy_database, taken
from cli.errors import CommandError


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "yard"
    for name in ("secrets", "scheduler/logs", "store/blobs/ab", "run", "logs", "agents/node-1"):
        (state / name).mkdir(parents=True)
    (state / "secrets" / "admin.token").write_text("secret")
    (state / "secrets" / "admin.token").chmod(0o600)
    (state / "store" / "blobs" / "ab" / "abcd").write_bytes(b"blob")
    (state / "run" / "scheduler.json").write_text("{}")
    (state / "agents" / "node-1" / "epoch").write_text("1")
    with closing(sqlite3.connect(state / "scheduler" / "scheduler.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (n INTEGER)")
        database.execute("INSERT INTO t VALUES (1)")
        database.commit()
    return state


def ignore(_: str) -> None:
    pass


def test_backup_holds_data_and_secrets_but_nothing_of_this_moment(state: Path, tmp_path: Path) -> None:
    counts = write_backup(state, tmp_path / "b.tar.gz")
    assert counts == {"databases": 1, "files": 2}
    target = tmp_path / "other"
    assert read_backup(tmp_path / "b.tar.gz", target, ignore) == counts
    found = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert found == {
        "secrets/admin.token",
        "store/blobs/ab/abcd",
        "scheduler/scheduler.db",
        "scheduler/restored",
    }
    assert (target / "secrets" / "admin.token").stat().st_mode & 0o777 == 0o600
    assert target.stat().st_mode & 0o777 == 0o700


def test_copy_of_a_database_is_of_one_moment_and_leaves_the_wal_alone(state: Path, tmp_path: Path) -> None:
    source = state / "scheduler" / "scheduler.db"
    with closing(sqlite3.connect(source)) as writer:
        writer.execute("INSERT INTO t VALUES (2)")
        writer.commit()
        wal_bytes = source.with_name("scheduler.db-wal").stat().st_size
        writer.execute("INSERT INTO t VALUES (3)")
        with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as reader:
            copy_database(reader, tmp_path / "copy.db")
        assert source.with_name("scheduler.db-wal").stat().st_size >= wal_bytes > 0
        writer.rollback()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("SELECT n FROM t").fetchall() == [(1,), (2,)]


def test_backup_of_no_yard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no yard"):
        write_backup(tmp_path, tmp_path / "b.tar.gz")


def archive_with(path: Path, name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member_name, content, member_kind in ((MANIFEST, b"{}", tarfile.REGTYPE), (name, data, kind)):
            member = tarfile.TarInfo(member_name)
            member.size, member.type = len(content), member_kind
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("../outside", b"x", tarfile.REGTYPE),
        ("/etc/outside", b"x", tarfile.SYMTYPE),
        ("scheduler/scheduler.db", b"not a database at all" * 100, tarfile.REGTYPE),
    ],
)
def test_hostile_or_damaged_backup_leaves_nothing(
    tmp_path: Path, name: str, data: bytes, kind: bytes
) -> None:
    source = archive_with(tmp_path / "b.tar.gz", name, data, kind)
    with pytest.raises(BackupFailed):
        read_backup(source, tmp_path / "yard", ignore)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar.gz"]


def test_cut_or_foreign_file_is_no_backup(state: Path, tmp_path: Path) -> None:
    write_backup(state, tmp_path / "b.tar.gz")
    whole = (tmp_path / "b.tar.gz").read_bytes()
    for data in (whole[: len(whole) // 2], b"hello", b""):
        (tmp_path / "cut.tar.gz").write_bytes(data)
        with pytest.raises(BackupFailed):
            read_backup(tmp_path / "cut.tar.gz", tmp_path / "target", ignore)
        assert not (tmp_path / "target").exists()


def test_moment_is_one_for_all_databases_and_files(state: Path, tmp_path: Path) -> None:
    """What is removed and added while the backup is written is in it as it was."""
    blob = state / "store" / "blobs" / "ab" / "abcd"
    with closing(sqlite3.connect(state / "store" / "store.db")) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE blob (digest TEXT, quarantine_time_ms INTEGER)")
        store.execute("INSERT INTO blob VALUES ('abcd', NULL)")
        store.commit()
        with taken(state) as snapshot:
            store.execute("DELETE FROM blob")
            store.commit()
            blob.unlink()
            files = dict(snapshot.files())
            assert files["store/blobs/ab/abcd"].read_bytes() == b"blob"
            for name, copy in snapshot.databases(tmp_path):
                if name == "store/store.db":
                    with closing(sqlite3.connect(copy)) as copied:
                        assert copied.execute("SELECT digest FROM blob").fetchall() == [("abcd",)]
    assert not list(state.glob(".backup-*"))


def test_row_without_its_bytes_is_never_backed_up(state: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(state / "store" / "store.db")) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE blob (digest TEXT, quarantine_time_ms INTEGER)")
        store.execute("INSERT INTO blob VALUES ('gone', NULL)")
        store.commit()
    with pytest.raises(BackupFailed, match="removed faster"):
        write_backup(state, tmp_path / "b.tar.gz")
    assert not (tmp_path / "b.tar.gz").exists()
