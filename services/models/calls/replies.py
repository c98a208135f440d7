"""What a frame answered, as the protocol's reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelyard.oip.v2 import inference_pb2 as pb
from modelyard.serving.wire import Message
from services.models.calls import tensors
from services.models.calls.messages import Request, encode
from services.models.seams import Served

FINAL = "triton_final_response"
EMPTY_FINAL = "triton_enable_empty_final_response"


def reply(served: Served, request: Request, message: Message, is_final: bool | None = None) -> bytes:
    """Raw where the request was raw, else typed as far as types go. `is_final` is for streams."""
    key = served.key
    made = pb.ModelInferResponse(model_name=key.model, model_version=str(key.version), id=request.message.id)
    header = message.header
    if header.get("parameters"):
        set_parameters(made.parameters, header["parameters"])
    if is_final is not None:
        made.parameters[FINAL].bool_param = is_final
    outputs = header.get("outputs", ())
    # A typed reply has no place for FP16 and BF16, and one without inputs is asked for by clients that read raw.
    is_raw = bool(request.raw) or not request.message.inputs or any(
        output["datatype"] not in tensors.CONTENTS for output in outputs
    )  # fmt: skip
    for output, data in zip(outputs, message.buffers, strict=True):
        added = made.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        if output.get("parameters"):
            set_parameters(added.parameters, output["parameters"])
        if not is_raw:
            values = getattr(added.contents, tensors.CONTENTS[output["datatype"]])
            values.extend(tensors.unpack(output["datatype"], data))
    return encode(made, message.buffers) if is_raw else made.SerializeToString()


def empty_final(served: Served, request: Request) -> bytes:
    """Says that there are no more answers."""
    key = served.key
    made = pb.ModelInferResponse(model_name=key.model, model_version=str(key.version), id=request.message.id)
    made.parameters[FINAL].bool_param = True
    return made.SerializeToString()


def set_parameters(target: Any, given: Mapping[str, Any]) -> None:
    """Values that JSON has, as parameters of the protocol."""
    for name, value in given.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int):
            target[name].int64_param = value
        elif isinstance(value, float):
            target[name].double_param = value
        elif value is not None:
            target[name].string_param = str(value)
