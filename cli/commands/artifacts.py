"""`yard artifacts`: bytes by their sha256."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import exit_codes
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_group
from cli.options.lists import PageSize, PageToken
from cli.output.render import Columns, show_list, show_one

app = new_group("Bytes by their sha256; identical bytes are kept once.")

Digest = Annotated[str, typer.Argument(help="sha256, with or without the prefix sha256:")]


def _columns() -> Columns:
    from cli.output.nouns import age
    from modelyard.quantities import format_size

    return (
        ("DIGEST", lambda item: item.digest),
        ("SIZE", lambda item: format_size(item.size_bytes)),
        ("AGE", lambda item: age(item.create_time)),
        ("USED BY", lambda item: str(item.reference_count)),
        ("NAME", lambda item: item.name),
    )


@command(app)
async def put(
    yard: Invocation,
    path: Annotated[str, typer.Argument(help="A file; a directory is packed as tar.gz")],
    name: Annotated[str, typer.Option(help="A name for people", show_default="the file's")] = "",
) -> None:
    """Keep a file and print its digest."""
    source = Path(path)
    async with yard.client() as client:
        if source.is_dir():
            artifact = await client.artifacts.stat(await client.artifacts.bundle(source))
        elif source.is_file():
            artifact = await client.artifacts.put(source, name=name)
        else:
            raise UsageError(f"there is no file {path}")
    if yard.output == "table":
        typer.echo(artifact.digest)
    else:
        show_one(yard.output, artifact, (), lambda item: item.digest)


@command(app)
async def get(
    yard: Invocation,
    digest: Digest,
    path: Annotated[str, typer.Argument(help="Where to put it", show_default="stdout")] = "-",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file")] = False,
) -> None:
    """Download an artefact. A file appears complete and checked, or not at all."""
    async with yard.client() as client:
        if path == "-":
            import sys

            sys.stdout.buffer.write(await client.artifacts.read(digest))
            sys.stdout.buffer.flush()
            return
        target = Path(path)
        if target.is_dir():
            artifact = await client.artifacts.stat(digest)
            target = target / (Path(artifact.name).name or artifact.digest)
        if target.exists() and not force:
            raise CommandError(
                f"{target} exists", code=exit_codes.CONFLICT, next_step="choose another name, or add --force"
            )
        await client.artifacts.get(digest, target)
    yard.say(f"downloaded {target}")


@command(app, "ls")
async def list_artifacts(
    yard: Invocation,
    name: Annotated[str, typer.Option(help="Only of this name")] = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List artefacts."""
    async with yard.client() as client:
        response = await client.artifacts.list(name, page_size=page_size, page_token=page_token)
    show_list(
        yard.output,
        response,
        response.artifacts,
        _columns(),
        lambda item: item.digest,
        empty="no artefacts; next: yard artifacts put FILE",
    )


@command(app, "rm")
async def remove(yard: Invocation, digest: Digest) -> None:
    """Delete an artefact. Refused while a task refers to it."""
    async with yard.client() as client:
        await client.artifacts.remove(digest)
    yard.say(f"deleted {digest}")
