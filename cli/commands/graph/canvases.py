"""`yard graph`: canvases, their versions, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exit_codes
from cli.completion import complete_projects
from cli.documents import read_document
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_part
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one
from cli.projects import Project, Version, found_or_made, project_id
from cli.prompts import confirm

if TYPE_CHECKING:
    from modelyard.client.aio import Client

part = new_part()


@command(part)
async def save(
    yard: Invocation,
    project: Annotated[str, typer.Argument(help="Id or name; a new name makes a project")],
    file: Annotated[str, typer.Argument(help="The canvas, a JSON document; - reads stdin")],
    parent: Annotated[
        int, typer.Option(help="The version that it was made from", show_default="the latest")
    ] = -1,
    comment: Annotated[str, typer.Option(help="What changed, for people")] = "",
    valid: Annotated[bool, typer.Option("--valid", help="Refuse a canvas with errors")] = False,
) -> None:
    """Save a canvas as a new version. What is wrong with it is told; it is saved all the same, unless --valid."""
    from cli.output.graphs import VERSION_FIELDS, version_name, write_hints, write_problems

    document = read_document(file)
    async with yard.client() as client:
        found = await found_or_made(client, project)
        base = found.latest_version if parent < 0 else parent
        answer = await client.projects.save(
            found.id, document, parent=base, comment=comment, must_be_valid=valid
        )
    if yard.output == "table":
        show_one("name", answer.version, (), version_name)
        write_problems(answer.problems)
        write_hints(answer.hints)
        name = version_name(answer.version)
        yard.say(
            f"next: yard graph validate {answer.version.project_id}" if answer.problems
            else f"saved {name}; next: yard graph show {answer.version.project_id}"
        )  # fmt: skip
    else:
        show_one(yard.output, answer, VERSION_FIELDS, lambda item: version_name(item.version))


@command(part)
async def get(
    yard: Invocation,
    project: Project,
    version: Version = 0,
    file: Annotated[str, typer.Option("--to", help="Where to write it", show_default="stdout")] = "-",
) -> None:
    """Print the canvas of a version. As it was saved; with -o json all that is known of the version."""
    from cli.output.graphs import VERSION_FIELDS, version_name

    async with yard.client() as client:
        answer = await client.projects.canvas(await project_id(client, project), version)
    if yard.output != "table":
        show_one(yard.output, answer, VERSION_FIELDS, lambda item: version_name(item.version))
    elif file == "-":
        typer.echo(answer.canvas_json)
    else:
        Path(file).write_text(answer.canvas_json + "\n")
        yard.say(f"wrote {version_name(answer.version)} to {file}")


@command(part, "ls")
async def list_projects(yard: Invocation, page_size: PageSize = 50, page_token: PageToken = "") -> None:
    """List projects, newest first. Your own, and those that you were let into."""
    from cli.output.graphs import PROJECT_COLUMNS

    async with yard.client() as client:
        page = await client.projects.list(page_size=page_size, page_token=page_token)
    show_list(
        yard.output, page, page.projects, PROJECT_COLUMNS, lambda item: item.id,
        empty="no projects; next: yard graph save NAME FILE",
    )  # fmt: skip


@command(part)
async def versions(
    yard: Invocation, project: Project, page_size: PageSize = 50, page_token: PageToken = ""
) -> None:
    """List the versions of a project, newest first."""
    from cli.output.graphs import VERSION_COLUMNS, version_name

    async with yard.client() as client:
        page = await client.projects.versions(
            await project_id(client, project), page_size=page_size, page_token=page_token
        )
    show_list(
        yard.output, page, page.versions, VERSION_COLUMNS, version_name,
        empty=f"nothing was saved; next: yard graph save {project} FILE",
    )  # fmt: skip


@command(part)
async def diff(
    yard: Invocation,
    project: Project,
    before: Annotated[int, typer.Argument(help="From this version; 0: from nothing")],
    after: Annotated[int, typer.Argument(help="To this version", show_default="the latest")] = 0,
) -> None:
    """Tell what changed between two versions. Nodes, parameters and edges; moves apart."""
    from cli.output.graphs import write_changes

    async with yard.client() as client:
        answer = await client.projects.diff(await project_id(client, project), before, after)
    if yard.output == "table":
        write_changes(answer.changes)
    else:
        show_list(yard.output, answer, answer.changes, (), lambda item: item.id)


@command(part)
async def validate(
    yard: Invocation,
    project: Annotated[str, typer.Argument(help="Id or name of a project, or a file; - reads stdin")],
    version: Version = 0,
) -> None:
    """Tell everything that is wrong with a canvas. All at once; the exit code is 7 if anything is."""
    from cli.output.graphs import write_hints, write_problems
    from cli.output.nouns import counted

    async with yard.client() as client:
        answer = await _judged(client, project, version)
    if yard.output == "table":
        write_problems(answer.problems)
        write_hints(answer.hints)
    else:
        show_list(yard.output, answer, answer.problems, (), lambda item: item.reason)
    if answer.problems:
        raise CommandError(
            counted(len(answer.problems), "error"), code=exit_codes.INVALID_SPECIFICATION,
            next_step="correct the canvas, then: yard graph save NAME FILE",
        )  # fmt: skip
    yard.say(f"valid: {counted(answer.node_count, 'node')}{', as was known' if answer.was_known else ''}")


async def _judged(client: Client, project: str, version: int) -> Any:
    if project == "-" or Path(project).is_file():
        return await client.projects.validate(canvas=read_document(project))
    return await client.projects.validate(await project_id(client, project), version)


@command(part)
async def show(
    yard: Invocation,
    project: Annotated[
        str,
        typer.Argument(
            help="Id or name of a project, a file, or a run (r-12)", autocompletion=complete_projects
        ),
    ],
    node: Annotated[
        str,
        typer.Argument(
            help="Of a run: a node; of a map or loop (m) its executions, of one (m/3) its nodes",
            show_default="the whole",
        ),
    ] = "",
    version: Version = 0,
    bodies: Annotated[bool, typer.Option("--bodies", help="Of a run: nodes in maps and loops too")] = False,
    svg: Annotated[str, typer.Option(help="Draw it into this file instead")] = "",
) -> None:
    """Show levels and states, of a project or a run. The order, operators and who offers them; of a run what became of
    each node. --svg draws it."""
    from cli.commands.graph.showing import show_run
    from cli.output.graphs import write_levels, write_problems

    async with yard.client() as client:
        if svg:
            await _draw(yard, client, project, version, svg)
            return
        if project.startswith("r-") and project[2:].isdecimal():
            await show_run(yard, client, project, node, bodies=bodies)
            return
        if node or bodies:
            raise UsageError(f"{project} is no run", next_step="yard graph runs lists them")
        answer = await _judged(client, project, version)
    if yard.output != "table":
        show_list(yard.output, answer, answer.graph.nodes, (), lambda item: item.node_id)
        return
    if answer.problems:
        write_problems(answer.problems)
        raise CommandError(
            "a canvas with errors comes to nothing", code=exit_codes.INVALID_SPECIFICATION,
            next_step="correct the canvas, then: yard graph save NAME FILE",
        )  # fmt: skip
    write_levels(answer.graph.nodes)


async def _draw(yard: Invocation, client: Client, project: str, version: int, svg: str) -> None:
    if project == "-" or Path(project).is_file():
        raise UsageError("only what is saved is drawn", next_step=f"yard graph save NAME {project}")
    if project.startswith("r-") and project[2:].isdecimal():
        picture = await client.runs.picture(project)
    else:
        picture = (
            await client.projects.export(await project_id(client, project), version, format="svg")
        ).document
    Path(svg).write_bytes(picture)
    yard.say(f"drew {project} into {svg}")


@command(part)
async def share(
    yard: Invocation,
    project: Project,
    account: Annotated[str, typer.Argument(help="Whom to let in")],
    role: Annotated[str, typer.Argument(help="viewer, runner, editor, or none: out again")] = "viewer",
) -> None:
    """Let another account see, run or save a project of yours."""
    from cli.output.graphs import PROJECT_FIELDS

    async with yard.client() as client:
        shared = await client.projects.share(await project_id(client, project), account, role)
    show_one(yard.output, shared, PROJECT_FIELDS, lambda item: item.id)


@command(part, "rm")
async def remove(
    yard: Invocation,
    project: Project,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
) -> None:
    """Delete a project with all of its versions and runs."""
    confirm(f"Delete the project {project} with all of its versions and runs?", yes=yes)
    async with yard.client() as client:
        await client.projects.remove(await project_id(client, project))
    yard.say(f"deleted {project}")
