"""`yard model deploy|undeploy|modify|rollback|load|unload|deployments|frames|why`: what is served, and where."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.commands.model.references import named
from cli.completion import complete_deployments, complete_models
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_part
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.client.aio import Client
    from modelyard.v1 import deployment_pb2 as pb

part = new_part()

Routes = Annotated[
    list[str],
    typer.Argument(help="MODEL, MODEL:VERSION or MODEL:VERSION=WEIGHT; a version is a number or an alias"),
]
Name = Annotated[str, typer.Argument(help="The name of a deployment", autocompletion=complete_deployments)]
Version = Annotated[str, typer.Option("--version", help="A number or an alias; else champion, or the latest")]
Node = Annotated[str, typer.Option(help="Only this node")]
Wait = Annotated[float, typer.Option(help="Seconds to wait at most", min=0)]
Least = Annotated[
    int | None, typer.Option("--min", help="Frames that are kept warm", min=0, show_default="1")
]
Most = Annotated[int | None, typer.Option("--max", help="Frames at most", min=1, show_default="model.yaml's")]
Idle = Annotated[
    str,
    typer.Option(
        help="A frame beyond the minimum that is unused for so long ends", show_default="model.yaml's"
    ),
]
Memory = Annotated[str, typer.Option(help="Of one frame, for example 2Gi", show_default="model.yaml's")]
Runtime = Annotated[str, typer.Option(help="environment or container", show_default="model.yaml's")]
Deadline = Annotated[str, typer.Option(help="Of calls that say none", show_default="model.yaml's")]
Sticky = Annotated[
    str,
    typer.Option(
        help="The parameter of calls by which a caller stays with one version", show_default="the account"
    ),
]
Mirror = Annotated[
    str, typer.Option(help="MODEL:VERSION=PERCENT: so many of the calls are sent there as well")
]
Key = Annotated[str, typer.Option("--idempotency-key", help="A UUID; the same key and request happens once")]


@command(part)
async def deploy(
    yard: Invocation,
    routes: Routes,
    name: Annotated[str, typer.Option(help="Under which calls name it", show_default="the model's")] = "",
    least: Least = None,
    most: Most = None,
    idle_unload: Idle = "",
    memory: Memory = "",
    runtime: Runtime = "",
    deadline: Deadline = "",
    node: Node = "",
    sticky: Sticky = "",
    mirror: Mirror = "",
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait until it is loaded")] = False,
    wait: Wait = 600.0,
    idempotency_key: Key = "",
) -> int:
    """Serve versions of models under a name, with weights; waits until they are loaded."""
    settings = _settings(1 if least is None else least, most, idle_unload, memory, runtime, deadline, node)
    async with yard.client() as client:
        found = await client.deployments.deploy(
            _checked(routes), name=name, sticky_parameter=sticky, settings=settings, mirror=_mirror(mirror),
            request_id=idempotency_key,
        )  # fmt: skip
        return await _followed(yard, client, found, wait, detach=detach)


@command(part)
async def modify(
    yard: Invocation,
    name: Name,
    routes: Annotated[list[str] | None, typer.Argument(help="As for deploy; none: as they are")] = None,
    least: Annotated[int | None, typer.Option("--min", help="Frames that are kept warm", min=0)] = None,
    most: Most = None,
    idle_unload: Idle = "",
    memory: Memory = "",
    runtime: Runtime = "",
    deadline: Deadline = "",
    node: Node = "",
    mirror: Mirror = "",
    without_mirror: Annotated[bool, typer.Option("--without-mirror", help="Nothing is mirrored")] = False,
    comment: Annotated[str, typer.Option(help="What for, for people")] = "",
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait until it is loaded")] = False,
    wait: Wait = 600.0,
    idempotency_key: Key = "",
) -> int:
    """Change what is said of a deployment, its weights above all, from the next call on."""
    settings = _settings(least, most, idle_unload, memory, runtime, deadline, node)
    async with yard.client() as client:
        found = await client.deployments.modify(
            name, routes=_checked(routes or ()), settings=settings, mirror=_mirror(mirror),
            without_mirror=without_mirror, comment=comment, request_id=idempotency_key,
        )  # fmt: skip
        return await _followed(yard, client, found, wait, detach=detach)


@command(part)
async def rollback(
    yard: Invocation,
    name: Name,
    comment: Annotated[str, typer.Option(help="What for, for people")] = "",
    idempotency_key: Key = "",
) -> None:
    """Put the weights back to what they were before their last change, from the next call on."""
    from cli.output.frames import DEPLOYMENT_FIELDS

    async with yard.client() as client:
        found = await client.deployments.roll_back(name, comment, request_id=idempotency_key)
    show_one(yard.output, found, DEPLOYMENT_FIELDS, lambda one: one.name)


@command(part)
async def undeploy(yard: Invocation, name: Name, idempotency_key: Key = "") -> None:
    """End a deployment: nothing is kept warm for it any more. Its models stay, and answer when they are called."""
    from cli.output.frames import DEPLOYMENT_FIELDS

    async with yard.client() as client:
        found = await client.deployments.undeploy(name, request_id=idempotency_key)
    show_one(yard.output, found, DEPLOYMENT_FIELDS, lambda one: one.name)


@command(part)
async def deployments(
    yard: Invocation,
    name: Annotated[str, typer.Argument(help="One of them, with its frames")] = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",
    all_accounts: Annotated[
        bool, typer.Option("--all-accounts", help="Everybody's; for administrators")
    ] = False,
) -> None:
    """List what is served, or show one deployment and its frames."""
    from cli.output.frames import DEPLOYMENT_COLUMNS, DEPLOYMENT_FIELDS, FRAME_COLUMNS
    from cli.output.render import show_document, to_document

    async with yard.client() as client:
        if name:
            one = await client.deployments.get(name)
            if yard.output not in ("table", "name"):
                show_document(yard.output, to_document(one))
                return
            show_one(yard.output, one.deployment, DEPLOYMENT_FIELDS, lambda found: found.name)
            if yard.output == "table" and one.frames:
                show_list("table", one, one.frames, FRAME_COLUMNS, lambda found: found.id)
            return
        answer = await client.deployments.list(page_size, page_token, all_accounts=all_accounts)
    empty = "nothing is deployed; a model is loaded when it is called: yard model call MODEL"
    show_list(
        yard.output, answer, answer.deployments, DEPLOYMENT_COLUMNS, lambda found: found.name, empty=empty
    )


@command(part)
async def frames(
    yard: Invocation,
    model: Annotated[str, typer.Option(help="Only of this model")] = "",
    node: Node = "",
    ended: Annotated[bool, typer.Option("--all", help="Those of the last day that have ended, too")] = False,
    page_size: PageSize = 50,
    page_token: PageToken = "",
    all_accounts: Annotated[
        bool, typer.Option("--all-accounts", help="Everybody's; for administrators")
    ] = False,
) -> None:
    """List what is loaded, and where."""
    from cli.output.frames import FRAME_COLUMNS

    async with yard.client() as client:
        answer = await client.deployments.frames(
            page_size, page_token, model=model, node=node, with_ended=ended, all_accounts=all_accounts
        )
    show_list(
        yard.output, answer, answer.frames, FRAME_COLUMNS, lambda one: one.id, empty="no model is loaded"
    )


@command(part)
async def load(
    yard: Invocation,
    model: Annotated[str, typer.Argument(help="A model, or model:version", autocompletion=complete_models)],
    version: Version = "",
    node: Node = "",
    wait: Wait = 600.0,
    idempotency_key: Key = "",
) -> None:
    """Load a version now, and keep it until it is unloaded or its memory is needed; tells why it cannot be."""
    from cli.output.frames import FRAME_FIELDS

    model, version = named(model, version)
    async with yard.client() as client:
        telling = asyncio.create_task(_tell(yard, client, model))
        try:
            found = await client.deployments.load(
                model, version, node=node, timeout_s=wait, request_id=idempotency_key
            )
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
    show_one(yard.output, found, FRAME_FIELDS, lambda one: one.id)


@command(part)
async def unload(
    yard: Invocation,
    model: Annotated[str, typer.Argument(help="A model, or model:version", autocompletion=complete_models)],
    version: Annotated[str, typer.Option("--version", help="A number or an alias; else every version")] = "",
    node: Node = "",
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Do not wait until their memory is back")
    ] = False,
    wait: Wait = 60.0,
    idempotency_key: Key = "",
) -> int:
    """End the frames of a model once they have answered what they have; waits until their memory is back."""
    from cli.output.frames import FRAME_COLUMNS
    from modelyard.v1 import deployment_pb2 as pb

    model, version = named(model, version)
    async with yard.client() as client:
        found = list(await client.deployments.unload(model, version, node=node, request_id=idempotency_key))
        is_done = detach or await _gone(client, model, {one.id for one in found}, wait)
    answer = pb.UnloadModelResponse(frames=found)
    show_list(
        yard.output, answer, answer.frames, FRAME_COLUMNS, lambda one: one.id, empty=f"{model} is not loaded"
    )
    return exit_codes.DONE if is_done else exit_codes.WAIT_TIMED_OUT


@command(part)
async def why(
    yard: Invocation,
    name: Annotated[str, typer.Argument(help="A deployment or a model")],
    version: Version = "",
    sticky_value: Annotated[str, typer.Option(help="The value of its sticky parameter")] = "",
) -> None:
    """Explain why a call would be answered where it would, or what would have to happen before."""
    from cli.output.explanations import write_plan
    from cli.output.render import show_document, to_document

    name, version = named(name, version)
    async with yard.client() as client:
        found = await client.deployments.explain(name, version, sticky_value=sticky_value)
    if yard.output != "table":
        show_document(yard.output, to_document(found))
        return
    print(found.summary)
    if found.next_step:
        print(f"next: {found.next_step}")
    if found.HasField("placement"):
        write_plan(found.placement)


async def _followed(
    yard: Invocation, client: Client, found: pb.Deployment, wait_s: float, *, detach: bool
) -> int:
    """Until it is what it is to be, telling what becomes of its frames."""
    from cli.output.frames import DEPLOYMENT_FIELDS, line_of
    from modelyard.v1 import deployment_pb2 as pb

    settled = (pb.DEPLOYMENT_STATE_READY, pb.DEPLOYMENT_STATE_DEGRADED, pb.DEPLOYMENT_STATE_FAILED)
    told: dict[str, str] = {}
    is_late = False
    if not detach:
        try:
            async with asyncio.timeout(wait_s):
                async for response in client.deployments.watch(found.name):
                    found = response.deployment
                    for frame in response.frames:
                        line = line_of(frame)
                        if told.get(frame.id) != line:
                            yard.say(f"  {line}")
                        told[frame.id] = line
                    if found.state in settled:
                        break
        except TimeoutError:
            is_late = True
            yard.say(f"it is not loaded after {wait_s:g} s; next: yard model why {found.name}")
    show_one(yard.output, found, DEPLOYMENT_FIELDS, lambda one: one.name)
    if is_late:
        return exit_codes.WAIT_TIMED_OUT
    return exit_codes.WORK_FAILED if found.state == pb.DEPLOYMENT_STATE_FAILED else exit_codes.DONE


async def _tell(yard: Invocation, client: Client, model: str) -> None:
    """What becomes of its frames, until it is cancelled."""
    from cli.output.frames import line_of

    told: dict[str, str] = {}
    while True:
        for frame in (await client.deployments.frames(model=model)).frames:
            line = line_of(frame)
            if told.get(frame.id) != line:
                yard.say(f"  {line}")
            told[frame.id] = line
        await asyncio.sleep(0.3)


async def _gone(client: Client, model: str, frames: set[str], wait_s: float) -> bool:
    """Whether these have ended in time."""
    until = time.monotonic() + wait_s
    while frames & {one.id for one in (await client.deployments.frames(model=model)).frames}:
        if time.monotonic() > until:
            return False
        await asyncio.sleep(0.1)
    return True


def _checked(routes: Sequence[str]) -> list[pb.DeploymentRoute]:
    from modelyard.client.deployments import route

    try:
        return [route(one) for one in routes]
    except ValueError as error:
        raise UsageError(str(error), next_step="yard model deploy iris:3=90 iris:4=10") from error


def _mirror(text: str) -> pb.DeploymentMirror | None:
    from modelyard.client.models import reference
    from modelyard.v1 import deployment_pb2 as pb

    if not text:
        return None
    words, _, percent = text.partition("=")
    model, version = reference(words)
    try:
        ratio = float(percent.removesuffix("%") or 100) / 100
    except ValueError as error:
        raise UsageError(f"--mirror: {percent!r} is no share", next_step="--mirror iris:4=10%") from error
    return pb.DeploymentMirror(model=model, version=version, ratio=ratio)


def _settings(
    least: int | None, most: int | None, idle: str, memory: str, runtime: str, deadline: str, node: str
) -> pb.ServingSettings:
    from modelyard.quantities import parse_duration, parse_size
    from modelyard.v1 import deployment_pb2 as pb

    settings = pb.ServingSettings()
    if least is not None:
        settings.min_instances = least
    if most is not None:
        settings.max_instances = most
    if runtime:
        settings.runtime = runtime
    try:
        if idle:
            settings.idle_unload_s = parse_duration(idle)
        if deadline:
            settings.deadline_s = parse_duration(deadline)
        if memory:
            settings.resources.memory_bytes = parse_size(memory)
    except ValueError as error:
        raise UsageError(str(error), next_step="for example --idle-unload 10m --memory 2Gi") from error
    if node:
        settings.placement.node = node
    return settings
