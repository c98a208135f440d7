"""Whose components may do what opening them does is the server's word alone (S2, safety)."""

from __future__ import annotations

from dataclasses import fields

import pytest

from modelyard.documents.problems import Refused
from modelyard.models import read_config
from services.chassis.process.config import ConfigInvalid
from services.models.config import ModelsConfig
from services.models.trust.words import NOBODY, read_trust

DIGEST = "ab" * 32


def test_nobody_is_trusted_where_nothing_is_said() -> None:
    assert read_trust("") == read_trust(" , ") == NOBODY
    assert not NOBODY.opens("ada", "iris", DIGEST) and not NOBODY.constructs("ada", "iris", DIGEST)


@pytest.mark.parametrize("word", ["ada", "ada/iris", f"sha256:{DIGEST}", DIGEST])
def test_word_opens_what_it_means_and_nothing_else(word: str) -> None:
    trust = read_trust(f"carol, {word}")
    assert trust.opens("ada", "iris", DIGEST) == word.removeprefix("sha256:")
    assert not trust.opens("bob", "iris", "cd" * 32)
    assert bool(trust.opens("ada", "wine", "cd" * 32)) == (word == "ada")
    assert not trust.constructs("ada", "iris", DIGEST)


def test_types_are_gathered_from_all_words_that_mean_a_component() -> None:
    trust = read_trust(f"ada=a.B+c.D, ada/iris=e.F, *=g.H, bob=i.J, sha256:{DIGEST}=k.L, ada=m.N")
    assert trust.constructs("ada", "iris", DIGEST) == ("a.B", "c.D", "e.F", "g.H", "k.L", "m.N")
    assert trust.constructs("bob", "iris", "") == ("g.H", "i.J")
    assert not trust.opens("ada", "iris", DIGEST)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("*", "everybody"),
        ("ada=", "names no type"),
        ("ada=Scaler", "package.module.Class"),
        ("ada=a.B;c", "package.module.Class"),
        ("=a.B", "WHO"),
        ("ada/iris/3", "WHO"),
        ("ada lovelace", "WHO"),
        ("ada=os.system", "never trusted"),
        ("ada=operator.methodcaller", "never trusted"),
        ("*=builtins.eval", "never trusted"),
        ("*=requests.Session", "never trusted"),
        ("*=operator.attrgetter", "never trusted"),
    ],
)
def test_what_is_no_list_is_refused_in_words(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        read_trust(text)


def test_option_that_is_no_list_stops_the_start(tmp_path: object) -> None:
    kept = next(one for one in fields(ModelsConfig) if one.name == "trust")
    assert "ACCOUNT/MODEL" in kept.metadata["help"]
    with pytest.raises(ConfigInvalid, match="trust: "):
        _ = ModelsConfig(state_dir=tmp_path, trust="*").trusted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "document",
    [
        "may_unpickle: true",
        "component: {trusted_types: [os.system]}",
        "runtime: {may_unpickle: true}",
        "trust: ada",
    ],
)
def test_model_yaml_has_no_word_in_it(document: str) -> None:
    with pytest.raises(Refused):
        read_config(document)
