"""The trigger conditions of KFP, which are expressions of CEL, as cases of a branch.

Read are comparisons of a parameter with a constant, "!" before one, and "&&" between them, which is what if, elif and
else come to; nothing is evaluated. Pure.
"""

import json
import re
from typing import Any, NamedTuple

from services.graph.canvases.canvas import ConditionWork
from services.graph.model import Comparison

LENGTH_MOST = 2_000
_PARAMETER = r"inputs\.parameter(?:_value)?s\['([^'\\]{1,200})'\](?:\.(?:string|int|double)_value)?"
_VALUE = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|-?[0-9]{1,18}(?:\.[0-9]{1,18})?|true|false|null"
_TEST = re.compile(
    rf"\s*(?P<not>!?)\s*\(?\s*(?:(?:int|double|string)\()?{_PARAMETER}\)?\s*(?P<how>==|!=|<=|>=|<|>)\s*(?P<value>{_VALUE})\s*\)?\s*"
)
_BY_SIGN = {
    "==": Comparison.EQUAL,
    "!=": Comparison.NOT_EQUAL,
    "<": Comparison.LESS,
    "<=": Comparison.LESS_OR_EQUAL,
    ">": Comparison.GREATER,
    ">=": Comparison.GREATER_OR_EQUAL,
}
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


class Test(NamedTuple):
    """One comparison: the parameter, and what it is compared with how."""

    parameter: str
    condition: ConditionWork


def read_conditions(text: str) -> tuple[Test, ...]:
    """The comparisons all of which have to hold: of if, elif and else; empty: it is something else."""
    if len(text) > LENGTH_MOST:
        return ()
    tests = [read_condition(part) for part in text.split("&&")]
    return () if None in tests else tuple(test for test in tests if test is not None)


def read_condition(text: str) -> Test | None:
    """The comparison; None: it is more than one, or something else."""
    found = _TEST.fullmatch(text) if len(text) <= LENGTH_MOST else None
    if found is None:
        return None
    sign = _OPPOSITE[found["how"]] if found["not"] else found["how"]
    return Test(found[2], ConditionWork("", _BY_SIGN[sign], _value(found["value"])))


def write_condition(test: Test) -> str:
    """The expression of a comparison; empty: there is none for it."""
    signs = {comparison: sign for sign, comparison in _BY_SIGN.items()}
    sign = signs.get(test.condition.comparison) if test.condition.comparison else None
    value = test.condition.value
    if sign is None or test.condition.path or not isinstance(value, str | int | float | bool):
        return ""
    name = test.parameter.replace("'", "")
    shown = f"'{_quoted(value)}'" if isinstance(value, str) else json.dumps(value)
    return f"inputs.parameter_values['{name}'] {sign} {shown}"


def _value(text: str) -> Any:
    if text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return json.loads(text)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
