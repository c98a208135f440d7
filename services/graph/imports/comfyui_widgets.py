"""What the unnamed widget values of a ComfyUI node are called. Pure."""

from typing import Any

from services.graph.canvases.operators import Operator
from services.graph.imports.part import Part

_AFTER = ("fixed", "increment", "decrement", "randomize")
"""What the editor does with a seed after a run: a value of its own, which no input has."""
UNNAMED = "widgets_values"


def named_values(part: Part, operator: Operator | None, node: str) -> dict[str, Any]:
    """The parameters of a node. Values that nothing names stay together under "widgets_values", and are told."""
    value = part.value(UNNAMED)
    if isinstance(value, dict):
        return dict(value)
    if not isinstance(value, list) or not value:
        return {}
    names = _of_inputs(part) or _of_operator(operator)
    taken = _matched(names, value)
    if taken is None:
        known = f"{len(names)} names" if names else "no names"
        part.report.add(part.at(UNNAMED), f"has {len(value)} values, for which there are {known}", node)
        return {UNNAMED: value}
    return taken


def _of_inputs(part: Part) -> list[str]:
    inputs = part.value("inputs")
    widgets = (
        [each.get("widget") for each in inputs if isinstance(each, dict)] if isinstance(inputs, list) else []
    )
    names = [widget.get("name") for widget in widgets if isinstance(widget, dict)]
    return [name for name in names if isinstance(name, str)]


def _of_operator(operator: Operator | None) -> list[str]:
    properties = (operator.schema or {}).get("properties") if operator else None
    return list(properties) if isinstance(properties, dict) else []


def _matched(names: list[str], values: list[Any]) -> dict[str, Any] | None:
    """Values by name; None: there are more values than names, and not for a reason that is known."""
    found: dict[str, Any] = {}
    left = list(reversed(values))
    for name in names:
        if not left:
            break
        found[name] = left.pop()
        spare = len(left) > len(names) - len(found)
        if spare and "seed" in name and left and left[-1] in _AFTER:
            left.pop()
    return None if left or not names else found
