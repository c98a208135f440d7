"""`yard graph run` and what belongs to runs: they are started, watched, steered, and give results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exit_codes
from cli.completion import complete_run_nodes, complete_runs
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_part
from cli.options import work as work_options
from cli.options import work_values
from cli.options.lists import PageSize, PageToken
from cli.output.render import show_list, show_one
from cli.projects import Project, Version, project_id
from cli.prompts import confirm

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import run_pb2

part = new_part()

Run = Annotated[str, typer.Argument(help="For example r-12", autocompletion=complete_runs)]
Watch = Annotated[bool, typer.Option("--watch", help="Tell of each node as it is committed")]
Bodies = Annotated[bool, typer.Option("--bodies", help="With --watch: of nodes in maps and loops too")]


@command(part)
async def run(
    yard: Invocation,
    project: Project,
    version: Version = 0,
    param: work_options.Param = [],  # noqa: B006
    order: Annotated[str, typer.Option(help="levels|branches: which total order")] = "levels",
    start: Annotated[str, typer.Option(help="ready|strict: when a node may start")] = "ready",
    max_parallel: Annotated[
        int, typer.Option(help="Most nodes on agents at a time", show_default="no limit")
    ] = 0,
    refresh: Annotated[bool, typer.Option("--refresh", help="Take nothing from the cache")] = False,
    comment: Annotated[str, typer.Option(help="What for, for people")] = "",
    contact: work_options.Contact = "",
    notify: work_options.NotifyRun = "",
    silent: work_options.Silent = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait; print the run's id")] = False,
    watch: Watch = False,
    bodies: Bodies = False,
    idempotency_key: Annotated[
        str, typer.Option(help="A UUID; the same key and request is the same run")
    ] = "",
) -> int:
    """Run a version, and print what it came to. That is what its sinks gave. Interrupting leaves the run alone."""
    async with yard.client() as client:
        begun = await client.runs.start(
            await project_id(client, project), version, params=work_values.params_of(param), order=order,
            start=start, max_parallel=max_parallel, refresh=refresh, comment=comment, contact=contact, notify=notify,
            silent=silent, request_id=idempotency_key,
        )  # fmt: skip
        return await _followed(yard, client, begun, detach=detach, watch=watch, bodies=bodies)


@command(part)
async def explain(
    yard: Invocation,
    project: Project,
    version: Version = 0,
    param: work_options.Param = [],  # noqa: B006
    order: Annotated[str, typer.Option(help="levels|branches: which total order")] = "levels",
    slots: Annotated[
        int,
        typer.Option(help="Nodes at a time to count on", show_default="as many as the agents have cores for"),
    ] = 0,
    refresh: Annotated[bool, typer.Option("--refresh", help="As if nothing came from the cache")] = False,
) -> None:
    """Tell what a run would do now. Levels, order, nodes and why, cache hits, critical path, what strictness costs."""
    from cli.output.runs import PLANNED_COLUMNS, prediction

    async with yard.client() as client:
        answer = await client.runs.explain(
            await project_id(client, project),
            version,
            params=work_values.params_of(param),
            order=order,
            slots=slots,
            refresh=refresh,
        )
    show_list(yard.output, answer, answer.nodes, PLANNED_COLUMNS, lambda node: node.node_id)
    if yard.output == "table":
        yard.say(prediction(answer))


@command(part, "continue")
async def continue_(
    yard: Invocation,
    run: Run,
    version: Version = 0,
    from_node: Annotated[
        list[str], typer.Option("--from", help="Run this node and what depends on it again; repeatable")
    ] = [],  # noqa: B006
    param: work_options.Param = [],  # noqa: B006
    node_param: Annotated[
        list[str], typer.Option(help="NODE.k=v: another parameter of a node; repeatable")
    ] = [],  # noqa: B006
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait; print the run's id")] = False,
    watch: Watch = False,
    bodies: Bodies = False,
) -> int:
    """Run what a run has not done; keep the rest. Or what it has to do again: from a node, with other parameters."""
    patched: dict[str, dict[str, Any]] = {}
    for word in node_param:
        place, _, value = word.partition("=")
        node, dot, name = place.rpartition(".")
        if not dot or not node:
            raise UsageError(f"{word!r} is no NODE.k=v", next_step="for example --node-param n3.width=224")
        patched.setdefault(node, {}).update(work_values.params_of([f"{name}={value}"]))
    async with yard.client() as client:
        answer = await client.runs.continue_(
            run, version, from_nodes=from_node, params=work_values.params_of(param), node_params=patched
        )
        yard.say(f"{answer.run.id} keeps {answer.kept_count} of {answer.run.node_count} nodes of {run}")
        return await _followed(yard, client, answer.run, detach=detach, watch=watch, bodies=bodies)


async def _followed(
    yard: Invocation, client: Client, begun: run_pb2.Run, *, detach: bool, watch: bool, bodies: bool
) -> int:
    from cli.output.nouns import counted
    from cli.output.runs import RUN_FIELDS

    if detach:
        show_one("name" if yard.output == "table" else yard.output, begun, RUN_FIELDS, lambda item: item.id)
        return exit_codes.DONE
    yard.say(f"{begun.id}: {counted(begun.node_count, 'node')}; to stop it: yard graph cancel {begun.id}")
    ended = await _until_the_end(yard, client, begun, with_nodes=watch or bodies, bodies=bodies)
    return await _shown(yard, client, ended)


async def _until_the_end(
    yard: Invocation, client: Client, begun: run_pb2.Run, *, with_nodes: bool, bodies: bool
) -> run_pb2.Run:
    """The run once it has ended. Whoever interrupts is told that it goes on."""
    from cli.following.leaving import goes_on
    from cli.following.runs import followed

    with goes_on(yard, begun.id, f"yard graph watch {begun.id}", f"yard graph cancel {begun.id}"):
        return await followed(client, begun, with_nodes=with_nodes, bodies=bodies)


async def _shown(yard: Invocation, client: Client, ended: run_pb2.Run) -> int:
    """Prints what it came to, and which nodes failed; the exit code."""
    from cli.output.runs import show_failed, show_results

    code = show_results(yard.output, ended)
    if yard.output == "table" and ended.error_count:
        show_failed(ended, await client.runs.failed(ended.id))
    return code


@command(part)
async def runs(
    yard: Invocation,
    project: Annotated[str, typer.Option(help="Only of this project")] = "",
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List runs, newest first."""
    from cli.output.runs import RUN_COLUMNS

    async with yard.client() as client:
        wanted = await project_id(client, project) if project else ""
        answer = await client.runs.list(wanted, page_size=page_size, page_token=page_token)
    show_list(
        yard.output,
        answer,
        answer.runs,
        RUN_COLUMNS,
        lambda item: item.id,
        empty="no runs; next: yard graph run",
    )


@command(part)
async def watch(
    yard: Invocation,
    run: Run,
    bodies: Annotated[bool, typer.Option("--bodies", help="Of nodes in maps and loops too")] = False,
) -> int:
    """Watch a run to its end: what is committed, which gates wait; a terminal shows levels."""
    async with yard.client() as client:
        begun = await client.runs.get(run)
        ended = await _until_the_end(yard, client, begun, with_nodes=True, bodies=bodies)
        return await _shown(yard, client, ended)


@command(part)
async def result(
    yard: Invocation,
    run: Run,
    node: Annotated[
        str,
        typer.Argument(
            help="A node of it, within a body m/3/s",
            show_default="its sinks",
            autocompletion=complete_run_nodes,
        ),
    ] = "",
) -> int:
    """Print what a run came to, or what one of its nodes gave."""
    from cli.output.runs import show_node

    async with yard.client() as client:
        if not node:
            return await _shown(yard, client, await client.runs.get(run))
        found = await client.runs.result(run, node)
    show_node(yard.output, found)
    return exit_codes.DONE


@command(part)
async def cancel(
    yard: Invocation, run: Run, comment: Annotated[str, typer.Option(help="Why, for people")] = ""
) -> None:
    """End a run: what has not ended is cancelled."""
    async with yard.client() as client:
        _say(yard, await client.runs.cancel(run, comment))


@command(part)
async def forget(
    yard: Invocation, run: Run, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")] = False
) -> None:
    """Delete an ended run, with what it recorded."""
    confirm(f"Delete the run {run} with what it recorded?", yes=yes)
    async with yard.client() as client:
        await client.runs.remove(run)
    yard.say(f"deleted {run}")


@command(part)
async def pause(yard: Invocation, run: Run) -> None:
    """Start no further node of a run; those that run go on."""
    async with yard.client() as client:
        _say(yard, await client.runs.pause(run))


@command(part)
async def resume(yard: Invocation, run: Run) -> None:
    """Let a paused run go on."""
    async with yard.client() as client:
        _say(yard, await client.runs.resume(run))


@command(part)
async def modify(
    yard: Invocation,
    run: Run,
    node: Annotated[
        str,
        typer.Argument(help="A node that has not started", autocompletion=complete_run_nodes),
    ],
    param: work_options.Param = [],  # noqa: B006
) -> None:
    """Change the parameters of a node before it starts."""
    from cli.output.runs import NODE_FIELDS

    if not param:
        raise UsageError("nothing is to be changed", next_step="give --param k=v")
    async with yard.client() as client:
        changed = await client.runs.modify(run, node, work_values.params_of(param))
    show_one(yard.output, changed, NODE_FIELDS, lambda item: item.node_id)


def _say(yard: Invocation, found: run_pb2.Run) -> None:
    from cli.output.runs import RUN_FIELDS, state_of

    if yard.output == "table":
        yard.say(f"{found.id} is {state_of(found)}")
    else:
        show_one(yard.output, found, RUN_FIELDS, lambda item: item.id)
