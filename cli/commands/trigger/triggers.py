"""`yard trigger`: runs that start by themselves are set up, seen, paused, changed and fired by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.trigger.backfills import is_backfill
from cli.completion import complete_triggers
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_part
from cli.options import work as work_options
from cli.options import work_values
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_document, show_list, show_one, to_document
from cli.projects import project_id
from cli.prompts import confirm

if TYPE_CHECKING:
    from modelyard.client.triggers import Source
    from modelyard.v1 import trigger_pb2 as pb

part = new_part()

Trigger = Annotated[
    str, typer.Argument(help="Name of one's own, or id, for example tr-7", autocompletion=complete_triggers)
]
Cron = Annotated[str, typer.Option(help="minute hour day month weekday, e.g. '0 6 * * MON-FRI', or @daily")]
Zone = Annotated[str, typer.Option(help="IANA time zone of --cron, e.g. Europe/Berlin", show_default="UTC")]
CatchUp = Annotated[
    str,
    typer.Option(help="none|last|all: what becomes of times while the service is down", show_default="last"),
]
CatchUpMost = Annotated[
    int, typer.Option(help="With --catch-up all: the newest that are caught up", show_default="100")
]
Webhook = Annotated[bool, typer.Option("--webhook", help="Fired by signed HTTP deliveries")]
Form = Annotated[
    str,
    typer.Option(
        help="standard|github: how its deliveries are signed, by Standard Webhooks or as GitHub does",
        show_default="standard",
    ),
]
Artifact = Annotated[
    str | None, typer.Option(help="Fired by new artefacts whose name begins so", show_default=False)
]
Model = Annotated[str, typer.Option(help="Fired by versions of this model that become ready")]
Alias = Annotated[str, typer.Option(help="With --model: by moves of this alias instead")]
FromEvent = Annotated[
    list[str],
    typer.Option(
        metavar="PARAM=FIELD",
        help="Parameter ← field of the event, e.g. day=date or ref=body.ref; repeatable",
    ),
]
Concurrency = Annotated[
    str, typer.Option(help="allow|forbid|queue: while a run of it goes on", show_default="allow")
]
MaxRunning = Annotated[int, typer.Option(help="With queue: runs at a time", show_default="1")]
MaxWaiting = Annotated[int, typer.Option(help="With queue: firings that may wait", show_default="100")]
Version = Annotated[str, typer.Option(help="Which version of the project", show_default="newest")]
Comment = Annotated[str, typer.Option(help="What for, for people")]


@command(part)
async def create(
    yard: Invocation,
    name: Annotated[str, typer.Argument(help="A name of your own, e.g. nightly")],
    project: Annotated[str, typer.Argument(help="Id (p-7) or name of the project that runs")],
    cron: Cron = "",
    zone: Zone = "",
    catch_up: CatchUp = "",
    catch_up_most: CatchUpMost = 0,
    webhook: Webhook = False,
    form: Form = "",
    artifact: Artifact = None,
    model: Model = "",
    alias: Alias = "",
    version: Version = "newest",
    param: work_options.Param = [],  # noqa: B006
    from_event: FromEvent = [],  # noqa: B006
    concurrency: Concurrency = "allow",
    max_running: MaxRunning = 0,
    max_waiting: MaxWaiting = 0,
    comment: Comment = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it, and say when it would fire")] = False,
    idempotency_key: Annotated[
        str, typer.Option(help="A UUID; the same key and request is the same trigger")
    ] = "",
) -> None:
    """Set up a trigger: by --cron, --webhook, --artifact or --model. Its runs are your account's."""
    source = _source(cron, zone, catch_up, catch_up_most, webhook, form, artifact, model, alias)
    if source is None:
        raise UsageError(
            "nothing fires it",
            next_step="add --cron '0 6 * * *', --webhook, --artifact PREFIX or --model NAME",
        )
    async with yard.client() as client:
        answer = await client.triggers.create(
            name, await project_id(client, project), source, version=_version(version),
            params=work_values.params_of(param), event_params=_mapping(from_event), concurrency=concurrency,
            max_running=max_running, max_waiting=max_waiting, comment=comment, validate_only=dry_run,
            request_id=idempotency_key,
        )  # fmt: skip
    _show_made(yard, answer, dry_run=dry_run)


def _show_made(yard: Invocation, answer: pb.CreateTriggerResponse, *, dry_run: bool) -> None:
    from cli.output.triggers import TRIGGER_FIELDS, when, zone_of

    trigger = answer.trigger
    if yard.output not in ("table", "name"):
        show_document(yard.output, to_document(answer))
        return
    show_one(yard.output, trigger, TRIGGER_FIELDS, lambda one: one.id)
    if yard.output == "name":
        return
    if dry_run:
        yard.say("nothing was made; it would fire:")
    for moment in answer.next_times[0 if dry_run else 1 :]:
        yard.say(f"  {'' if dry_run else 'then '}{when(moment, zone_of(trigger))}")
    if answer.secret:
        _say_secret(yard, trigger, answer.secret)
    elif not dry_run:
        yard.say(f"to try it: yard trigger fire {trigger.name}")


def _say_secret(yard: Invocation, trigger: pb.RunTrigger, secret: str) -> None:
    yard.say(f"secret  {secret}\nIt is shown now and never again.")
    _say_trial(yard, trigger, secret)


def _say_trial(yard: Invocation, trigger: pb.RunTrigger, secret: str) -> None:
    from cli.output.webhooks import trial

    if trigger.webhook.url:
        yard.say(f"to try it:\n{trial(trigger, secret, yard.settings.ca_file)}")
    else:
        yard.say("nobody listens yet: yard up --webhook-port 8080")


@command(part)
async def ls(
    yard: Invocation,
    project: Annotated[str, typer.Option(help="Only of this project")] = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List triggers, newest first."""
    from cli.output.triggers import TRIGGER_COLUMNS

    async with yard.client() as client:
        wanted = await project_id(client, project) if project else ""
        answer = await client.triggers.list(page_size, page_token, wanted)
    show_list(
        yard.output, answer, answer.triggers, TRIGGER_COLUMNS, lambda one: one.id,
        empty="no triggers; to make one: yard trigger create nightly PROJECT --cron '0 6 * * *'",
    )  # fmt: skip


@command(part)
async def get(yard: Invocation, trigger: Trigger) -> None:
    """Show a trigger: what fires it, when next, what it did last, what it missed."""
    from cli.output.triggers import TRIGGER_FIELDS, when, zone_of
    from cli.output.webhooks import SECRET_UNKNOWN

    async with yard.client() as client:
        answer = await client.triggers.get(trigger)
    if yard.output not in ("table", "name"):
        show_document(yard.output, to_document(answer))
        return
    show_one(yard.output, answer.trigger, TRIGGER_FIELDS, lambda one: one.id)
    if yard.output == "table":
        for moment in answer.next_times[1:]:
            yard.say(f"  then {when(moment, zone_of(answer.trigger))}")
        if answer.trigger.HasField("webhook"):
            _say_trial(yard, answer.trigger, SECRET_UNKNOWN)


@command(part)
async def pause(yard: Invocation, trigger: Trigger) -> None:
    """Let a trigger fire no more, until it is resumed. Its runs and what waits go on."""
    async with yard.client() as client:
        _show(yard, await client.triggers.pause(trigger))


@command(part)
async def resume(yard: Invocation, trigger: Trigger) -> None:
    """Let a trigger fire from now on. What came while it was paused is left out."""
    async with yard.client() as client:
        _show(yard, await client.triggers.resume(trigger))


@command(part)
async def modify(
    yard: Invocation,
    trigger: Trigger,
    cron: Cron = "",
    zone: Zone = "",
    catch_up: CatchUp = "",
    catch_up_most: CatchUpMost = 0,
    form: Form = "",
    artifact: Artifact = None,
    model: Model = "",
    alias: Alias = "",
    version: Annotated[str, typer.Option(help="A number, or newest", show_default="as it is")] = "",
    param: work_options.Param = [],  # noqa: B006
    from_event: FromEvent = [],  # noqa: B006
    concurrency: Annotated[str, typer.Option(help="allow|forbid|queue", show_default="as it is")] = "",
    max_running: MaxRunning = 0,
    max_waiting: MaxWaiting = 0,
    comment: Comment = "",
) -> None:
    """Change a trigger. Only what is given; --param and --from-event replace all that it has."""
    given: dict[str, Any] = {
        "version": _version(version) if version else None,
        "params": work_values.params_of(param) if param else None,
        "event_params": _mapping(from_event) if from_event else None,
        "concurrency": concurrency or None, "max_running": max_running or None, "max_waiting": max_waiting or None,
        "comment": comment or None,
    }  # fmt: skip
    async with yard.client() as client:
        if zone or catch_up or catch_up_most or cron:
            now = (await client.triggers.get(trigger)).trigger.cron
            from cli.output.triggers import catch_up_word

            cron, zone = cron or now.expression, zone or now.time_zone
            catch_up, catch_up_most = catch_up or catch_up_word(now), catch_up_most or now.catch_up_most
        source = _source(cron, zone, catch_up, catch_up_most, bool(form), form, artifact, model, alias)
        if source is None and all(value is None for value in given.values()):
            raise UsageError("nothing to change", next_step="yard trigger modify --help")
        _show(yard, await client.triggers.modify(trigger, source=source, **given))


@command(part)
async def rm(
    yard: Invocation,
    trigger: Trigger,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False,
) -> None:
    """Remove a trigger with its firings and back-fills. Its runs stay."""
    confirm(f"remove {trigger} and what it has fired?", yes=yes)
    async with yard.client() as client:
        await client.triggers.delete(trigger)
    yard.say(f"{trigger} is gone")


@command(part)
async def rotate(
    yard: Invocation,
    trigger: Trigger,
    overlap: Annotated[str, typer.Option(help="How long the old secret counts, e.g. 1h or 0s")] = "24h",
) -> None:
    """Give a webhook a new secret. The old one counts for a while longer."""
    from modelyard.quantities import parse_duration

    try:
        overlap_s = int(parse_duration(overlap))
    except ValueError as error:
        raise UsageError(f"--overlap: {error}") from error
    async with yard.client() as client:
        answer = await client.triggers.rotate_secret(trigger, overlap_s)
    if yard.output == "table":
        _say_secret(yard, answer.trigger, answer.secret)
    else:
        show_document(yard.output, to_document(answer))


@command(part)
async def fire(
    yard: Invocation,
    trigger: Trigger,
    param: work_options.Param = [],  # noqa: B006
    body: Annotated[
        str, typer.Option(help="JSON object that stands in for a webhook's body; @FILE reads it")
    ] = "",
    idempotency_key: Annotated[
        str, typer.Option(help="A UUID; the same key and request is the same firing")
    ] = "",
) -> None:
    """Fire a trigger by hand, also a paused one."""
    from cli.output.triggers import FIRING_FIELDS

    read = work_values.params_of([f"body={body}"])["body"] if body else {}
    if not isinstance(read, dict):
        raise UsageError("--body is no JSON object", next_step='for example --body \'{"ref": "main"}\'')
    async with yard.client() as client:
        firing = await client.triggers.fire(
            trigger, params=work_values.params_of(param), body=read, request_id=idempotency_key
        )
    show_one(yard.output, firing, FIRING_FIELDS, lambda one: one.id)
    if yard.output == "table":
        yard.say(f"what became of it: yard trigger firings {trigger}")


@command(part)
async def firings(
    yard: Invocation,
    trigger: Annotated[str, typer.Argument(help="A trigger, or a back-fill, for example b-3")],
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List what a trigger or a back-fill fired, newest first: its run, or why it has none."""
    from cli.output.triggers import FIRING_COLUMNS

    named = {"backfill": trigger} if is_backfill(trigger) else {"trigger": trigger}
    async with yard.client() as client:
        answer = await client.triggers.firings(**named, page_size=page_size, page_token=page_token)  # type: ignore[arg-type]
    show_list(
        yard.output, answer, answer.firings, FIRING_COLUMNS, lambda one: one.id, empty="nothing fired yet"
    )


def _show(yard: Invocation, trigger: pb.RunTrigger) -> None:
    from cli.output.triggers import TRIGGER_FIELDS

    show_one(yard.output, trigger, TRIGGER_FIELDS, lambda one: one.id)


def _source(
    cron: str, zone: str, catch_up: str, catch_up_most: int, webhook: bool, form: str, artifact: str | None,
    model: str, alias: str,
) -> Source | None:  # fmt: skip
    """What fires it; None: nothing is said. Raises UsageError."""
    from modelyard.client import triggers
    from modelyard.v1 import trigger_pb2 as pb

    ways = {
        "--cron": bool(cron),
        "--webhook": webhook,
        "--artifact": artifact is not None,
        "--model": bool(model),
    }
    chosen = [name for name, is_there in ways.items() if is_there]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other", next_step="make a trigger for each")
    if (zone or catch_up or catch_up_most) and not cron:
        raise UsageError("--zone and --catch-up belong to --cron")
    if alias and not model:
        raise UsageError("--alias belongs to --model")
    if form and not webhook:
        raise UsageError("--form belongs to --webhook")
    if cron:
        return triggers.cron(cron, zone, catch_up=catch_up or "last", catch_up_most=catch_up_most)
    if webhook:
        return triggers.webhook(form or "standard")
    if artifact is not None:
        return pb.ArtifactSource(name_prefix=artifact)
    return pb.ModelSource(model=model, alias=alias) if model else None


def _version(word: str) -> int:
    if word in ("newest", "latest"):
        return 0
    if word.isdecimal() and int(word) > 0:
        return int(word)
    raise UsageError(f"--version {word!r} is neither a number nor newest")


def _mapping(words: list[str]) -> dict[str, str]:
    found = dict(word.partition("=")[::2] for word in words)
    for word in words:
        if "=" not in word:
            raise UsageError(f"--from-event {word!r}", next_step="PARAM=FIELD, for example day=date")
    return found
