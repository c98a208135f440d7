"""What a complete checkpoint is: closed, at rest, of a whole form, or proved so after a kill (S3.8, G8)."""

from __future__ import annotations

import io
import json
import pickle
import struct
import time
import zipfile
from pathlib import Path

import pytest

from services.agent.seats.checkpoint_files import ASIDE, Directory
from services.agent.seats.checkpoint_forms import Form, Torn, form_of
from services.agent.tasks.model import CheckpointRules


def archive(text: str = "weights") -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as made:
        made.writestr("data.pkl", text * 100)
    return held.getvalue()


def tensors(size: int = 12) -> bytes:
    header = json.dumps(
        {"__metadata__": {"a": "b"}, "w": {"dtype": "F32", "data_offsets": [0, size]}}
    ).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * size


WHOLE = {"a.pt": archive(), "a.safetensors": tensors(), "a.pkl": pickle.dumps({"w": list(range(500))})}


def directory(root: Path, **rules: object) -> Directory:
    return Directory(root, CheckpointRules("ckpt", settle_ms=0, **rules))  # type: ignore[arg-type]


def names(found: list[object]) -> list[str]:
    return [one.name for one in found]  # type: ignore[attr-defined]


def looked(made: Directory) -> list[str]:
    """Twice: the first look only sees what there is."""
    made.look()
    return names(made.look())


def aged(path: Path) -> Path:
    """As if its last write and its last change were one: that is what writing does."""
    for _ in range(50):
        with path.open("ab") as file:
            file.write(b"")
        found = path.stat()
        if found.st_ctime_ns == found.st_mtime_ns:
            break
        path.write_bytes(path.read_bytes())
    return path


# --- forms


@pytest.mark.parametrize("name", WHOLE)
def test_whole_file_is_proved_by_its_form(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WHOLE[name])
    assert form_of(tmp_path / name) is Form.WHOLE


@pytest.mark.parametrize("name", WHOLE)
def test_every_truncation_is_found(tmp_path: Path, name: str) -> None:
    path, whole = tmp_path / name, WHOLE[name]
    for cut in {0, 1, 7, 8, 9, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:cut])
        with pytest.raises(Torn):
            assert form_of(path) is not Form.WHOLE
            raise Torn
        if cut in (0, len(whole) - 1):
            with pytest.raises(Torn):
                form_of(path)


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 8 + b"{}", struct.pack("<Q", 4) + b"[[[[", struct.pack("<Q", 2) + b"[]", tensors() + b"\0"],
)
def test_head_that_lies_is_no_safetensors_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(Torn):
        form_of(tmp_path / "a.safetensors")


def test_other_forms_are_not_judged(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    assert form_of(tmp_path / "model.bin") is Form.UNKNOWN


# --- while somebody writes


def test_file_counts_once_it_is_closed_and_at_rest(tmp_path: Path) -> None:
    made = directory(tmp_path)
    with (tmp_path / "model.bin").open("wb") as file:
        file.write(b"half")
        file.flush()
        assert looked(made) == []
        file.write(b"whole")
    assert looked(made) == ["model.bin"]


def test_file_that_has_changed_counts_anew(tmp_path: Path) -> None:
    made = directory(tmp_path)
    (tmp_path / "last.bin").write_bytes(b"one")
    assert looked(made) == ["last.bin"]
    (tmp_path / "last.bin").write_bytes(b"three")
    assert names(made.look()) == []
    assert names(made.look()) == ["last.bin"]


def test_drafts_and_what_does_not_match_never_count(tmp_path: Path) -> None:
    for name in (".hidden", "tmp-5", "a.pt.tmp", "a.pt.tmp.3", "b.part", "notes.txt"):
        (tmp_path / name).write_bytes(archive())
    (tmp_path / "link.pt").symlink_to(tmp_path / "notes.txt")
    (tmp_path / "a.pt").write_bytes(archive())
    assert looked(directory(tmp_path, match="*.pt*")) == ["a.pt"]


def test_directory_counts_with_its_marker_only_where_one_is_named(tmp_path: Path) -> None:
    step = tmp_path / "step-1"
    step.mkdir()
    (step / "weights.bin").write_bytes(b"x")
    made = directory(tmp_path, marker="COMPLETE")
    assert looked(made) == []
    (step / "COMPLETE").touch()
    assert looked(made) == ["step-1"]


def test_directory_lacks_a_shard_that_its_index_names(tmp_path: Path) -> None:
    step = tmp_path / "step-1"
    step.mkdir()
    (step / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "one.safetensors"}}))
    made = directory(tmp_path)
    assert looked(made) == []
    (step / "one.safetensors").write_bytes(tensors())
    assert looked(made) == ["step-1"]
    (step / "__0_0.distcp").write_bytes(b"x")
    assert looked(made) == []
    (step / ".metadata").write_bytes(b"x")
    assert looked(made) == ["step-1"]


def test_group_of_files_is_one_checkpoint_once_all_are_there(tmp_path: Path) -> None:
    made = directory(tmp_path)
    (tmp_path / "ckpt-1.index").write_bytes(b"x")
    (tmp_path / "ckpt-1.data-00000-of-00002").write_bytes(b"x")
    assert looked(made) == []
    (tmp_path / "ckpt-1.data-00001-of-00002").write_bytes(b"x")
    assert looked(made) == ["ckpt-1"]


# --- once nobody writes any more


def test_after_a_kill_only_what_is_proved_or_was_seen_complete_counts(tmp_path: Path) -> None:
    made = directory(tmp_path)
    (tmp_path / "seen.bin").write_bytes(b"x")
    assert looked(made) == ["seen.bin"]
    aged_file = tmp_path / "fresh.bin"
    aged_file.write_bytes(b"half of it")
    aged(aged_file)
    (tmp_path / "whole.pt").write_bytes(archive())
    (tmp_path / "torn.pt").write_bytes(archive()[:-20])
    (tmp_path / "step-9").mkdir()
    (tmp_path / "step-9" / "weights.bin").write_bytes(b"x")
    expected = ["seen.bin", "whole.pt"]
    if aged_file.stat().st_ctime_ns != aged_file.stat().st_mtime_ns:
        pytest.skip("this disk tells both times apart after a write")
    assert names(made.last_look(is_clean=False)) == expected
    assert names(made.last_look(is_clean=True)) == ["fresh.bin", "seen.bin", "step-9", "whole.pt"]


def test_after_a_kill_a_file_that_got_its_name_at_the_end_counts(tmp_path: Path) -> None:
    draft = tmp_path / "model.bin.tmp"
    draft.write_bytes(b"all of it")
    time.sleep(0.02)  # The kernel's clock of files ticks in hundredths of a second.
    draft.replace(tmp_path / "model.bin")
    assert names(directory(tmp_path).last_look(is_clean=False)) == ["model.bin"]


def test_after_a_kill_the_marker_proves_a_directory(tmp_path: Path) -> None:
    (tmp_path / "step-1").mkdir()
    (tmp_path / "step-1" / "weights.bin").write_bytes(b"x")
    made = directory(tmp_path, marker="DONE")
    assert names(made.last_look(is_clean=True)) == []
    (tmp_path / "step-1" / "DONE").touch()
    assert names(made.last_look(is_clean=False)) == ["step-1"]


def test_what_is_torn_is_put_aside_and_what_is_dropped_goes(tmp_path: Path) -> None:
    made = directory(tmp_path)
    for name in ("one.pt", "two.pt", "ckpt-1.index"):
        (tmp_path / name).write_bytes(archive())
    (tmp_path / "dir").mkdir()
    (tmp_path / f"{ASIDE}dir").mkdir()
    assert sorted(made.put_aside(["one.pt"])) == ["ckpt-1", "dir", "two.pt"]
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f"{ASIDE}ckpt-1.index", f"{ASIDE}dir", f"{ASIDE}two.pt", "one.pt"]
    made.remove(["one.pt", "never.pt"])
    assert not (tmp_path / "one.pt").exists()


def test_directory_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    made = directory(tmp_path / "missing")
    assert looked(made) == [] and names(made.last_look(is_clean=True)) == []
