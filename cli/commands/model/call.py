"""`yard model call`: business data in, business data out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import exit_codes
from cli.commands.model.references import named
from cli.completion import complete_models
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_part
from cli.options.work_values import params_of
from cli.output.render import show_document

if TYPE_CHECKING:
    from cli.inputs.values import Taken
    from cli.output.answers import Got
    from modelyard.client import Client
    from modelyard.oip.v2.inference_pb2 import ModelInferResponse

part = new_part()


@command(part)
async def call(
    yard: Invocation,
    model: Annotated[
        str,
        typer.Argument(
            help="A model or a deployment; model:version, or model:alias", autocompletion=complete_models
        ),
    ],
    input: Annotated[
        list[str],
        typer.Option(
            help="NAME=VALUE, NAME=@FILE (csv, json, npy, arrow, txt, pictures), NAME=@- for stdin; or @FILE alone"
        ),
    ] = [],  # noqa: B006
    version: Annotated[str, typer.Option(help="A number or an alias", show_default="as it is deployed")] = "",
    param: Annotated[list[str], typer.Option(help="NAME=VALUE, for the model's own steps")] = [],  # noqa: B006
    output_name: Annotated[
        list[str], typer.Option("--output-name", help="Only these; viz:NAME is a drawing", show_default="all")
    ] = [],  # noqa: B006
    save: Annotated[str, typer.Option(help="Write every output into this directory")] = "",
    priority: Annotated[int, typer.Option(help="1 goes first", show_default=False)] = 0,
    timeout: Annotated[float, typer.Option(help="Seconds, loading included")] = 120.0,
    contact: Annotated[str, typer.Option(help="Tell the result to this contact of yours as well")] = "",
    stream: Annotated[bool, typer.Option(help="Print part by part what a model answers so")] = False,
) -> int:
    """Call a model; it is loaded first where it is not.

    yard model call iris --input x=@rows.csv

    yard model call greeter --input name=Ada -o json
    """
    if timeout <= 0:
        raise UsageError("--timeout is a number of seconds above 0")
    name, version = named(model, version)
    async with yard.client() as client:
        request, taken = await _request(client, name, version, input, output_name, params_of(param), priority)
        if contact:
            request.parameters["contact"].string_param = contact
        answers = client.models.infer_stream([request], timeout) if stream else None
        if answers is None:
            _show(yard, await client.models.infer(request, timeout), taken, save)
            return exit_codes.DONE
        async for answer in answers:
            _show(yard, answer, taken, save)
    return exit_codes.DONE


async def _request(
    client: Client,
    name: str,
    version: str,
    given: list[str],
    outputs: list[str],
    parameters: dict[str, Any],
    priority: int,
) -> tuple[Any, list[Taken]]:
    """What is sent, and what is known of the outputs."""
    from cli.inputs.given import read_inputs
    from cli.inputs.values import Taken
    from modelyard.client.tensors import Tensor, put_inputs, put_parameters
    from modelyard.oip.v2 import inference_pb2 as pb

    metadata = await client.models.metadata(name, version)
    request = pb.ModelInferRequest(model_name=name, model_version=version)
    sent = read_inputs(given, map(Taken.of, metadata.inputs))
    put_inputs(request, [Tensor(s.name, s.datatype, s.shape, s.data, s.parameters) for s in sent])
    plain = {key: value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
             for key, value in parameters.items()}  # fmt: skip
    put_parameters(request.parameters, plain)
    if priority:
        request.parameters["priority"].uint64_param = priority
    for one in outputs:
        request.outputs.add(name=one)
    return request, [Taken.of(one) for one in metadata.outputs]


def _show(yard: Invocation, response: ModelInferResponse, taken: list[Taken], folder: str) -> None:
    from cli.output.answers import document, read_answer, remarks, save, table
    from cli.output.table import write_table

    outputs: list[Got] = read_answer(response)
    _remark(yard, response)
    if not outputs:
        return
    try:
        saved = save(outputs, Path(folder).expanduser()) if folder else {}
    except OSError as error:
        raise CommandError(
            f"{folder}: {error.strerror}", code=exit_codes.USAGE, next_step="--save takes a directory"
        ) from error
    if yard.output != "table":
        show_document("json" if yard.output == "name" else yard.output, document(outputs, saved))
        return
    titles, rows = table(outputs, taken)
    if rows:
        write_table(titles, rows)
    for title, words in remarks(outputs, saved):
        yard.say(f"{title}: {words}")


def _remark(yard: Invocation, response: ModelInferResponse) -> None:
    """What the service says beside the values."""
    said = {name: value.string_param for name, value in response.parameters.items()}
    if said.get("viz_error"):
        yard.say(f"warning: a drawing failed, the values are right: {said['viz_error']}")
    if said.get("contact_error"):
        yard.say(f"warning: {said['contact_error']}")
    if said.get("notice"):
        yard.say(f"the result is sent: yard contacts deliveries --subject {said['notice']}")
