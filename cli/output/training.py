"""Frameworks, problems and rendered instances as people read them. Owns no decision."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from modelyard.v1 import framework_pb2

_QUIET = ("YARD_",)


def instance_text(instance: framework_pb2.RenderedInstance) -> str:
    """One instance: what it waits for, its commands, variables and files."""
    return "".join(line + "\n" for line in _lines(instance))


def _lines(instance: framework_pb2.RenderedInstance) -> Iterator[str]:
    address = instance.address
    ports = " ".join(f"{name}={port}" for name, port in sorted(address.ports.items()))
    yield f"{instance.role}[{instance.index}]  {address.name}{'  ' if ports else ''}{ports}"
    for edge in instance.dependencies:
        yield f"  after  {_edge(edge)}"
    several = len(instance.processes) > 1
    for number, process in enumerate(instance.processes):
        title = f"  process {number}" if several else "  process"
        yield f"{title}  {shlex.join(process.argv)}"
        for name in sorted(process.env, key=lambda name: (name.startswith(_QUIET), name)):
            yield f"    {name}={process.env[name]}"
        if process.stdin:
            yield from _block("    stdin", process.stdin)
    for file in instance.files:
        yield from _block(f"  file  {file.path}{' (executable)' if file.is_executable else ''}", file.content)


def _block(title: str, text: str) -> Iterator[str]:
    yield title
    for line in text.splitlines():
        yield f"    | {line}".rstrip()


def _edge(edge: framework_pb2.RoleDependency) -> str:
    from modelyard.v1 import framework_pb2

    kind = framework_pb2.ReadinessKind.Name(edge.kind).removeprefix("READINESS_KIND_").lower()
    detail = f" ({edge.detail})" if edge.detail else ""
    limit = f", at most {edge.timeout_s:g} s" if edge.timeout_s else ""
    return f"{edge.quorum} of {edge.role}: {kind}{detail}{limit}"


def problem_lines(problems: Sequence[framework_pb2.TrainingProblem], file: str) -> Iterator[str]:
    """file:line:column path: what is wrong; below it what to do."""
    for problem in problems:
        where = f"{file}:{problem.line}:{problem.column}: " if problem.line else f"{file}: "
        path = f"{problem.path}: " if problem.path else ""
        yield f"{where}{path}{problem.message}"
        if problem.next_step:
            yield f"    {problem.next_step}"


def write_problems(
    problems: Sequence[framework_pb2.TrainingProblem], file: str, stream: TextIO | None = None
) -> None:
    """All of them, to stdout or another stream."""
    (stream or sys.stdout).writelines(line + "\n" for line in problem_lines(problems, file))


def framework_columns() -> list[tuple[str, object]]:
    """Of the list of frameworks."""
    return [
        ("FRAMEWORK", lambda item: item.id),
        ("ROLES", lambda item: " ".join(role_words(role) for role in item.roles)),
        ("PARAMETERS", lambda item: " ".join(param.name for param in item.params)),
        ("SUMMARY", lambda item: item.summary),
    ]


def role_words(role: framework_pb2.FrameworkRole) -> str:
    """ "worker×2", with + where it may be more."""
    fixed = role.min_count == role.max_count == role.default_count
    return f"{role.name}×{role.default_count}{'' if fixed else '+'}"


def framework_text(item: framework_pb2.Framework) -> str:
    """All that is known of one."""
    from modelyard.v1 import framework_pb2

    lines = [
        item.id,
        f"  {item.summary}",
        f"  succeeds  {item.succeeded_policy}",
        f"  fails     {item.failed_policy}",
    ]
    for param in item.params:
        kind = framework_pb2.FrameworkParamType.Name(param.type).removeprefix("FRAMEWORK_PARAM_TYPE_").lower()
        default = f" = {param.default_json}" if param.default_json else " (required)"
        lines.append(f"  param  {param.name}: {kind}{default}  {param.summary}")
    for role in item.roles:
        traits = [
            "elastic" if role.is_elastic else "", "endless" if role.is_endless else "",
            "" if role.has_command else "the job gives the command",
        ]  # fmt: skip
        words = f"  role   {role_words(role)}  {', '.join(filter(None, traits))}"
        lines.append(f"{words.rstrip()}  {role.summary}".rstrip())
        lines += [f"    ports {', '.join(role.ports)}"] if role.ports else []
        lines += [f"    after {_edge(edge)}" for edge in role.dependencies]
        most = "without bound" if role.max_restarts < 0 else f"at most {role.max_restarts}"
        lines.append(f"    restarts {role.restart_scope}, {most}")
    return "".join(line + "\n" for line in lines)
