"""`yard model config get|set|edit|put|diff`: the model.yaml of a version, in revisions."""

from __future__ import annotations

import difflib
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exit_codes
from cli.commands.model.versions import followed, tell_questions
from cli.completion import complete_models
from cli.documents import read_document
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_group, new_part
from cli.output.render import show_one

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import model_pb2

app = new_group(
    "The model.yaml of a version: every field with how it is known; edited copies are proved by a run."
)
part = new_part()
part.add_typer(app, name="config")

Model = Annotated[
    str, typer.Argument(help="NAME, NAME:VERSION or NAME:ALIAS", autocompletion=complete_models)
]
Revision = Annotated[
    int, typer.Option(help="Which revision", show_default="the one that serves, else the latest")
]
Follow = Annotated[
    bool, typer.Option("--follow/--detach", "-f/-d", help="Tell what becomes of it until it is proved")
]


@command(app)
async def get(yard: Invocation, model: Model, revision: Revision = 0) -> None:
    """Print a model.yaml; with -o json the provenance of its fields too."""
    from modelyard.client.models import reference

    async with yard.client() as client:
        config = await client.models.config(*reference(model), revision)
    if yard.output != "table":
        show_one(yard.output, config, [], lambda one: str(one.revision))
        return
    sys.stdout.write(config.document)


@command(app)
async def diff(
    yard: Invocation,
    model: Model,
    old: Annotated[int, typer.Argument(help="A revision")],
    new: Annotated[int, typer.Argument(help="Another", show_default="the one that serves")] = 0,
) -> None:
    """Show what changed between two revisions of a model.yaml."""
    from modelyard.client.models import reference

    async with yard.client() as client:
        first = await client.models.config(*reference(model), old)
        second = await client.models.config(*reference(model), new)
    lines = difflib.unified_diff(
        first.document.splitlines(keepends=True), second.document.splitlines(keepends=True),
        f"{model} r{first.revision}", f"{model} r{second.revision}",
    )  # fmt: skip
    sys.stdout.writelines(lines)


@command(app)
async def put(
    yard: Invocation,
    model: Model,
    file: Annotated[str, typer.Argument(help="A model.yaml; - reads stdin")],
    revision: Annotated[
        int, typer.Option(help="Only if this is the latest revision", show_default="whatever it is")
    ] = 0,
    check: Annotated[bool, typer.Option("--check", help="Only say what it would come to")] = False,
    follow: Follow = True,
) -> int:
    """Make a file the next revision of a version's model.yaml. The one before serves until it is proved."""
    document = read_document(file)
    async with yard.client() as client:
        return await _put(yard, client, model, document, revision, check=check, follow=follow)


@command(app)
async def set(
    yard: Invocation,
    model: Model,
    changes: Annotated[
        list[str],
        typer.Argument(help="FIELD=VALUE, for example 'inputs[x].shape=[-1, 4]' or serving.deadline=2s"),
    ],
    check: Annotated[bool, typer.Option("--check", help="Only say what it would come to")] = False,
    follow: Follow = True,
) -> int:
    """Change fields of a version's model.yaml: its next revision, proved by a run. This answers questions too."""
    from modelyard.client.models import reference
    from modelyard.models.editing import FieldUnknown, changed

    async with yard.client() as client:
        config = await _latest(client, *reference(model))
        try:
            document = changed(config.document, changes)
        except FieldUnknown as error:
            raise UsageError(
                str(error), next_step=f"yard model config get {model} shows its fields"
            ) from error
        return await _put(yard, client, model, document, config.revision, check=check, follow=follow)


@command(app)
async def edit(yard: Invocation, model: Model, follow: Follow = True) -> int:
    """Open a version's model.yaml in $EDITOR; what is saved becomes its next revision."""
    from modelyard.client.models import reference

    async with yard.client() as client:
        config = await _latest(client, *reference(model))
        document = _edited(config.document)
        if document == config.document:
            yard.say("nothing was changed")
            return exit_codes.DONE
        return await _put(yard, client, model, document, config.revision, check=False, follow=follow)


async def _latest(client: Client, model: str, version: str) -> model_pb2.ModelConfigRevision:
    return await client.models.config(model, version)


async def _put(
    yard: Invocation, client: Client, model: str, document: str, revision: int, *, check: bool, follow: bool
) -> int:
    from modelyard.client.models import reference
    from modelyard.v1 import model_pb2

    name, wanted = reference(model)
    version = await client.models.version(name, wanted)
    config = await client.models.put_config(
        name, version.version, document, revision=revision, validate_only=check
    )
    if check or not follow:
        return _told(yard, config, f"{name}:{version.version}")
    end = await followed(yard, client, version)
    config = await client.models.config(name, version.version, config.revision)
    code = _told(yard, config, f"{name}:{version.version}")
    if end.state == model_pb2.MODEL_VERSION_STATE_NEEDS_ANSWER:
        tell_questions(yard, end)
    return code


def _told(yard: Invocation, config: model_pb2.ModelConfigRevision, reference: str) -> int:
    """What a revision came to."""
    from cli.output.models import answer_to, state_of
    from modelyard.v1 import model_pb2

    if yard.output != "table":
        show_one(yard.output, config, [], lambda one: str(one.revision))
    else:
        why = f": {config.message}" if config.message else ""
        yard.say(f"revision {config.revision} of {reference} is {state_of(config.state)}{why}")
    if config.state == model_pb2.MODEL_VERSION_STATE_NEEDS_ANSWER:
        yard.say(f"next: {answer_to(reference, config.questions)}")
        return exit_codes.INVALID_SPECIFICATION
    return exit_codes.WORK_FAILED if config.state == model_pb2.MODEL_VERSION_STATE_FAILED else exit_codes.DONE


def _edited(document: str) -> str:
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory(prefix="yard-") as folder:
        path = Path(folder) / "model.yaml"
        path.write_text(document)
        try:
            done: Any = subprocess.run([*editor, str(path)], check=False)
        except OSError as error:
            raise CommandError(
                f"{editor[0]} cannot be started: {error.strerror}", code=exit_codes.USAGE,
                next_step="set EDITOR, or: yard model config get … > model.yaml; yard model config put … model.yaml",
            ) from error  # fmt: skip
        if done.returncode:
            raise CommandError(
                f"{editor[0]} ended with {done.returncode}; nothing was changed", code=exit_codes.WORK_FAILED
            )
        return path.read_text()
