"""`yard tasks`: what was asked for and what became of it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.completion import complete_nodes, complete_tasks
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_group
from cli.options import work_values
from cli.options.lists import PageSize, PageToken
from cli.options.modification import ChangeForm, FilterForm
from cli.output.render import show_document, show_list, show_one, to_document
from cli.output.uploads import showing_uploads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.v1 import task_pb2

app = new_group("What was asked for, and what became of it.")

TaskId = Annotated[str, typer.Argument(help="For example t-12", autocompletion=complete_tasks)]
TaskIds = Annotated[list[str], typer.Argument(help="For example t-12", autocompletion=complete_tasks)]


@command(app, "ls")
async def list_tasks(
    yard: Invocation,
    tasks_state: Annotated[
        list[str],
        typer.Option(
            "--in", help="queued|assigned|running|suspended|held|succeeded|failed|cancelled; repeatable"
        ),
    ] = [],  # noqa: B006
    name: Annotated[str, typer.Option(help="Only of this name")] = "",
    node: Annotated[str, typer.Option(help="Only on this node", autocompletion=complete_nodes)] = "",
    tag: Annotated[list[str], typer.Option(help="Only with label k=v; repeatable")] = [],  # noqa: B006
    array: Annotated[str, typer.Option(help="Elements of this array")] = "",
    queue: Annotated[str, typer.Option(help="Only of this queue")] = "",
    all_times: Annotated[bool, typer.Option("--all-times", help="Ended tasks however old")] = False,
    all_accounts: Annotated[bool, typer.Option("--all-accounts", help="Every account's; for admins")] = False,
    page_size: PageSize = 50,
    page_token: PageToken = "",
) -> None:
    """List tasks, newest first: what is active and what ended within a day."""
    from cli.output.nouns import TASK_COLUMNS
    from modelyard.v1 import task_pb2

    filter = task_pb2.TaskFilter(
        states=[work_values.state_of(word) for word in tasks_state],
        name=name,
        node=node,
        labels=work_values.pairs(tag, "--tag"),
        array_task_id=array,
        queue=queue,
        all_accounts=all_accounts,
        all_times=all_times,
    )
    async with yard.client() as client:
        response = await client.tasks.list(filter, page_size=page_size, page_token=page_token)
    show_list(
        yard.output,
        response,
        response.tasks,
        TASK_COLUMNS,
        lambda task: task.id,
        empty="no tasks; next: yard call echo --param value=1",
    )


@command(app, "get")
async def get_task(yard: Invocation, task: TaskId) -> None:
    """Show one task with its history."""
    from cli.output.nouns import TASK_FIELDS

    async with yard.client() as client:
        show_one(yard.output, await client.tasks.get(task), TASK_FIELDS, lambda item: item.id)


@command(app)
async def logs(
    yard: Invocation,
    task: TaskId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the task has ended and its last byte is here")
    ] = False,
    attempt: Annotated[int, typer.Option(help="Of this attempt", show_default="the latest")] = 0,
) -> None:
    """Print what a task wrote: its stdout to stdout, its stderr to stderr."""
    from cli.output.logs import LogWriter

    async with yard.client() as client:
        writer = LogWriter()
        async for chunk in client.tasks.logs(task, attempt=attempt, follow=follow):
            writer.write(chunk)


@command(app)
async def wait(
    yard: Invocation,
    tasks: TaskIds,
    timeout: Annotated[str, typer.Option(help="Then exit code 9; the tasks go on")] = "",
) -> int:
    """Wait until tasks have ended; exit code 1 if one of them did not succeed."""
    import time

    from cli.output.nouns import TASK_COLUMNS
    from modelyard.client.outcomes import SUCCEEDED
    from modelyard.v1 import task_pb2

    deadline = time.monotonic() + work_values.seconds_of(timeout) if timeout else None
    ended = []
    async with yard.client() as client:
        for task in tasks:
            left_s = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            ended.append(await client.tasks.wait(task, left_s))
    show_list(yard.output, task_pb2.ListTasksResponse(tasks=ended), ended, TASK_COLUMNS, lambda task: task.id)
    return exit_codes.DONE if all(task.state == SUCCEEDED for task in ended) else exit_codes.WORK_FAILED


@command(app)
async def modify(
    yard: Invocation,
    change: ChangeForm,
    chosen: FilterForm,
    task: Annotated[
        str,
        typer.Argument(
            help="For example t-12; none: those that a filter names", autocompletion=complete_tasks
        ),
    ] = "",
    if_revision: Annotated[int, typer.Option(help="Only if it has not changed since this revision")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what a filter would change")] = False,
) -> int:
    """Change a task that waits or runs, and say what became of each change; exit code 6 if one was rejected.

    yard tasks modify t-12 --param rate=0.1 --timeout 2h

    With filters instead of a task: all unfinished ones that meet them, all or none.

    yard tasks modify --filter-label team=vision --filter-state queued --priority 5
    """
    from cli.output.modifications import show_modification, show_modifications
    from modelyard.v1 import task_pb2

    filter = chosen.filter()
    by_filter = filter.ByteSize() > 0 or chosen.all_tasks
    if bool(task) == by_filter:
        raise UsageError(
            "it is either one task or filters" if task else "it does not say which task",
            next_step="name a task, or --filter-state, --filter-name, --filter-node, --filter-label, --all",
        )
    if dry_run and task:
        raise UsageError("--dry-run goes with filters", next_step="leave it out, or use a filter")
    changes = change.values()
    added, gone = change.attachments()
    async with yard.client() as client:
        with showing_uploads(client):
            attachments = [await client.artifacts.attachment(source, path) for path, source in added.items()]
        attachments += [task_pb2.Attachment(path=path) for path in gone]
        changes["attachments"] = attachments or None
        if task:
            answer = await client.tasks.modify(task, revision=if_revision, **changes)
            return show_modification(yard.output, answer)
        found = await client.tasks.modify_all(
            filter, all_tasks=chosen.all_tasks, validate_only=dry_run, **changes
        )
        return show_modifications(yard.output, found)


@command(app)
async def cancel(
    yard: Invocation,
    tasks: TaskIds,
    grace: Annotated[str, typer.Option(help="Between SIGTERM and SIGKILL", show_default="5s")] = "",
    comment: Annotated[str, typer.Option(help="Why, for the history")] = "",
) -> None:
    """Ask tasks to end. Cancelling an ended task changes nothing."""
    async with yard.client() as client:
        grace_s = work_values.seconds_of(grace) if grace else None
        _show(yard, await client.tasks.cancel(*tasks, grace_s=grace_s, comment=comment))


@command(app)
async def hold(yard: Invocation, tasks: TaskIds) -> None:
    """Keep queued tasks from starting."""
    async with yard.client() as client:
        _show(yard, await client.tasks.hold(*tasks))


@command(app)
async def release(yard: Invocation, tasks: TaskIds) -> None:
    """Let held tasks start again."""
    async with yard.client() as client:
        _show(yard, await client.tasks.release(*tasks))


@command(app)
async def suspend(yard: Invocation, tasks: TaskIds) -> None:
    """Stop running tasks where they are; they keep their node. Waiting ones are held."""
    async with yard.client() as client:
        _show(yard, await client.tasks.suspend(*tasks))


@command(app)
async def resume(yard: Invocation, tasks: TaskIds) -> None:
    """Let suspended tasks go on; held ones may start."""
    async with yard.client() as client:
        _show(yard, await client.tasks.resume(*tasks))


@command(app)
async def retry(
    yard: Invocation,
    tasks: TaskIds,
    failed: Annotated[
        bool, typer.Option("--failed", help="Of arrays only the elements that did not succeed")
    ] = False,
) -> None:
    """Submit ended tasks again, as new tasks; prints the new ids. Elements of arrays keep their index."""
    async with yard.client() as client:
        task_ids = list(await client.tasks.retry(*tasks, failed_only=failed))
    if yard.output in ("table", "name"):
        sys.stdout.write("".join(task_id + "\n" for task_id in task_ids))
    else:
        show_document(yard.output, {"taskIds": task_ids})


@command(app)
async def explain(yard: Invocation, task: TaskId) -> None:
    """Say why a task waits, node by node, or why it is where it is."""
    from cli.output.explanations import write_explanation

    async with yard.client() as client:
        answer = await client.tasks.explain(task)
    if yard.output in ("table", "name"):
        write_explanation(answer)
    else:
        show_document(yard.output, to_document(answer))


def _show(yard: Invocation, tasks: Sequence[task_pb2.Task]) -> None:
    from cli.output.nouns import TASK_COLUMNS
    from modelyard.v1 import task_pb2

    show_list(yard.output, task_pb2.ListTasksResponse(tasks=tasks), tasks, TASK_COLUMNS, lambda task: task.id)
