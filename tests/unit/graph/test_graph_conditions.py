"""Conditions of branches and loops: every comparison, missing parts, types (S1.9)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.graph.model import Comparison, Condition
from services.graph.runs.conditions import NotComparable, decoded, holds, part_at

VALUE = {"score": 0.5, "name": "cat", "items": [3, {"deep": [True]}], "none": None, "": 7, "0": "zero"}


def condition(path: str, comparison: Comparison, value: Any = None) -> Condition:
    is_exists = comparison is Comparison.EXISTS
    return Condition(path, comparison, "" if is_exists else msgspec.json.encode(value).decode())


@pytest.mark.parametrize(
    ("path", "comparison", "wanted", "expected"),
    [
        ("score", Comparison.EQUAL, 0.5, True),
        ("score", Comparison.NOT_EQUAL, 0.5, False),
        ("score", Comparison.LESS, 0.5, False),
        ("score", Comparison.LESS_OR_EQUAL, 0.5, True),
        ("score", Comparison.GREATER, 0, True),
        ("score", Comparison.GREATER_OR_EQUAL, 1, False),
        ("name", Comparison.LESS, "dog", True),
        ("name", Comparison.IN, ["dog", "cat"], True),
        ("name", Comparison.IN, [], False),
        ("items.0", Comparison.IN, [3.0], True),
        ("items.1.deep.0", Comparison.EQUAL, True, True),
        ("items.1.deep.0", Comparison.EQUAL, 1, False),
        ("items.1.deep", Comparison.EQUAL, [1], False),
        ("items.1", Comparison.EQUAL, {"deep": [True]}, True),
        ("items.1", Comparison.NOT_EQUAL, {"deep": [1]}, True),
        ("items.1", Comparison.IN, [{"deep": [1]}], False),
        ("none", Comparison.EXISTS, None, True),
        ("none", Comparison.EQUAL, None, True),
        ("none", Comparison.EQUAL, False, False),
        ("0", Comparison.EQUAL, "zero", True),
    ],
)
def test_part_is_compared_as_json_has_it(
    path: str, comparison: Comparison, wanted: Any, expected: bool
) -> None:
    assert holds(condition(path, comparison, wanted), VALUE) is expected


@pytest.mark.parametrize(
    "path", ["nothing", "items.2", "items.-1", "items.x", "items.²", "name.0", "score.x.y", "items..0"]
)
def test_what_is_not_there_equals_nothing(path: str) -> None:
    assert not holds(condition(path, Comparison.EXISTS), VALUE)
    assert holds(condition(path, Comparison.NOT_EQUAL, None), VALUE)
    for comparison in Comparison:
        if comparison not in (Comparison.EXISTS, Comparison.NOT_EQUAL):
            assert not holds(condition(path, comparison, [1] if comparison is Comparison.IN else 1), VALUE)


@pytest.mark.parametrize(
    ("path", "wanted", "words"),
    [
        ("name", 1, "a text"),
        ("none", 1, "null"),
        ("items", 1, "a list"),
        ("score", True, "a boolean"),
        ("", 1, "the value"),
    ],
)
def test_what_cannot_be_ordered_is_refused_with_its_types(path: str, wanted: Any, words: str) -> None:
    with pytest.raises(NotComparable, match=words):
        holds(condition(path, Comparison.LESS, wanted), VALUE)


def test_empty_path_is_the_value_itself() -> None:
    assert part_at(3, "") == 3
    assert holds(condition("", Comparison.GREATER, 2), 3)


@pytest.mark.parametrize(("text", "value"), [("", None), ("null", None), ("[1]", [1])])
def test_empty_set_is_null(text: str, value: Any) -> None:
    assert decoded(text) == value


@pytest.mark.parametrize("text", ["{", "NaN", "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(NotComparable):
        decoded(text)
