import dataclasses
from typing import Annotated, Any, Literal

import pytest

from modelyard.operator import Range, describe, validate_params


@dataclasses.dataclass
class Box:
    width: int
    tags: list[str] = dataclasses.field(default_factory=list)


def shapes(
    n: int,
    name: str = "x",
    box: Box | None = None,
    mode: Literal["a", "b"] = "a",
    pair: tuple[int, int] = (1, 2),
) -> None: ...


SCHEMA = describe(shapes)["params_schema"]


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        ({"n": "3x"}, "n", "parameter 'n' of operator 'shapes' must be an integer, got '3x'"),
        ({"n": True}, "n", "must be an integer, got True"),
        ({"n": 1.5}, "n", "must be an integer, got 1.5"),
        ({}, "n", "parameter 'n' of operator 'shapes' is missing; it must be an integer"),
        ({"n": 1, "nmae": "y"}, "nmae", "is not known; did you mean 'name'?"),
        ({"n": 1, "zzz": 0}, "zzz", "is not known; known are: n, name, box, mode, pair"),
        ({"n": 1, "mode": "c"}, "mode", 'must be "a" or "b", got \'c\''),
        ({"n": 1, "box": {"width": "w"}}, "box.width", "must be an integer, got 'w'"),
        ({"n": 1, "box": {"width": 1, "tags": ["a", 2]}}, "box.tags[1]", "must be a string, got 2"),
        ({"n": 1, "box": 7}, "box", "must be an object or null, got 7"),
        ({"n": 1, "pair": [1]}, "pair", "must have 2 items, got 1"),
    ],
)
def test_validate_wrong_params_says_field_and_what_to_change(
    params: dict[str, Any], field: str, message: str
) -> None:
    (problem,) = validate_params(SCHEMA, params)
    assert problem.field == field
    assert message in problem.message


def test_validate_right_params_finds_nothing() -> None:
    params = {"n": 3.0, "box": {"width": 1, "tags": ["a"]}, "mode": "b", "pair": [3, 4]}
    assert validate_params(SCHEMA, params) == []


def test_validate_several_mistakes_reports_all() -> None:
    assert [problem.field for problem in validate_params(SCHEMA, {"name": 1, "x": 2})] == ["n", "name", "x"]


def test_validate_number_beyond_its_range_says_the_range() -> None:
    def bounded(
        width: Annotated[int, Range(1, 4096)],
        rate: Annotated[float, Range(most=1)] = 0.5,
        mode: Literal["a"] = "a",
    ) -> None: ...

    schema = describe(bounded)["params_schema"]
    assert schema["properties"]["width"] == {"type": "integer", "minimum": 1, "maximum": 4096}
    problems = validate_params(schema, {"width": 0, "rate": 1.5, "mode": "b"})
    assert [(problem.field, problem.kind) for problem in problems] == [
        ("width", "range"),
        ("rate", "range"),
        ("mode", "range"),
    ]
    assert "must be 1 to 4096, got 0" in problems[0].message
    assert "must be at most 1, got 1.5" in problems[1].message
    assert validate_params(schema, {"width": 4096, "rate": 1.0}) == []


def test_validate_says_what_kind_of_mistake_it_is() -> None:
    kinds = {problem.field: problem.kind for problem in validate_params(SCHEMA, {"name": 1, "x": 2})}
    assert kinds == {"n": "missing", "name": "type", "x": "unknown"}


def test_describe_range_of_a_text_is_refused() -> None:
    def wrong(name: Annotated[str, Range(1, 2)]) -> None: ...

    with pytest.raises(TypeError, match="bounds a number"):
        describe(wrong)
