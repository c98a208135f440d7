"""`yard nodes`: the machines and what they are busy with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import complete_nodes
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_group
from cli.options import work as work_options
from cli.options import work_values
from cli.options.lists import PageSize, PageToken
from cli.options.work_values import pairs
from cli.output.render import show_list, show_one

if TYPE_CHECKING:
    from modelyard.v1 import node_pb2

WATCH_S = 2.0

app = new_group("The machines that run agents.")

NodeName = Annotated[str, typer.Argument(help="Name of the node", autocompletion=complete_nodes)]


@command(app, "ls")
async def list_nodes(
    yard: Invocation,
    label: Annotated[list[str], typer.Option(help="Only nodes with k=v; repeatable")] = [],  # noqa: B006
    page_size: PageSize = 100,
    page_token: PageToken = "",
) -> None:
    """List nodes."""
    from cli.output.nouns import NODE_COLUMNS

    async with yard.client() as client:
        response = await client.nodes.list(
            pairs(label, "--label"), page_size=page_size, page_token=page_token
        )
    show_list(
        yard.output,
        response,
        response.nodes,
        NODE_COLUMNS,
        lambda node: node.id,
        empty="no node is connected; next: yard agent join, with the line of: yard nodes token",
    )


@command(app, "get")
async def get_node(yard: Invocation, node: NodeName) -> None:
    """Show one node."""
    async with yard.client() as client:
        _show(yard, await client.nodes.get(node))


@command(app)
async def occupancy(
    yard: Invocation,
    nodes: Annotated[
        list[str], typer.Argument(help="Only these", show_default="all", autocompletion=complete_nodes)
    ] = [],  # noqa: B006
    window: Annotated[
        int,
        typer.Option(help="Of what COUNTED is, in seconds: 1, 10 or 60", show_default="what placement uses"),
    ] = 0,
    watch: Annotated[bool, typer.Option("--watch", help="Again every 2 s, until Ctrl-C")] = False,
) -> None:
    """Show every node side by side: measured, reserved, and what placement counts, with the tasks there.

    yard nodes occupancy, then: yard run --node NODE ...
    """
    async with yard.client() as client:
        while True:
            found = await client.nodes.occupancy(window, nodes=nodes)
            if watch and yard.output == "table" and sys.stdout.isatty():
                sys.stdout.write("\x1b[H\x1b[2J")
            _show_occupancy(yard, found)
            if not watch:
                return
            await asyncio.sleep(WATCH_S)


def _show_occupancy(yard: Invocation, nodes: Sequence[node_pb2.NodeOccupancy]) -> None:
    from cli.output.busyness import write_occupancy
    from modelyard.v1 import node_pb2

    if yard.output == "table":
        write_occupancy(nodes)
    else:
        show_list(yard.output, node_pb2.GetOccupancyResponse(nodes=nodes), nodes, (), lambda item: item.node)


@command(app)
async def quote(
    yard: Invocation,
    node: Annotated[
        str, typer.Argument(help="Only this node; none: whichever fits", autocompletion=complete_nodes)
    ] = "",
    label: work_options.Label = [],  # noqa: B006
    pool: work_options.Pool = "",
    policy: work_options.Policy = "",
    cpu: work_options.Cpu = 0.0,
    memory: work_options.Memory = "",
    gpu: work_options.Gpu = 0.0,
    resource: work_options.Resource = [],  # noqa: B006
    count: Annotated[int, typer.Option(help="Room for this many tasks", min=1)] = 1,
    distinct_nodes: Annotated[
        bool, typer.Option("--distinct-nodes", help="Each on a node of its own")
    ] = False,
    ttl: Annotated[str, typer.Option(help="How long to hold it, at most 30s")] = "30s",
    renew: Annotated[str, typer.Option(help="Hold this quote for longer instead", show_default=False)] = "",
    release: Annotated[str, typer.Option(help="Give this quote back instead", show_default=False)] = "",
) -> None:
    """Hold capacity for a moment; a submission with --quote starts there for certain.

    yard nodes quote node-1 --cpu 2
    """
    from cli.output.nouns import QUOTE_FIELDS

    options = work_values.options_of(
        node=node, label=label, policy=policy, cpu=cpu, memory=memory, gpu=gpu, resource=resource,
        distinct_nodes=distinct_nodes, pool=pool,
    )  # fmt: skip
    if (renew or release) and (options or count != 1 or (renew and release)):
        raise UsageError("--renew and --release name a quote that is there; give nothing else but --ttl")
    async with yard.client() as client:
        if release:
            await client.nodes.delete_quote(release)
            yard.say(f"{release} is given back")
            return
        if renew:
            held = await client.nodes.renew_quote(renew, ttl)
        else:
            held = await client.nodes.quote(options=options, count=count, ttl=ttl)
    show_one(yard.output, held, QUOTE_FIELDS, lambda item: item.id)
    if yard.output == "table":
        amounts = " ".join(filter(None, [f"--cpu {cpu:g}" if cpu else "", f"--memory {memory}" if memory else "",
                                         f"--gpu {gpu:g}" if gpu else ""]))  # fmt: skip
        yard.say(f"next: yard run --quote {held.id} {amounts} -- COMMAND".replace("  ", " "))


@command(app)
async def cordon(yard: Invocation, node: NodeName) -> None:
    """Keep new tasks away; running ones go on."""
    async with yard.client() as client:
        _show(yard, await client.nodes.cordon(node))


@command(app)
async def uncordon(yard: Invocation, node: NodeName) -> None:
    """Let new tasks come again."""
    async with yard.client() as client:
        _show(yard, await client.nodes.uncordon(node))


@command(app)
async def drain(
    yard: Invocation,
    node: NodeName,
    timeout: Annotated[str, typer.Option(help="Then running tasks are moved")] = "10m",
) -> None:
    """Cordon, let running tasks end until the timeout, then move them elsewhere."""
    async with yard.client() as client:
        _show(yard, await client.nodes.drain(node, timeout))


@command(app)
async def label(
    yard: Invocation,
    node: NodeName,
    labels: Annotated[list[str], typer.Argument(help="k=v sets, k- removes")],
) -> None:
    """Set and remove labels: yard nodes label node-1 zone=a rack-"""
    removed = [word[:-1] for word in labels if word.endswith("-") and "=" not in word]
    added = pairs([word for word in labels if not (word.endswith("-") and "=" not in word)], "label")
    async with yard.client() as client:
        _show(yard, await client.nodes.label(node, added, removed))


@command(app, "rm")
async def remove(yard: Invocation, node: NodeName) -> None:
    """Forget a lost node that has no tasks; its credentials end."""
    async with yard.client() as client:
        await client.nodes.delete(node)
    yard.say(f"{node} is forgotten; it comes back only with a new join line: yard nodes token")


@command(app)
async def token(
    yard: Invocation,
    node: Annotated[str, typer.Option(help="Only a node of this name may use it")] = "",
    ttl: Annotated[str, typer.Option(help="How long it is valid")] = "15m",
) -> None:
    """Print the line that makes another machine a node of this yard. It works once."""
    async with yard.client() as client:
        answer = await client.nodes.token(node, ttl)
    if yard.output in ("table", "name"):
        sys.stdout.write((answer.join_command or answer.join_token) + "\n")
        yard.say(f"valid once, until {answer.expire_time.ToJsonString()}; run it on the new machine")
    else:
        show_one(yard.output, answer, (), lambda item: item.join_token)


def _show(yard: Invocation, node: node_pb2.Node) -> None:
    from cli.output.nouns import NODE_FIELDS

    show_one(yard.output, node, NODE_FIELDS, lambda item: item.id)
