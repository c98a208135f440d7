"""Names for the shell's completion: tasks, nodes, operators, queues, projects, runs, jobs, sweeps, models, contacts …

Gives up after a second, and never complains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from modelyard.client.aio import Client

BUDGET_S = 1.0

Names = list[tuple[str, str]]
Completer = Callable[[Any, list[str], str], Names]


class Typed(NamedTuple):
    """What stands on the line so far: the word that is being completed, and the run that was named before it."""

    word: str
    run: str


Source = Callable[["Client", Typed], Awaitable[Names]]


def _completer(source: Source) -> Completer:
    """What typer calls: the names of the source that begin as the word does; none where it cannot be asked."""

    def complete(ctx: Any, args: list[str], incomplete: str) -> Names:
        return _ask(ctx, source, Typed(incomplete, str(ctx.params.get("run") or "")))

    return complete


@_completer
async def complete_tasks(client: Client, typed: Typed) -> Names:
    """Task ids with name and state."""
    from modelyard.client.outcomes import state_name

    listed = await client.tasks.list(page_size=200)
    return [(task.id, f"{state_name(task.state)} {task.name}".strip()) for task in listed.tasks]


@_completer
async def complete_nodes(client: Client, typed: Typed) -> Names:
    """Node names with their state."""
    listed = await client.nodes.list()
    return [(node.id, f"{node.running_count} running") for node in listed.nodes]


@_completer
async def complete_operators(client: Client, typed: Typed) -> Names:
    """Operator names with their summary."""
    listed = await client.operators.list(page_size=200)
    return [(operator.name, operator.summary) for operator in listed.operators]


@_completer
async def complete_queues(client: Client, typed: Typed) -> Names:
    """Queue names with what waits in them."""
    listed = await client.queues.list(page_size=200)
    return [(queue.name, f"{queue.waiting_count} waiting") for queue in listed.queues]


@_completer
async def complete_projects(client: Client, typed: Typed) -> Names:
    """Names of projects with their ids."""
    listed = await client.projects.list(page_size=200)
    return [(project.name, project.id) for project in listed.projects]


@_completer
async def complete_runs(client: Client, typed: Typed) -> Names:
    """Runs with their states, newest first."""
    from cli.output.runs import state_of

    listed = await client.runs.list(page_size=200)
    return [(run.id, f"{state_of(run)} {run.project_id} {run.comment}".strip()) for run in listed.runs]


@_completer
async def complete_jobs(client: Client, typed: Typed) -> Names:
    """Training jobs with their states, newest first."""
    from cli.output.jobs import state_of

    listed = await client.jobs.list(page_size=200)
    return [(job.id, f"{state_of(job)} {job.name}".strip()) for job in listed.jobs]


@_completer
async def complete_sweeps(client: Client, typed: Typed) -> Names:
    """Sweeps with their states, newest first."""
    from cli.output.sweeps import state_of

    listed = await client.sweeps.list(page_size=200)
    return [(sweep.id, f"{state_of(sweep)} {sweep.name}".strip()) for sweep in listed.sweeps]


@_completer
async def complete_models(client: Client, typed: Typed) -> Names:
    """Names of models with what they are."""
    listed = await client.models.list(page_size=200)
    return [(model.name, model.summary) for model in listed.models]


@_completer
async def complete_deployments(client: Client, typed: Typed) -> Names:
    """Names of deployments."""
    listed = await client.deployments.list(page_size=200)
    return [(deployment.name, "") for deployment in listed.deployments]


@_completer
async def complete_triggers(client: Client, typed: Typed) -> Names:
    """Names of triggers with their ids."""
    listed = await client.triggers.list(page_size=200)
    return [(trigger.name, trigger.id) for trigger in listed.triggers]


@_completer
async def complete_contacts(client: Client, typed: Typed) -> Names:
    """Names of contacts."""
    listed = await client.contacts.list(page_size=200)
    return [(contact.name, "") for contact in listed.contacts]


@_completer
async def complete_run_nodes(client: Client, typed: Typed) -> Names:
    """Nodes of the run that was named: of its own graph, or of the body that the word leads into."""
    from cli.output.runs import detail_of

    within = typed.word.rpartition("/")[0]
    nodes = await client.runs.nodes(typed.run, within=within, without_bodies=True, most=500)
    return [(node.node_id, detail_of(node)) for node in nodes]


@_completer
async def complete_gates(client: Client, typed: Typed) -> Names:
    """Gates that the run which was named waits at, with what they ask."""
    return [(gate.node_id, gate.gate.message) for gate in await client.runs.gates(typed.run)]


def _ask(ctx: Any, source: Source, typed: Typed) -> Names:
    from modelyard.errors import YardError
    from modelyard.settings import SettingsError

    try:
        found = asyncio.run(asyncio.wait_for(_with_client(ctx, source, typed), BUDGET_S))
    except (YardError, SettingsError, OSError, TimeoutError):
        return []
    return [(name, summary) for name, summary in found if name.startswith(typed.word)]


async def _with_client(ctx: Any, source: Source, typed: Typed) -> Names:
    from modelyard import settings
    from modelyard.client.aio import Client

    flags = {key: str(ctx.params.get(key) or "") for key in settings.VARIABLES}
    async with Client(settings=settings.load(flags), first_patience_s=0.0) as client:
        return await source(client, typed)
