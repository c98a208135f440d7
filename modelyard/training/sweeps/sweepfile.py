"""`kind: Sweep` from YAML, with its job and the framework that it names; or all that is wrong with them. Pure.

The job stands in the sweep under `job`, or as a document of its own beside it. What is wrong with it once values are
in it is told with the lines of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import msgspec

from modelyard.documents.problems import (
    Findings,
    Kind,
    Position,
    Problem,
    Reason,
    Refused,
    shown,
)
from modelyard.documents.section import ID, Section
from modelyard.documents.yaml_text import Node, locate, read
from modelyard.training.plans import jobfile
from modelyard.training.plans.jobfile import Changes, Find
from modelyard.training.plans.plan import Plan
from modelyard.training.sweeps import sections
from modelyard.training.sweeps.binding import bound, names_in
from modelyard.training.sweeps.space import Value
from modelyard.training.sweeps.sweep import Search, SearchKind, Sweep

PARALLEL_MOST = 1_000
NODES_MOST = 4_000
"""Values of a job that is written out for every trial."""
PROBES_MOST = 24
"""Trials that are looked at before a sweep begins: the first, and those at the ends of each parameter."""
PROBED_MOST = 4_000
"""Values of jobs that are looked at for it; of large jobs fewer trials are."""


class SweepChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What is laid over a sweep file."""

    name: str = ""
    queue: str = ""
    parallel: int = 0


def plan_sweep(
    text: str | bytes, find: Find, known: tuple[str, ...] = (), changes: SweepChanges | None = None
) -> tuple[Sweep, Plan]:
    """The text's one sweep, and the plan of a job of it. Raises `Refused` with everything that is wrong."""
    findings = Findings(Kind.JOB)
    found = _swept(read(text, findings), find, known, changes or SweepChanges(), findings)
    findings.refuse()
    if found is None:
        raise Refused(findings.all())
    return found


def read_sweep(text: str | bytes, changes: SweepChanges | None = None) -> Sweep:
    """Of a text that was taken before: frameworks are not asked for. Raises `Refused`."""
    findings = Findings(Kind.JOB)
    documents = read(text, findings)
    found = _sweep(documents, changes or SweepChanges(), findings)
    findings.refuse()
    if found is None:
        raise Refused(findings.all())
    return found[0]


def ask_sweep(text: str, findings: Findings) -> None:
    """Reads a sweep for what the language asks of it; what is wrong is noted."""
    _sweep(read(text, findings), SweepChanges(), findings)


def problems_of(text: str | bytes, find: Find, known: tuple[str, ...] = ()) -> tuple[Problem, ...]:
    """Everything that is wrong with a sweep, with a job, or with definitions of frameworks alone."""
    findings = Findings(Kind.JOB)
    documents = read(text, findings)
    if not any(jobfile.kind_of(node) == "Sweep" for node in documents):
        return jobfile.problems_of(text, find, known)
    _swept(documents, find, known, SweepChanges(), findings)
    return findings.all()


def plan_text(
    text: str | bytes, find: Find, known: tuple[str, ...] = (), changes: Changes | None = None
) -> Plan:
    """The plan of a text's one job, or of the first trial of its sweep; `changes` are for jobs. Raises `Refused`."""
    if any(jobfile.kind_of(node) == "Sweep" for node in read(text, Findings(Kind.JOB))):
        sweep, _ = plan_sweep(text, find, known)
        first = sweep.document(1, sweep.values(1, sweep.search.seed or 0), {})
        return jobfile.plan_job(first, find, known, changes)
    return jobfile.plan_job(text, find, known, changes)


def _swept(
    documents: list[Node], find: Find, known: tuple[str, ...], changes: SweepChanges, findings: Findings
) -> tuple[Sweep, Plan] | None:
    found = _sweep(documents, changes, findings)
    if found is None or findings:
        return None
    sweep, section, prefix = found
    plan: Plan | None = None

    def tried(values: Mapping[str, Value]) -> tuple[Plan | None, tuple[Problem, ...]]:
        seen = Findings(Kind.JOB)
        nodes = [*sweep.frameworks, bound(sweep.job, values)]
        return jobfile.planned(nodes, find, known, Changes(), seen), seen.all()

    for values in _probes(sweep):
        made, problems = tried(values)
        if problems or made is None:
            # What is wrong with other values too has nothing to do with them.
            always = {(one.path, one.message) for one in tried(_others(sweep, values))[1]}
            findings.extend(_placed(problems, prefix, values, always))
            return None
        plan = plan or made
    assert plan is not None
    sections.role_of(sweep.metric, section, plan.framework.role_names)
    if plan.job.suspended:
        with findings.of(Kind.JOB, partial(locate, section.node if prefix else sweep.job)):
            at = Position(f"{prefix}suspend")
            findings.add(Reason.CONTRADICTION, "trials that are suspended never end", at, "leave it out")
    return None if findings else (sweep, plan)


def _others(sweep: Sweep, values: Mapping[str, Value]) -> dict[str, Value]:
    """Another value for each parameter that has one."""
    found = dict(values)
    for one in sweep.space:
        found[one.name] = next((v for v in one.extremes() if v != values[one.name]), values[one.name])
    return found


def _probes(sweep: Sweep) -> Iterator[Mapping[str, Value]]:
    """Trials by which it shows whether all of them can be made."""
    first = sweep.values(1, sweep.search.seed or 0)
    yield first
    ends = [(one.name, value) for one in sweep.space for value in one.extremes()]
    most = min(PROBES_MOST, PROBED_MOST // sweep.job.weight) - 1
    for name, value in ends[: max(0, most)]:
        if first[name] != value:
            yield {**first, name: value}


def _placed(
    problems: tuple[Problem, ...], prefix: str, values: Mapping[str, Value], always: set[tuple[str, str]]
) -> Iterator[Problem]:
    """Paths from the whole document; with which values, where it is not always so."""
    told = ", ".join(f"{name}={shown(str(value), 40)}" for name, value in values.items())
    for problem in problems:
        path = f"{prefix}{problem.path}".rstrip(".") if problem.kind is Kind.JOB else problem.path
        is_always = (problem.path, problem.message) in always
        message = problem.message if is_always else f"{problem.message} (with {shown(told, 200)})"
        yield msgspec.structs.replace(problem, path=path, message=message)


def _sweep(
    documents: list[Node], changes: SweepChanges, findings: Findings
) -> tuple[Sweep, Section, str] | None:
    """Without a look at frameworks; its section and where paths in the job begin."""
    sweeps = [node for node in documents if jobfile.kind_of(node) == "Sweep"]
    if len(sweeps) != 1:
        if not findings:
            step = "a sweep file has one document with kind: Sweep"
            findings.add(Reason.MALFORMED, f"it has {len(sweeps)} sweeps", Position(), step)
        return None
    for node in documents:
        if jobfile.kind_of(node) not in ("Sweep", "Job", "Framework"):
            at = Position("kind", node.line, node.column)
            step = "kind: Sweep, kind: Job, or kind: Framework"
            findings.add(Reason.MALFORMED, "it is neither a sweep nor a job nor a framework", at, step)
    root = sweeps[0]
    with findings.of(Kind.JOB, partial(locate, root)):
        section = Section(root, Position("", root.line, root.column), findings)
        found = _job(documents, section)
        if found is None:
            return None
        job, prefix = found
        frameworks = tuple(node for node in documents if jobfile.kind_of(node) == "Framework")
        sweep = _read(section, job, frameworks, prefix, changes)
    return None if sweep is None else (sweep, section, prefix)


def _job(documents: list[Node], section: Section) -> tuple[Node, str] | None:
    """The job's document, wherever it stands; without one nothing else can be said."""
    beside = [node for node in documents if jobfile.kind_of(node) == "Job"]
    inner = section.node_of("job")
    if (inner is not None) + len(beside) != 1:
        message = f"it has {(inner is not None) + len(beside)} jobs"
        section.wrong("job", Reason.MALFORMED, message, "one job: under `job`, or as a document beside it")
        return None
    if inner is None:
        return beside[0], ""
    if inner.fields is None:
        section.wrong("job", Reason.WRONG_TYPE, f"it is {inner.kind}, and should be a mapping")
        return None
    job, kind = Node(inner.line, inner.column), Node(inner.line, inner.column)
    kind.scalar, kind.is_complete = "Job", True
    job.fields, job.weight, job.is_complete = {"kind": kind, **inner.fields}, inner.weight + 1, True
    job.keys = {"kind": (inner.line, inner.column), **inner.keys}
    return job, "job."


def _read(
    section: Section, job: Node, frameworks: tuple[Node, ...], prefix: str, changes: SweepChanges
) -> Sweep | None:
    section.node_of("kind")
    own = section.word("name")
    name = changes.name or own or "sweep"
    if not ID.fullmatch(name):
        message = f"{shown(name)!r} is no name of a sweep"
        section.wrong("name", Reason.BAD_NAME, message, "small letters, digits and -")
    space = sections.space(section)
    metric = sections.metric(section)
    search = sections.search(section, space)
    parallel = section.integer("parallel", 1, 1, PARALLEL_MOST)
    target = section.number("target", 0, -1e300, 1e300) if "target" in section else None
    failures_most = section.integer("max_failures", 5, -1, 1_000_000)
    section.end()
    if metric is None:
        _note_needed(section, search)
    known: dict[str, Value] = dict.fromkeys((one.name for one in space), 0)
    at = Position(prefix.rstrip("."), job.line, job.column)
    before = len(section.findings)
    used = names_in(job, at, known, section.findings)
    # One that is misspelt is not missed as well.
    for one in space if len(section.findings) == before else ():
        if one.name not in used:
            place = section.position("space").inner(one.name)
            message = f"nothing in the job uses ${{sweep.{one.name}}}"
            step = f'argv: [python, train.py, "--{one.name}=${{sweep.{one.name}}}"]'
            section.findings.add(Reason.CONTRADICTION, message, place, step)
    if job.weight + sum(node.weight for node in frameworks) > NODES_MOST:
        message = f"a job that is written for every trial has at most {NODES_MOST} values"
        section.findings.add(Reason.TOO_LARGE, message, at)
    if search is None or section.findings:
        return None
    return Sweep(
        name=name, space=space, search=search, metric=metric, parallel=changes.parallel or parallel,
        failures_most=failures_most, target=target, queue=changes.queue, job=job, frameworks=frameworks,
    )  # fmt: skip


def _note_needed(section: Section, search: Search | None) -> None:
    """What cannot be done without a metric."""
    needs = ["target"] if "target" in section else []
    needs += ["search"] if search is not None and search.kind is SearchKind.ASHA else []
    for name in needs:
        message = "it compares trials, and no metric is named"
        section.wrong(name, Reason.MISSING_FIELD, message, "metric: {name: loss, mode: min}")
