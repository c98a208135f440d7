"""The sections of `kind: Sweep`: space, search, metric. Every mistake is noted with its path, none is fatal. Pure."""

from __future__ import annotations

from modelyard.documents.problems import Findings, Position, Reason, shown, suggestion
from modelyard.documents.section import Section, check_name
from modelyard.documents.yaml_text import Node
from modelyard.training.sweeps.space import LOGARITHMIC, Parameter, ParameterKind, Value
from modelyard.training.sweeps.sweep import (
    TRIALS_MOST,
    Asha,
    Metric,
    Pick,
    Resource,
    Search,
    SearchKind,
    combinations,
)

PARAMETERS_MOST = 50
CHOICES_MOST = 1_000
TEXT_MOST = 1_000
NUMBER_MOST = 1e15
SEED_MOST = 2**53 - 1
_KINDS = {kind.value: kind for kind in ParameterKind}
_INTEGERS = (ParameterKind.INT, ParameterKind.LOG_INT)


def space(section: Section) -> tuple[Parameter, ...]:
    """What is searched for."""
    inner = section.section("space")
    names = inner.names() if inner else ()
    if not names:
        section.wrong(
            "space", Reason.MISSING_FIELD, "what is searched for?", "space: {lr: {log_uniform: [1e-4, 0.1]}}"
        )
    if len(names) > PARAMETERS_MOST:
        message = f"it has {len(names)} parameters; at most {PARAMETERS_MOST} are taken"
        section.wrong("space", Reason.TOO_LARGE, message)
        return ()
    found = []
    for name in names:
        assert inner is not None
        node, at = inner.node_of(name), inner.position(name)
        if check_name(name, at, section.findings, "parameter") and node is not None:
            found.append(_parameter(name, node, at, section.findings))
    return tuple(filter(None, found))


def _parameter(name: str, node: Node, at: Position, findings: Findings) -> Parameter | None:
    if node.items is not None:
        choices = _choices(node, at, findings)
        return Parameter(name=name, kind=ParameterKind.CHOICE, choices=choices) if choices else None
    inner = Section(node, at, findings)
    kinds = [word for word in _KINDS if word in inner]
    if node.fields is not None and len(kinds) != 1:
        message = "it says what it may be by one word"
        findings.add(Reason.BAD_VALUE, message, at, f"a list, or one of {', '.join(_KINDS)}")
        return None
    if not kinds:
        return None
    kind = _KINDS[kinds[0]]
    if kind is ParameterKind.CHOICE:
        below = inner.node_of("choice")
        choices = _choices(below, inner.position("choice"), findings) if below is not None else ()
        inner.end()
        return Parameter(name=name, kind=kind, choices=choices) if choices else None
    before = len(findings)
    low, high = _bounds(inner, kind)
    step = _step(inner, kind, high - low)
    points = inner.integer("points", 0, 2, CHOICES_MOST) if "points" in inner else 0
    if points and step:
        inner.wrong("points", Reason.CONTRADICTION, "step and points both say which values there are")
    if points and kind is ParameterKind.INT:
        inner.wrong("points", Reason.CONTRADICTION, "integers have a step", "int: [16, 128], step: 16")
    if points and kind is ParameterKind.LOG_INT:
        inner.wrong("points", Reason.CONTRADICTION, "integers are listed", "choice: [16, 64, 256]")
    inner.end()
    if kind is ParameterKind.INT and not step:
        step = 1
    found = Parameter(name=name, kind=kind, low=low, high=high, step=step, points=points)
    return found if len(findings) == before else None


def _choices(node: Node, at: Position, findings: Findings) -> tuple[Value, ...]:
    found: list[Value] = []
    if node.items is None or not node.items:
        findings.add(Reason.WRONG_TYPE, f"it is {node.kind}, and should be a list of values", at)
        return ()
    if len(node.items) > CHOICES_MOST:
        message = f"it has {len(node.items)} values; at most {CHOICES_MOST} are taken"
        findings.add(Reason.TOO_LARGE, message, at)
        return ()
    for index, item in enumerate(node.items):
        place = Position(at.inner(index).path, item.line, item.column)
        value = item.scalar
        if value is None or (isinstance(value, str) and (len(value) > TEXT_MOST or "\0" in value)):
            message = f"it is {item.kind}, and should be a number, a text or a boolean"
            findings.add(Reason.WRONG_TYPE, message, place)
        elif any(value == other and type(value) is type(other) for other in found):
            findings.add(Reason.CONTRADICTION, f"{shown(str(value))} is there twice", place)
        else:
            found.append(value)
    return tuple(found)


def _bounds(section: Section, kind: ParameterKind) -> tuple[float, float]:
    items = section.items(kind.value, 2)
    values = [item.scalar for item, _ in items]
    wanted = (int,) if kind in _INTEGERS else (int, float)
    if len(values) != 2 or any(type(value) not in wanted for value in values):
        what = "two integers" if kind in _INTEGERS else "two numbers"
        message = f"it takes {what}: the lowest and the highest"
        section.wrong(kind.value, Reason.BAD_VALUE, message, f"{kind.value}: [1, 100]")
        return 0, 0
    low, high = (value for value in values if isinstance(value, int | float))
    if not -NUMBER_MOST <= low < high <= NUMBER_MOST:
        message = f"{low} … {high} is no range within ±{NUMBER_MOST:g}"
        section.wrong(kind.value, Reason.OUT_OF_RANGE, message, "the lower number first")
    elif kind in LOGARITHMIC and low <= 0:
        message = f"a logarithm needs bounds above 0, not {low}"
        section.wrong(kind.value, Reason.OUT_OF_RANGE, message)
    return low, high


def _step(section: Section, kind: ParameterKind, span: float) -> float:
    if "step" not in section:
        return 0
    if kind in LOGARITHMIC:
        section.number("step", 0, 0, NUMBER_MOST)
        section.wrong("step", Reason.CONTRADICTION, "factors are equal there, not differences", "points: 5")
        return 0
    if kind is ParameterKind.INT:
        return section.integer("step", 1, 1, max(1, int(span)))
    found = section.number("step", 0, 0, span if span > 0 else NUMBER_MOST)
    if not found:
        section.wrong("step", Reason.OUT_OF_RANGE, "a step is more than 0")
    elif span / found > NUMBER_MOST:
        section.wrong("step", Reason.OUT_OF_RANGE, f"steps of {found:g} do not end")
        return 0
    return found


def metric(section: Section) -> Metric | None:
    """By which trials are compared: a name, or name, mode, role and pick."""
    node = section.node_of("metric")
    if node is None:
        return None
    if node.fields is None:
        name = section.word("metric")
        return Metric(name=name) if name else None
    inner = section.section("metric")
    assert inner is not None
    name = inner.word("name")
    if not name:
        inner.wrong("name", Reason.MISSING_FIELD, "which metric?", "metric: {name: loss, mode: min}")
    mode = inner.word("mode", "min")
    if mode not in ("min", "max"):
        inner.wrong("mode", Reason.BAD_VALUE, f"{shown(mode)!r} is no mode", "min or max")
    pick = inner.choice("pick", Pick.BEST, {word.value: word for word in Pick})
    found = Metric(name=name, is_max=mode == "max", role=inner.word("role"), pick=pick)
    inner.end()
    return found if name else None


def search(section: Section, parameters: tuple[Parameter, ...]) -> Search | None:
    """How the space is searched; None: that cannot be said."""
    node = section.node_of("search")
    if node is not None and node.scalar == SearchKind.GRID.value:
        return _grid(section, "search", parameters)
    inner = section.section("search") if node is not None else None
    words = [kind for kind in SearchKind if inner is not None and kind.value in inner]
    if inner is None or len(words) != 1:
        message = "it says how to search by one word"
        section.wrong("search", Reason.MISSING_FIELD, message, "grid, random: {trials: 20}, or asha: {…}")
        return None
    if words[0] is SearchKind.GRID:
        below = inner.section("grid")
        if below is not None:
            below.end()
        inner.end()
        return _grid(inner, "grid", parameters)
    found = _random(inner, words[0], parameters)
    inner.end()
    return found


def _grid(section: Section, name: str, parameters: tuple[Parameter, ...]) -> Search | None:
    endless = [one for one in parameters if one.size is None]
    for one in endless:
        step = f"{one.kind.value}: […], points: 5" if one.kind in LOGARITHMIC else "step: 0.1, or points: 5"
        message = f"a grid needs values that can be counted, and {one.name} is {one}"
        section.wrong(name, Reason.CONTRADICTION, message, step)
    if endless or not parameters:
        return None
    total = combinations(parameters) or 0
    if total > TRIALS_MOST:
        sizes = " × ".join(str(one.size) for one in parameters)
        message = f"the grid has {sizes} = {total} combinations; at most {TRIALS_MOST} are tried"
        section.wrong(name, Reason.TOO_LARGE, message, "fewer values, or random: {trials: 100}")
        return None
    return Search(kind=SearchKind.GRID, trials=total)


def _random(section: Section, kind: SearchKind, parameters: tuple[Parameter, ...]) -> Search | None:
    inner = section.section(kind.value)
    assert inner is not None
    if "trials" not in inner:
        inner.wrong("trials", Reason.MISSING_FIELD, "how many trials?", "trials: 20")
    trials = inner.integer("trials", 1, 1, TRIALS_MOST)
    seed = inner.integer("seed", 0, 0, SEED_MOST) if "seed" in inner else None
    total = combinations(parameters)
    if total is not None and trials > total and parameters:
        message = f"there are {total} combinations only, and none is tried twice"
        inner.wrong("trials", Reason.OUT_OF_RANGE, message, f"trials: {total}")
    asha = _asha(inner) if kind is SearchKind.ASHA else None
    inner.end()
    return Search(kind=kind, trials=trials, seed=seed, asha=asha)


def _asha(section: Section) -> Asha:
    if "max" not in section:
        section.wrong("max", Reason.MISSING_FIELD, "how far does a whole trial go?", "max: 81")
    by = section.choice("by", Resource.STEP, {word.value: word for word in Resource})
    most = section.number("max", 81, 1e-6, NUMBER_MOST)
    found = Asha(
        most=most,
        reduction=section.integer("reduction", 3, 2, 100),
        grace=section.number("grace", 1, 1e-6, NUMBER_MOST),
        brackets=section.integer("brackets", 1, 1, 20),
        by=by,
    )
    if not found.levels(0):
        message = f"nobody is compared before {found.most:g} if the grace is {found.grace:g}"
        section.wrong("grace", Reason.CONTRADICTION, message, "a grace below max")
    elif not found.levels(found.brackets - 1):
        message = f"bracket {found.brackets} has no rung below {found.most:g}"
        fitting = sum(bool(found.levels(number)) for number in range(found.brackets))
        section.wrong("brackets", Reason.CONTRADICTION, message, f"brackets: {fitting}")
    return found


def role_of(metric: Metric | None, section: Section, roles: tuple[str, ...]) -> None:
    """Notes a metric's role that the framework does not have."""
    if metric is not None and metric.role and metric.role not in roles:
        at = section.position("metric").inner("role")
        message = f"there is no role {shown(metric.role)!r}"
        section.findings.add(Reason.UNKNOWN_ROLE, message, at, suggestion(metric.role, roles))
