"""`yard run`: a command on the best node, its logs, its exit code."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exit_codes
from cli.errors import UsageError
from cli.invocation import Invocation, command, new_command
from cli.options import work_values
from cli.options.work_forms import CommandForm
from cli.output.render import show_document, to_document
from cli.output.uploads import showing_uploads

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.v1 import task_pb2

app = new_command()

KEYS = uuid.UUID("6d6f6465-6c79-4172-a000-000000000001")
"""Name space of idempotency keys."""


@command(app, context_settings={"allow_interspersed_args": False})
async def run(
    yard: Invocation,
    argv: Annotated[list[str], typer.Argument(metavar="-- COMMAND ARG…", help="What to run")],
    work: CommandForm,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the task's id and return")] = False,
    download: Annotated[str, typer.Option(help="Put kept files into this directory")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Say what would become of it; submit nothing")] = False,
) -> int:
    """Run a command on the best node; follow its logs; end with its exit code.

    yard run --dir . --keep 'model*' -- python train.py

    Ctrl-C detaches: the work goes on.
    """
    options = work_values.options_of(**work_values.chosen(vars(work)))
    inputs, attachments = work_values.inputs_of(work.input), work_values.attachments_of(work.attach)
    params = work_values.params_of(work.param)
    key = work.idempotency_key
    request_id = str(uuid.uuid5(KEYS, key) if key else uuid.uuid4())
    async with yard.client() as client:
        spec = _spec(argv, options, params)
        with showing_uploads(client):
            await client.attach(spec, inputs=inputs, attachments=attachments, directory=work.dir or None)
        if plan:
            return await _plan(yard, client, spec)
        task_id = await _submit(yard, client, spec, request_id)
        if detach:
            _show_id(yard, task_id)
            return exit_codes.DONE
        return await _follow(yard, client, task_id, Path(download) if download else None)


def _spec(argv: list[str], options: Any, params: dict[str, Any]) -> task_pb2.TaskSpec:
    from modelyard.client.specs import command_spec, encode_params

    spec = command_spec(argv, options)
    if params:
        spec.params_json = encode_params(params)
    return spec


async def _plan(yard: Invocation, client: Client, spec: task_pb2.TaskSpec) -> int:
    from cli.output.explanations import write_plan

    answer = await client.tasks.plan(spec)
    if yard.output in ("table", "name"):
        write_plan(answer)
    else:
        show_document(yard.output, to_document(answer))
    return exit_codes.DONE if answer.starts_now else exit_codes.CANNOT_BE_PLACED


async def _submit(yard: Invocation, client: Client, spec: task_pb2.TaskSpec, request_id: str) -> str:
    from modelyard.client.session import OutcomeUnknown
    from modelyard.errors import CallTimedOut, ConnectionFailed

    await client.connection.reach()
    try:
        return (await client.tasks.submit(spec, items=_items(spec), request_id=request_id))[0]
    except (ConnectionFailed, CallTimedOut) as error:
        raise OutcomeUnknown(request_id, error) from error
    except asyncio.CancelledError:
        yard.say(f"interrupted; it is not known whether the task was taken: request {request_id}")
        raise


def _items(spec: task_pb2.TaskSpec) -> list[task_pb2.TaskItem]:
    """What was said here goes over what an agent's environment gives, as parameters of an item do."""
    from modelyard.v1 import task_pb2

    if not (spec.parameter_env and spec.params_json):
        return []
    params_json, spec.params_json = spec.params_json, ""
    return [task_pb2.TaskItem(params_json=params_json)]


def _show_id(yard: Invocation, task_id: str) -> None:
    if yard.output in ("table", "name"):
        sys.stdout.write(task_id + "\n")
        yard.say(f"next: yard tasks logs -f {task_id}")
    else:
        show_document(yard.output, {"taskId": task_id})


async def _follow(yard: Invocation, client: Client, task_id: str, download: Path | None) -> int:
    from cli.following.leaving import goes_on
    from cli.following.tasks import Follower

    with goes_on(yard, task_id, f"yard tasks logs -f {task_id}", f"yard tasks cancel {task_id}"):
        task = await Follower(yard, client, task_id).follow()
    if yard.output not in ("table", "name"):
        show_document(yard.output, to_document(task))
    await _keep_outputs(yard, client, task, download)
    return _exit_code(yard, task)


async def _keep_outputs(yard: Invocation, client: Client, task: task_pb2.Task, download: Path | None) -> None:
    from cli.output.nouns import output_line

    for output in task.result.outputs:
        if download is None:
            yard.say(f"kept {output_line(output)}")
            continue
        target = (download / output.name).resolve()
        if not target.is_relative_to(download.resolve()):
            raise UsageError(f"the output {output.name!r} would leave {download}")
        target.parent.mkdir(parents=True, exist_ok=True)
        await client.artifacts.get(output.digest, target)
        yard.say(f"downloaded {target}")
    if task.result.outputs and download is None:
        first = task.result.outputs[0]
        yard.say(f"next: yard artifacts get {first.digest} {Path(first.name).name}")


def _exit_code(yard: Invocation, task: task_pb2.Task) -> int:
    """The command's own code; 128 + signal; what the yard itself has to say otherwise."""
    from modelyard.client.outcomes import SUCCEEDED, cause_name
    from modelyard.v1 import task_pb2

    error = task.error
    if task.state == SUCCEEDED:
        return exit_codes.DONE
    if error.cause == task_pb2.TASK_CAUSE_EXIT:
        return error.exit_code or exit_codes.WORK_FAILED
    if error.cause == task_pb2.TASK_CAUSE_SIGNAL:
        return 128 + error.signal
    yard.say(f"error: {task.id}: {cause_name(error.cause)}: {error.message or task.detail.message}")
    yard.say(f"  next: {error.next_step or f'yard tasks get {task.id}'}")
    never_started = not task.start_time.seconds and error.cause == task_pb2.TASK_CAUSE_TIMEOUT
    return exit_codes.CANNOT_BE_PLACED if never_started else exit_codes.WORK_FAILED
