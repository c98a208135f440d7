"""`yard model push`, `ls`, `get`, `versions`, `share`, `usage`, `rm`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.completion import complete_models
from cli.documents import read_document
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_part
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one
from cli.prompts import confirm

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import model_pb2

part = new_part()

Model = Annotated[
    str, typer.Argument(help="NAME, NAME:VERSION or NAME:ALIAS", autocompletion=complete_models)
]
SLOW_S = 8.0


@command(part)
async def push(
    yard: Invocation,
    component: Annotated[str, typer.Argument(help="A trained file, or a directory with one")],
    name: Annotated[
        str, typer.Option(help="Of the model", show_default="the file's, or what --config says")
    ] = "",
    config: Annotated[
        str, typer.Option(help="A model.yaml with what you know, any part; - reads stdin")
    ] = "",
    alias: Annotated[
        str, typer.Option(help="Points at the version once it is READY, for example champion")
    ] = "",
    label: Annotated[list[str], typer.Option(help="NAME=VALUE; may be given again")] = [],  # noqa: B006
    summary: Annotated[str, typer.Option(help="What the model is for, for people")] = "",
    job: Annotated[str, typer.Option(help="The training job that made it, for example j-7")] = "",
    run: Annotated[str, typer.Option(help="The run that made it, for example r-12")] = "",
    task: Annotated[str, typer.Option(help="The task that made it, for example t-105")] = "",
    part: Annotated[str, typer.Option(help="Of the run: the node; of the job: role and index")] = "",
    parent: Annotated[str, typer.Option(help="The version that it was made from")] = "",
    follow: Annotated[
        bool, typer.Option("--follow/--detach", "-f/-d", help="Tell what becomes of it until it is READY")
    ] = True,
    idempotency_key: Annotated[
        str, typer.Option(help="A UUID; the same key and request is the same version")
    ] = "",
) -> int:
    """Make a trained file the next version of a model: sent, looked at, tried on an example, READY.

    The same file once more makes no new version. What only you know is asked, with the command that answers.
    """
    from cli.following.leaving import goes_on
    from cli.output.uploads import showing_uploads

    document = read_document(config) if config else ""
    if alias and not follow:
        raise UsageError("--alias needs --follow: it points at a version that is READY")
    async with yard.client() as client:
        with showing_uploads(client):
            answer = await client.models.push(
                component, name=name or _named(document), config=document, labels=labels_of(label), summary=summary,
                job=job, run=run, task=task, part=part, parent=parent, request_id=idempotency_key,
            )  # fmt: skip
        version = answer.version
        if answer.was_there:
            yard.say(f"{version.model}:{version.version} is this component already")
        if follow:
            named = f"{version.model}:{version.version}"
            with goes_on(yard, named, f"yard model get {named} --follow"):
                version = await followed(yard, client, version)
        if alias and version.config_revision:
            await client.models.set_alias(version.model, alias, version.version)
            yard.say(f"{alias} points at {version.model}:{version.version}")
        return await _shown(yard, client, version, with_end=follow)


def _named(document: str) -> str:
    """The name that a configuration says; empty: none."""
    from modelyard.documents.problems import Refused
    from modelyard.models import read_config

    try:
        fact = read_config(document).get("name") if document else None
    except Refused:
        # The service tells all that is wrong.
        return ""
    return str(fact.value) if fact is not None else ""


async def followed(
    yard: Invocation, client: Client, version: model_pb2.ModelVersion
) -> model_pb2.ModelVersion:
    """The version once nothing is done for it any more; what happens meanwhile goes to stderr."""
    from cli.output.models import state_of

    told = ""
    stream = client.models.watch(version.model, version.version)
    news = asyncio.ensure_future(anext(stream))
    while True:
        done, _ = await asyncio.wait({news}, timeout=SLOW_S)
        if not done:
            yard.say(f"  still {state_of(version.state)}; why: yard tasks explain {version.task_id or '…'}")
            continue
        try:
            version = news.result()
        except StopAsyncIteration:
            return version
        line = f"{version.model}:{version.version} {state_of(version.state)}"
        if line != told:
            yard.say(line)
            told = line
        news = asyncio.ensure_future(anext(stream))


async def _shown(yard: Invocation, client: Client, version: model_pb2.ModelVersion, *, with_end: bool) -> int:
    from cli.output.models import described
    from cli.output.table import write_fields
    from modelyard.v1 import model_pb2

    if yard.output != "table":
        show_one(yard.output, version, [], lambda one: f"{one.model}:{one.version}")
    elif not with_end:
        write_fields([("model", f"{version.model}:{version.version}")])
    else:
        model = await client.models.get(version.model)
        config = await client.models.config(version.model, version.version)
        write_fields(described(model, version, config))
        tell_questions(yard, version)
    if not with_end or version.state == model_pb2.MODEL_VERSION_STATE_READY:
        return exit_codes.DONE
    is_asked = version.state == model_pb2.MODEL_VERSION_STATE_NEEDS_ANSWER
    return exit_codes.INVALID_SPECIFICATION if is_asked else exit_codes.WORK_FAILED


def tell_questions(yard: Invocation, version: model_pb2.ModelVersion) -> None:
    """What only its owner knows."""
    for question in version.questions:
        choices = f"; one of {', '.join(question.choices)}" if question.choices else ""
        yard.say(f"not known: {question.field}: {question.question} ({question.why}{choices})")


@command(part)
async def ls(
    yard: Invocation,
    model: Annotated[str, typer.Argument(help="Its versions; none: all models", show_default=False)] = "",
    prefix: Annotated[str, typer.Option(help="Models whose names begin so")] = "",
    label: Annotated[list[str], typer.Option(help="NAME=VALUE; may be given again")] = [],  # noqa: B006
    all_accounts: Annotated[
        bool, typer.Option("--all-accounts", help="Everybody's; for administrators")
    ] = False,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List the models that you may see, or the versions of one, newest first."""
    from cli.output.models import MODEL_COLUMNS, VERSION_COLUMNS
    from modelyard.v1 import model_pb2

    async with yard.client() as client:
        if model:
            versions = await client.models.versions(model, page_size)
            found = model_pb2.ListModelVersionsResponse(versions=versions)
            show_list(
                yard.output, found, found.versions, VERSION_COLUMNS, lambda one: f"{one.model}:{one.version}",
                empty=f"{model} has no versions",
            )  # fmt: skip
            return
        answer = await client.models.list(
            page_size, page_token, prefix=prefix, labels=labels_of(label), all_accounts=all_accounts
        )
    show_list(
        yard.output, answer, answer.models, MODEL_COLUMNS, lambda one: one.name,
        empty="no models; next: yard model push FILE",
    )  # fmt: skip


@command(part)
async def get(
    yard: Invocation,
    model: Model,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it is READY, or will not be")] = False,
) -> int:
    """Explain a version: what it takes and gives, how that is known, where it is loaded, who calls it, what is next."""
    from modelyard.client.models import reference

    name, wanted = reference(model)
    async with yard.client() as client:
        version = await client.models.version(name, wanted)
        if follow:
            await followed(yard, client, version)
            version = await client.models.version(name, version.version)
        code = await _shown(yard, client, version, with_end=True)
    return code if follow else exit_codes.DONE


@command(part)
async def share(
    yard: Invocation,
    model: Annotated[str, typer.Argument(help="Its name")],
    access: Annotated[
        list[str], typer.Argument(help="ACCOUNT:viewer|caller|manager|none; the account * is everybody")
    ],
) -> None:
    """Let other accounts see, call or manage a model; none takes it back."""
    from cli.output.models import MODEL_COLUMNS
    from modelyard.client.models import ROLES

    given = {}
    for word in access:
        account, _, role = word.rpartition(":")
        if not account or role not in ROLES:
            raise UsageError(f"{word!r} is no ACCOUNT:ROLE", next_step=f"roles: {', '.join(ROLES)}")
        given[account] = role
    async with yard.client() as client:
        shown = await client.models.update(model, access=given)
    show_one(yard.output, shown, MODEL_COLUMNS, lambda one: one.name)


@command(part)
async def usage(
    yard: Invocation,
    model: Annotated[str, typer.Argument(help="NAME, or NAME:VERSION")],
    days: Annotated[int, typer.Option(help="So far back")] = 30,
) -> None:
    """Who called which version how often, by day."""
    from cli.output.models import USAGE_COLUMNS
    from modelyard.client.models import reference
    from modelyard.v1 import model_pb2

    name, wanted = reference(model)
    async with yard.client() as client:
        number = (await client.models.version(name, wanted)).version if wanted else 0
        found = model_pb2.ListModelUsageResponse(usage=await client.models.usage(name, number, days))
    show_list(yard.output, found, found.usage, USAGE_COLUMNS, lambda one: one.account, empty="no calls")


@command(part)
async def rm(
    yard: Invocation,
    model: Annotated[str, typer.Argument(help="NAME:VERSION; NAME with --all: every version")],
    all_versions: Annotated[bool, typer.Option("--all", help="Every version of the model")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
) -> None:
    """Delete a version; refused while an alias or a deployment names it."""
    from modelyard.client.models import reference

    name, wanted = reference(model)
    if bool(wanted) == all_versions:
        raise UsageError(f"which version of {name}?", next_step=f"yard model rm {name}:N, or {name} --all")
    confirm(f"Delete {'all versions of ' if all_versions else ''}{model}?", yes=yes)
    async with yard.client() as client:
        if all_versions:
            numbers: Sequence[int] = [one.version for one in await client.models.versions(name)]
        else:
            numbers = [(await client.models.version(name, wanted)).version]
        for number in numbers:
            await client.models.remove(name, number)
            yard.say(f"deleted {name}:{number}")


def labels_of(words: Sequence[str]) -> dict[str, str]:
    """Labels of NAME=VALUE."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError(f"{word!r} is no NAME=VALUE", next_step="for example --label team=vision")
        found[name] = value
    return found
