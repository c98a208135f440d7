"""Names for the shell's completion: tasks, nodes, operators, queues, projects, runs, jobs, sweeps, models, contacts …

Gives up after a second, and never complains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.client.aio import Client

BUDGET_S = 1.0

Names = list[tuple[str, str]]


def complete_tasks(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Task ids with name and state."""
    return _ask(ctx, _tasks, incomplete)


def complete_nodes(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Node names with their state."""
    return _ask(ctx, _nodes, incomplete)


def complete_operators(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Operator names with their summary."""
    return _ask(ctx, _operators, incomplete)


def complete_queues(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Queue names with what waits in them."""
    return _ask(ctx, _queues, incomplete)


def complete_projects(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Names of projects with their ids."""
    return _ask(ctx, _projects, incomplete)


def complete_runs(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Runs with their states, newest first."""
    return _ask(ctx, _runs, incomplete)


def complete_run_nodes(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Nodes of the run that was named: of its own graph, or of the body that the word leads into."""
    within, slash, _ = incomplete.rpartition("/")
    return _ask(
        ctx, partial(_run_nodes, str(ctx.params.get("run") or ""), within if slash else ""), incomplete
    )


def complete_jobs(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Training jobs with their states, newest first."""
    return _ask(ctx, _jobs, incomplete)


def complete_sweeps(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Sweeps with their states, newest first."""
    return _ask(ctx, _sweeps, incomplete)


def complete_models(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Names of models with what they are."""
    return _ask(ctx, _models, incomplete)


def complete_deployments(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Names of deployments."""
    return _ask(ctx, _deployments, incomplete)


def complete_triggers(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Names of triggers with their ids."""
    return _ask(ctx, _triggers, incomplete)


def complete_contacts(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Names of contacts."""
    return _ask(ctx, _contacts, incomplete)


def complete_gates(ctx: Any, args: list[str], incomplete: str) -> Names:
    """Gates that the run which was named waits at, with what they ask."""
    return _ask(ctx, partial(_gates, str(ctx.params.get("run") or "")), incomplete)


async def _tasks(client: Client) -> Names:
    from modelyard.client.outcomes import state_name

    listed = await client.tasks.list(page_size=200)
    return [(task.id, f"{state_name(task.state)} {task.name}".strip()) for task in listed.tasks]


async def _nodes(client: Client) -> Names:
    listed = await client.nodes.list()
    return [(node.id, f"{node.running_count} running") for node in listed.nodes]


async def _operators(client: Client) -> Names:
    listed = await client.operators.list(page_size=200)
    return [(operator.name, operator.summary) for operator in listed.operators]


async def _queues(client: Client) -> Names:
    listed = await client.queues.list(page_size=200)
    return [(queue.name, f"{queue.waiting_count} waiting") for queue in listed.queues]


async def _projects(client: Client) -> Names:
    listed = await client.projects.list(page_size=200)
    return [(project.name, project.id) for project in listed.projects]


async def _runs(client: Client) -> Names:
    from cli.output.runs import state_of

    listed = await client.runs.list(page_size=200)
    return [(run.id, f"{state_of(run)} {run.project_id} {run.comment}".strip()) for run in listed.runs]


async def _jobs(client: Client) -> Names:
    from cli.output.jobs import state_of

    listed = await client.jobs.list(page_size=200)
    return [(job.id, f"{state_of(job)} {job.name}".strip()) for job in listed.jobs]


async def _sweeps(client: Client) -> Names:
    from cli.output.sweeps import state_of

    listed = await client.sweeps.list(page_size=200)
    return [(sweep.id, f"{state_of(sweep)} {sweep.name}".strip()) for sweep in listed.sweeps]


async def _models(client: Client) -> Names:
    listed = await client.models.list(page_size=200)
    return [(model.name, model.summary) for model in listed.models]


async def _deployments(client: Client) -> Names:
    listed = await client.deployments.list(page_size=200)
    return [(deployment.name, "") for deployment in listed.deployments]


async def _triggers(client: Client) -> Names:
    listed = await client.triggers.list(page_size=200)
    return [(trigger.name, trigger.id) for trigger in listed.triggers]


async def _contacts(client: Client) -> Names:
    listed = await client.contacts.list(page_size=200)
    return [(contact.name, "") for contact in listed.contacts]


async def _run_nodes(run: str, within: str, client: Client) -> Names:
    from cli.output.runs import detail_of

    nodes = await client.runs.nodes(run, within=within, without_bodies=True, most=500)
    return [(node.node_id, detail_of(node)) for node in nodes]


async def _gates(run: str, client: Client) -> Names:
    return [(gate.node_id, gate.gate.message) for gate in await client.runs.gates(run)]


def _ask(ctx: Any, names: Callable[[Client], Awaitable[Names]], incomplete: str) -> Names:
    from modelyard.errors import YardError
    from modelyard.settings import SettingsError

    try:
        found = asyncio.run(asyncio.wait_for(_with_client(ctx, names), BUDGET_S))
    except (YardError, SettingsError, OSError, TimeoutError):
        return []
    return [(name, summary) for name, summary in found if name.startswith(incomplete)]


async def _with_client(ctx: Any, names: Callable[[Client], Awaitable[Names]]) -> Names:
    from modelyard import settings
    from modelyard.client.aio import Client

    flags = {key: str(ctx.params.get(key) or "") for key in settings.VARIABLES}
    async with Client(settings=settings.load(flags), first_patience_s=0.0) as client:
        return await names(client)
