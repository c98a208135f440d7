import json
import math

import pytest

from modelyard import Context, OperatorFailed
from modelyard.catalog import OPERATORS, describe_all, function_of
from modelyard.catalog.registry import OperatorNotFound, find
from modelyard.operator import validate_params


def test_describe_all_names_every_operator_as_it_is_registered() -> None:
    described = describe_all()
    assert [item["name"] for item in described] == sorted(OPERATORS)
    for item in described:
        assert item["summary"].endswith(".")
        assert json.loads(item["params_schema_json"]) == item["params_schema"]


def test_find_unknown_operator_proposes_the_nearest() -> None:
    with pytest.raises(OperatorNotFound, match="did you mean 'echo'"):
        find("ecko")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_module_here:f", "no module 'no_such_module_here'"),
        ("json:nothing", "has no function 'nothing'"),
        ("sixty-two", "write package.module:function"),
    ],
)
def test_find_missing_function_says_what_is_missing(name: str, reason: str) -> None:
    with pytest.raises(OperatorNotFound, match=reason):
        find(name)


def test_find_by_module_and_function_takes_undeclared_functions() -> None:
    assert find("math:gcd").function is math.gcd


def test_pi_gives_the_digits_asked_for() -> None:
    reported: list[float] = []
    context = Context(report=lambda ratio, _: reported.append(ratio))
    digits = function_of("pi")(context, digits=2000)
    assert digits.startswith("3.14159265358979323846")
    assert len(digits) == 2 + 2000
    assert reported == sorted(reported)


def test_echo_schema_takes_anything_as_value() -> None:
    schema = next(item for item in describe_all() if item["name"] == "echo")["params_schema"]
    assert validate_params(schema, {"value": {"deep": [1, None]}}) == []


TABLE = "city,people\nRome,3\nOslo,1\nBern,\n"


def test_table_describe_counts_and_averages() -> None:
    summary = function_of("table.describe")(TABLE)
    assert summary["rows"] == 3
    assert summary["columns"]["people"] == {
        "count": 2, "missing": 1, "distinct": 2, "least": 1.0, "mean": 2.0, "most": 3.0,
    }  # fmt: skip
    assert summary["columns"]["city"] == {"count": 3, "missing": 0, "distinct": 3}


def test_table_filter_compares_numbers_as_numbers() -> None:
    assert function_of("table.filter")("n\n9\n10\n", "n", 9.5, ">") == b"n\n10\n"


def test_table_filter_unknown_column_names_the_known() -> None:
    with pytest.raises(OperatorFailed, match="has no column 'town'") as caught:
        function_of("table.filter")(TABLE, "town", "x")
    assert caught.value.next_step == "name one of its columns: city, people"
