"""`yard train`: frameworks, and what they make of a job."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exit_codes
from cli.documents import read_document
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_part
from cli.options import work as work_options
from cli.options import work_values
from cli.options.jobs import Counts, JobFile, counts_of
from cli.output.render import show_document, show_list, to_document

if TYPE_CHECKING:
    from modelyard.training import Changes, Plan
    from modelyard.training.frameworks.framework import Framework
    from modelyard.v1 import framework_pb2

part = new_part()

Definitions = Annotated[
    list[str],
    typer.Option("--framework", help="A file with a further definition; repeatable", metavar="FILE"),
]


@command(part)
def frameworks(
    yard: Invocation,
    framework: Annotated[str, typer.Argument(help="Only this one, in full")] = "",
    source: Annotated[bool, typer.Option("--source", help="Print its definition")] = False,
) -> int:
    """What can train: frameworks that are shipped or installed."""
    from cli.output.training import framework_columns, framework_text
    from modelyard.training.frameworks import catalogue
    from modelyard.training_messages import framework_message, problem_messages
    from modelyard.v1 import framework_pb2

    plugins, problems = catalogue.plugins()
    shipped = catalogue.shipped()
    found = dict.fromkeys(plugins, framework_pb2.FRAMEWORK_ORIGIN_PLUGIN)
    found |= dict.fromkeys(shipped, framework_pb2.FRAMEWORK_ORIGIN_SHIPPED)
    values = {**plugins, **shipped}
    for problem in problem_messages(problems):
        yard.say(f"{problem.path}: {problem.message}")
    if not framework:
        messages = [framework_message(values[name], found[name]) for name in sorted(values)]
        columns: Any = framework_columns()
        show_list(
            yard.output, framework_pb2.ListFrameworksResponse(frameworks=messages), messages, columns, _id
        )
        return exit_codes.DONE
    if framework not in values:
        raise _unknown(framework, tuple(values))
    if source:
        sys.stdout.write(values[framework].source)
    elif yard.output == "table":
        sys.stdout.write(framework_text(framework_message(values[framework], found[framework])))
    else:
        message = framework_message(values[framework], found[framework])
        message.document = values[framework].source
        show_document(yard.output, to_document(message))
    return exit_codes.DONE


def _id(item: framework_pb2.Framework) -> str:
    return item.id


def _unknown(name: str, known: tuple[str, ...]) -> CommandError:
    from modelyard.documents.problems import suggestion

    return CommandError(
        f"there is no framework {name!r}",
        code=exit_codes.NOT_FOUND,
        next_step=suggestion(name, known, "yard train frameworks"),
    )


@command(part)
def validate(yard: Invocation, file: JobFile, framework: Definitions = []) -> int:  # noqa: B006
    """Tell everything that is wrong with a job file, or with definitions of frameworks."""
    from cli.output.training import write_problems
    from modelyard.training import problems_of
    from modelyard.training.frameworks import catalogue
    from modelyard.training_messages import problem_messages
    from modelyard.v1 import framework_pb2

    find, known = _frameworks(framework)
    problems = problem_messages(problems_of(read_document(file), find, (*known, *catalogue.known())))
    if yard.output == "table":
        write_problems(problems, file)
        yard.say(f"{len(problems)} wrong" if problems else f"{file} is right; next: yard train render {file}")
    else:
        show_document(yard.output, to_document(framework_pb2.ValidateJobResponse(problems=problems)))
    return exit_codes.INVALID_SPECIFICATION if problems else exit_codes.DONE


@command(part)
def render(
    yard: Invocation,
    file: JobFile,
    param: work_options.Param = [],  # noqa: B006
    count: Counts = [],  # noqa: B006
    framework: Definitions = [],  # noqa: B006
    role: Annotated[str, typer.Option(help="Only this role's instances")] = "",
    index: Annotated[int, typer.Option(help="Only this instance of the role", show_default="all")] = -1,
    most: Annotated[int, typer.Option(help="Most instances", min=1)] = 50,
) -> int:
    """Show the exact command, environment and files of every instance. Starts nothing, needs no yard."""
    from cli.output.training import instance_text, write_problems
    from modelyard.training import Changes, Refused
    from modelyard.training_messages import instance_message, problem_messages
    from modelyard.v1 import framework_pb2

    changes = Changes(params=work_values.params_of(param), counts=counts_of(count))
    try:
        plan = _plan(read_document(file), framework, changes)
    except Refused as refused:
        problems = problem_messages(refused.problems)
        if yard.output == "table":
            write_problems(problems, file)
        else:
            show_document(yard.output, to_document(framework_pb2.RenderJobResponse(problems=problems)))
        return exit_codes.INVALID_SPECIFICATION
    if role and plan.role(role) is None:
        raise UsageError(
            f"there is no role {role!r}", next_step=f"one of {', '.join(plan.framework.role_names)}"
        )
    instances = [instance_message(each) for each in islice(_previews(plan, role, index), most)]
    if yard.output == "table":
        sys.stdout.write("\n".join(map(instance_text, instances)))
    else:
        show_document(yard.output, to_document(framework_pb2.RenderJobResponse(instances=instances)))
    total = sum(planned.count for planned in plan.roles if role in ("", planned.name))
    if index < 0 and len(instances) < total:
        yard.say(f"{len(instances)} of {total} instances; all: --most {total}")
    return exit_codes.DONE


def _previews(plan: Plan, role: str, index: int) -> Any:
    from modelyard.training.plans.preview import previews
    from modelyard.training.rendering.launches import RenderError

    try:
        for each in previews(plan):
            if role in ("", each.role) and index in (-1, each.index):
                yield each
    except RenderError as error:
        raise CommandError(str(error), code=exit_codes.INVALID_SPECIFICATION) from None


def _plan(text: str, definitions: list[str], changes: Changes) -> Plan:
    from modelyard.training.frameworks import catalogue
    from modelyard.training.sweeps import plan_text

    find, known = _frameworks(definitions)
    return plan_text(text, find, (*known, *catalogue.known()), changes)


def _frameworks(files: list[str]) -> tuple[Callable[[str, int], Framework | None], tuple[str, ...]]:
    """Definitions of files, then what is shipped and installed."""
    from cli.output.training import problem_lines
    from modelyard.training import Refused, compile_framework
    from modelyard.training.frameworks import catalogue
    from modelyard.training_messages import problem_messages

    own = {}
    for file in files:
        try:
            framework = compile_framework(read_document(file))
        except Refused as refused:
            lines = list(problem_lines(problem_messages(refused.problems), file))
            raise CommandError(
                f"the definition {file} is wrong",
                code=exit_codes.INVALID_SPECIFICATION,
                why="\n       ".join(lines),
            ) from None
        own[framework.id] = framework
    return lambda name, version: own.get(name) or catalogue.find(name, version), tuple(own)
