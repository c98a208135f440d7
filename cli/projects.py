"""Projects as command lines name them: by id or by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exit_codes
from cli.completion import complete_projects
from cli.errors import CommandError

if TYPE_CHECKING:
    from modelyard.client.aio import Client

Project = Annotated[
    str, typer.Argument(help="Id (p-7) or name of a project", autocompletion=complete_projects)
]
Version = Annotated[int, typer.Option("--version", help="Which version", show_default="the latest")]


async def project_id(client: Client, project: str) -> str:
    """The id of a project that was named by its id or its name. Raises CommandError."""
    prefix, _, digits = project.partition("-")
    if prefix == "p" and digits.isdecimal():
        return project
    found = (await client.projects.list(name=project)).projects
    if len(found) == 1:
        return str(found[0].id)
    if found:
        ids = ", ".join(each.id for each in found)
        raise CommandError(
            f"{len(found)} projects are called {project!r}: {ids}", code=exit_codes.CONFLICT,
            next_step="name one by its id",
        )  # fmt: skip
    what = (
        f"neither a file nor a project {project!r}"
        if "/" in project or "." in project
        else f"no project {project!r}"
    )
    raise CommandError(f"there is {what}", code=exit_codes.NOT_FOUND, next_step="yard graph ls")


async def found_or_made(client: Client, project: str) -> Any:
    """The project of that id or name; one is made where there is none of the name."""
    prefix, _, digits = project.partition("-")
    if prefix == "p" and digits.isdecimal():
        return await client.projects.get(project)
    if (await client.projects.list(name=project, page_size=1)).projects:
        return await client.projects.get(await project_id(client, project))
    return await client.projects.create(project)
