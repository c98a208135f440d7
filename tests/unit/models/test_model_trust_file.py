"""The list of trust is read again when it changes, whole or not at all (S2, safety: trust lists live on the server)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.models.trust.file import TrustFile, words_of
from services.models.trust.words import Trust, read_trust
from tests.support.fake_clock import FakeClock


class Watched:
    """A file beside the option, and the lists that came into force."""

    def __init__(self, path: Path, option: str = "") -> None:
        self.path = path
        self.taken: list[Trust] = []
        self.file = TrustFile(path, read_trust(option), FakeClock(), self.taken.append)

    def write(self, text: str, mode: int = 0o600) -> None:
        """As an editor does: another file in its place."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.chmod(mode)
        new.replace(self.path)
        self.look()

    def look(self) -> None:
        """Twice: a file that changes is read once it has come to rest."""
        self.file.look()
        self.file.look()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    found = Watched(tmp_path / "trust", "carol")
    found.look()
    return found


def test_words_on_lines_with_remarks_are_the_words_of_the_option() -> None:
    assert words_of("ada  # hers\n\n# none\nbob/iris, *=a.B\n") == "ada,,,bob/iris, *=a.B"
    assert read_trust(words_of("ada # x\n*=a.B")) == read_trust("ada,*=a.B")


def test_list_that_changes_counts_at_the_next_look_beside_the_option(watched: Watched) -> None:
    watched.look()
    assert (watched.file.trusted, watched.taken) == (read_trust("carol"), [])
    watched.write("ada\nada=a.B\n")
    assert watched.file.trusted == read_trust("carol,ada,ada=a.B") == watched.taken[-1]
    watched.look()
    assert len(watched.taken) == 1
    watched.write("bob\n")
    assert watched.file.trusted == read_trust("carol,bob")
    watched.path.unlink()
    watched.look()
    assert watched.file.trusted == read_trust("carol") == watched.taken[-1]


@pytest.mark.parametrize("text", ["ada\n*\n", "ada=os.system", "ada=", "ada lovelace"])
def test_list_that_is_wrong_leaves_the_one_before_and_says_so(watched: Watched, text: str) -> None:
    watched.write("ada\n")
    watched.write(text)
    assert watched.file.trusted == read_trust("carol,ada") and watched.file.refusal
    assert len(watched.taken) == 1
    watched.write("bob\n")
    assert watched.file.trusted == read_trust("carol,bob") and not watched.file.refusal


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_list_that_others_may_write_does_not_count(watched: Watched, mode: int) -> None:
    watched.write("eve\n", mode)
    assert watched.file.trusted == read_trust("carol") and "chmod" in watched.file.refusal
    watched.path.chmod(0o600)
    watched.look()
    assert watched.file.trusted == read_trust("carol,eve") and not watched.file.refusal


def test_what_is_no_file_or_no_text_does_not_count(watched: Watched) -> None:
    watched.path.write_bytes(b"\xff\xfe")
    watched.path.chmod(0o600)
    watched.look()
    assert watched.file.refusal and watched.file.trusted == read_trust("carol")
    watched.path.unlink()
    os.mkfifo(watched.path, 0o600)
    watched.look()
    assert "regular" in watched.file.refusal


def test_file_that_is_being_written_is_read_once_it_has_come_to_rest(watched: Watched) -> None:
    watched.path.write_text("ada")
    watched.path.chmod(0o600)
    watched.file.look()
    watched.path.write_text("ada/iris\n")
    watched.file.look()
    assert watched.taken == []
    watched.file.look()
    assert watched.taken == [read_trust("carol,ada/iris")]


def test_list_that_lies_there_at_the_start_counts_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "trust"
    path.write_text("ada\n")
    path.chmod(0o600)
    watched = Watched(path)
    watched.file.look()
    assert watched.file.trusted == read_trust("ada")
