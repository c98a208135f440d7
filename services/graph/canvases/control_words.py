"""What a control node does, in words: for those who ask before it runs, and for pictures. Pure."""

from services.graph.model import (
    Body,
    BranchControl,
    Comparison,
    Condition,
    GateControl,
    LoopControl,
    MapControl,
    PlannedNode,
)

NAMES_MOST = 5
_SIGNS = {
    Comparison.EQUAL: "=",
    Comparison.NOT_EQUAL: "≠",
    Comparison.LESS: "<",
    Comparison.LESS_OR_EQUAL: "≤",
    Comparison.GREATER: ">",
    Comparison.GREATER_OR_EQUAL: "≥",
    Comparison.IN: "in",
}


def described(node: PlannedNode) -> str:
    """One line; empty of what an agent executes."""
    control = node.control
    if isinstance(control, BranchControl):
        cases = [f"{case.port} if {condition_words(case.condition)}" for case in control.cases[:NAMES_MOST]]
        return ", ".join([*cases, f"else {control.otherwise}"])
    if isinstance(control, MapControl):
        return f"executes {_body(control.body)} for each {_item(control)}{_bounds(control)}"
    if isinstance(control, LoopControl):
        until = f" until {control.until_port}: {condition_words(control.until)}" if control.until else ""
        return f"executes {_body(control.body)}{until}, at most {control.max_iterations:,} times"
    if isinstance(control, GateControl):
        return f"waits for {' or '.join(control.approvers) or 'whoever may run the project'} to approve"
    return ""


def condition_words(condition: Condition) -> str:
    """As people would write it."""
    part = f"value.{condition.path}" if condition.path[:1].isdigit() else condition.path or "the value"
    if condition.comparison is Comparison.EXISTS:
        return f"{part} exists"
    value = condition.value if len(condition.value) <= 40 else condition.value[:39] + "…"
    return f"{part} {_SIGNS[condition.comparison]} {value}"


def _item(control: MapControl) -> str:
    return f"{control.batch_size:,} items" if control.batch_size else "item"


def _bounds(control: MapControl) -> str:
    parallel = f", at most {control.max_parallel:,} at a time" if control.max_parallel else ""
    ratio = control.min_success_ratio
    return parallel + (f", {ratio:.0%} of them must succeed" if ratio < 1 else "")


def _body(body: Body) -> str:
    names = [node.id for node in body.graph.nodes]
    more = f" and {len(names) - NAMES_MOST} more" if len(names) > NAMES_MOST else ""
    return ", ".join(names[:NAMES_MOST]) + more
