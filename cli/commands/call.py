"""`yard call`: one operator, its result as JSON on stdout."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import exit_codes
from cli.completion import complete_operators
from cli.following.leaving import goes_on
from cli.invocation import Invocation, command, new_command
from cli.options import work_values
from cli.options.work_forms import CallForm
from cli.output.render import show_document
from cli.output.uploads import showing_uploads

app = new_command()


@command(app)
async def call(
    yard: Invocation,
    operator: Annotated[str, typer.Argument(help="For example echo", autocompletion=complete_operators)],
    work: CallForm,
) -> int:
    """Call one operator and print what it returned, as JSON.

    yard call add --param a=1 --param b=2

    yard call module:function --dir . --param text=hello
    """
    options = work_values.options_of(**work_values.chosen(vars(work)))
    params: dict[str, Any] = work_values.params_of(work.param)
    inputs = work_values.inputs_of(work.input)
    attachments = work_values.attachments_of(work.attach)
    async with yard.client() as client:
        with showing_uploads(client):
            if work.dir:
                options["bundle_digest"] = await client.artifacts.bundle(work.dir)
            with goes_on(yard, "the call", "yard tasks ls", "yard tasks cancel TASK"):
                value = await client.call(
                    operator, params, inputs=inputs, attachments=attachments, options=options
                )
    show_document("json" if yard.output in ("table", "name") else yard.output, value)
    return exit_codes.DONE
