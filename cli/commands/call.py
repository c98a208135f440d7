"""`yard call`: one operator, its result as JSON on stdout."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import exit_codes, work_options, work_values
from cli.completion import complete_operators, complete_queues
from cli.invocation import Invocation, command, new_command
from cli.output.render import show_document
from cli.output.uploads import showing_uploads

app = new_command()


@command(app)
async def call(
    yard: Invocation,
    operator: Annotated[str, typer.Argument(help="For example echo", autocompletion=complete_operators)],
    param: work_options.Param = [],  # noqa: B006
    param_env: work_options.ParamEnv = "",
    input: work_options.InputFile = [],  # noqa: B006
    attach: work_options.Attach = [],  # noqa: B006
    node: work_options.Node = "",
    label: work_options.Label = [],  # noqa: B006
    pool: work_options.Pool = "",
    policy: work_options.Policy = "",
    quote: work_options.Quote = "",
    cpu: work_options.Cpu = 0.0,
    memory: work_options.Memory = "",
    gpu: work_options.Gpu = 0.0,
    resource: work_options.Resource = [],  # noqa: B006
    requirements: work_options.Requirements = "",
    dir: work_options.Dir = "",
    name: work_options.Name = "",
    priority: work_options.Priority = 0,
    queue: Annotated[
        str,
        typer.Option(
            help="Queue to wait in",
            show_default="default",
            autocompletion=complete_queues,
            rich_help_panel=work_options.SHARING,
        ),
    ] = "",
    cap: work_options.Cap = [],  # noqa: B006
    retries: work_options.Retries = 0,
    timeout: work_options.Timeout = "",
    queue_timeout: work_options.QueueTimeout = "",
    after: work_options.After = [],  # noqa: B006
    after_any: work_options.AfterAny = [],  # noqa: B006
    after_failed: work_options.AfterFailed = [],  # noqa: B006
    after_start: work_options.AfterStart = [],  # noqa: B006
    at_most_once: work_options.AtMostOnce = False,
    on_disconnect: work_options.OnDisconnect = "",
    lost_after: work_options.LostAfter = "",
    reconcile: work_options.Reconcile = "",
    contact: work_options.Contact = "",
    notify: work_options.Notify = "",
    silent: work_options.Silent = False,
) -> int:
    """Call one operator and print what it returned, as JSON.

    yard call add --param a=1 --param b=2

    yard call module:function --dir . --param text=hello
    """
    options = work_values.options_of(**work_values.chosen(locals()))
    params: dict[str, Any] = work_values.params_of(param)
    inputs = work_values.inputs_of(input)
    attachments = work_values.attachments_of(attach)
    async with yard.client() as client:
        with showing_uploads(client):
            if dir:
                options["bundle_digest"] = await client.artifacts.bundle(dir)
            value = await client.call(
                operator, params, inputs=inputs, attachments=attachments, options=options
            )
    show_document("json" if yard.output in ("table", "name") else yard.output, value)
    return exit_codes.DONE
