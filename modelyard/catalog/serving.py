"""Models as nodes of a graph: registered, deployed, loaded, called and unloaded by the models service (S2.5, S2.6).

What calls services imports them when it is called.
"""

import json
import mimetypes
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.catalog.services import NOTHING, request_id_of, yard_of
from modelyard.context import Context
from modelyard.operator.declaration import operator
from modelyard.operator.failure import OperatorFailed
from modelyard.operator.ports import File, Input

if TYPE_CHECKING:
    from modelyard.client import Client
    from modelyard.client.calling import Answer
    from modelyard.client.tensors import Tensor
    from modelyard.v1.model_pb2 import ModelVersionState

_JSON = "application/json"
_ARROW = "application/vnd.apache.arrow.stream"


class ModelNotReady(OperatorFailed):
    """A version cannot be called, and will not be without its owner."""


class InputMissing(OperatorFailed):
    """Nothing was given to call the model with."""


@operator(name="model.call", version="1", outputs={"answer": "json", "file": "file"}, has_effects=True)
async def call_model(
    ctx: Context,
    model: str,
    version: str = "",
    inputs: Input[Any] = None,
    file: Input[Path] = NOTHING,
    input_name: str = "",
    content_type: str = "",
    parameters: dict[str, Any] | None = None,
    outputs: list[str] | None = None,
    timeout_s: float = 120.0,
) -> dict[str, Any]:
    """Calls a model or a deployment; it is loaded first where it is not.

    ``inputs``: values by name, or the one value where the model has one input. ``file``: a picture, a table, JSON, for
    the input ``input_name``; of other kinds than JSON ``content_type`` says which it is. Gives the outputs by name as
    ``answer`` (numbers and texts), and as ``file`` the first that is a file or a drawing ("viz:…" in ``outputs``).
    """
    async with yard_of(ctx) as yard:
        values = await _values(yard, model, version, inputs, file, input_name, content_type)
        answer = await yard.models.call(
            model, values, version=version, parameters=parameters, outputs=outputs or (), timeout_s=timeout_s
        )
        return {"answer": _answer(answer), "file": _file(ctx, answer)}


async def _values(
    yard: "Client", model: str, version: str, inputs: Any, file: Path, name: str, content_type: str
) -> Any:
    from modelyard.client.tensors import Tensor
    from modelyard.packing import pack

    if isinstance(inputs, dict) and file == NOTHING:
        return inputs
    names = [spec.name for spec in (await yard.models.metadata(model, version)).inputs]
    target = name or names[0]
    if file == NOTHING:
        if inputs is None:
            raise InputMissing(
                f"{model} takes {', '.join(names)}, and nothing was given", "connect inputs, or file"
            )
        return {target: inputs}
    content = file.read_bytes()
    if content_type in ("", _JSON):
        try:
            value = json.loads(content)
        except ValueError as error:
            raise InputMissing(f"the file is no JSON: {error}", "say what it is: content_type") from error
        return value if isinstance(value, dict) and not name else {target: value}
    return [Tensor(target, "BYTES", (1,), pack("BYTES", [content]), {"content_type": content_type})]


def _answer(answer: "Answer") -> dict[str, Any]:
    """What JSON can say of it: files are left out."""
    return {
        name: json.loads(output.text)
        if kind == _JSON and output.datatype == "BYTES"
        else _plain(output.value)
        for name, output in answer.outputs.items()
        if (kind := _kind(output)) in ("", _JSON, "text/plain")
    }


def _kind(output: "Tensor") -> str:
    """Its media type without parameters; empty: a plain tensor."""
    return str(output.parameters.get("content_type", "")).partition(";")[0]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _file(ctx: Context, answer: "Answer") -> File | None:
    for name, output in answer.outputs.items():
        kind = _kind(output)
        if kind not in ("", _JSON, "text/plain") and isinstance(output.value, bytes):
            ending = ".arrow" if kind == _ARROW else mimetypes.guess_extension(kind) or ""
            path = ctx.directory / (name.replace(":", "-").replace("/", "-") + ending)
            path.write_bytes(output.value)
            return File(path)
    return None


@operator(name="model.push", version="1", has_effects=True)
async def push_model(
    ctx: Context, component: Input[Path], name: str, filename: str, alias: str = "", config: str = "",
    summary: str = "", job: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Makes a file the next version of a model, waits until it is ready, and points an alias at it.

    ``filename`` is what the file is called in the component ("model.onnx"): its ending says what it is. ``job``: the
    training job that made it.
    """
    path = ctx.directory / Path(filename).name
    shutil.copyfile(component, path)
    async with yard_of(ctx) as yard:
        made = await yard.models.push(
            path, name=name, config=config, summary=summary, job=job, task="" if job else ctx.task_id,
            request_id=request_id_of(ctx, "model.push"),
        )  # fmt: skip
        ctx.progress(0.3, f"{name}:{made.version.version} is looked at and tried")
        settled = await yard.models.settled(name, made.version.version)
        state = _state(settled.state)
        if state != "ready":
            questions = "; ".join(f"{one.field}: {one.question}" for one in settled.questions)
            raise ModelNotReady(
                f"{name}:{settled.version} {state}: {settled.message or questions}",
                f"yard model get {name}:{settled.version}",
            )
        if alias:
            await yard.models.set_alias(name, alias, settled.version, comment=f"by {ctx.task_id}")
        return {"model": name, "version": settled.version, "state": state, "alias": alias}


def _state(state: "ModelVersionState.ValueType") -> str:
    from modelyard.v1 import model_pb2

    return model_pb2.ModelVersionState.Name(state).removeprefix("MODEL_VERSION_STATE_").lower()


@operator(name="model.load", version="1", has_effects=True)
async def load_model(ctx: Context, model: str, version: str = "", node: str = "") -> dict[str, Any]:
    """Makes sure that a model is loaded, somewhere or on a node; gives the frame, its node, and how long it took."""
    async with yard_of(ctx) as yard:
        frame = await yard.deployments.load(
            model, version, node=node, request_id=request_id_of(ctx, f"model.load/{ctx.attempt}")
        )
        return {"frame": frame.id, "node": frame.node, "version": frame.version, "load_s": frame.load_s}


@operator(name="model.unload", version="1", has_effects=True)
async def unload_model(ctx: Context, model: str, version: str = "", node: str = "") -> list[str]:
    """Asks frames of a model to end once they have answered what they have; gives their names."""
    async with yard_of(ctx) as yard:
        frames = await yard.deployments.unload(
            model, version, node=node, request_id=request_id_of(ctx, f"model.unload/{ctx.attempt}")
        )
        return [frame.id for frame in frames]


@operator(name="model.deploy", version="1", has_effects=True)
async def deploy_model(
    ctx: Context, routes: list[str], name: str = "", least: int = 1, most: int = 0
) -> dict[str, Any]:
    """Serves versions of models under a name ("iris:champion=90", "iris:3=10"), and waits until they are warm."""
    from modelyard.v1 import deployment_pb2 as pb

    settings = pb.ServingSettings(min_instances=least)
    if most:
        settings.max_instances = most
    async with yard_of(ctx) as yard:
        made = await yard.deployments.deploy(
            routes, name=name, settings=settings, request_id=request_id_of(ctx, "model.deploy")
        )
        async for change in yard.deployments.watch(made.name):
            ctx.progress(0.5, change.deployment.message)
            state = pb.DeploymentState.Name(change.deployment.state).removeprefix("DEPLOYMENT_STATE_").lower()
            if state in ("ready", "degraded", "failed"):
                break
        if state == "failed":
            raise ModelNotReady(
                f"{made.name}: {change.deployment.message}", f"yard model deployments {made.name}"
            )
        return {"name": made.name, "state": state, "message": change.deployment.message}
