"""model.yaml and what calls came to, in the messages of the Open Inference Protocol."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import cast

from modelyard.models import Config
from modelyard.models.values import Datatype, Format, Tensor
from modelyard.oip.v2 import inference_pb2 as pb
from services.models.calls.statistics import Duration, Statistics

PLATFORMS = {
    Format.ONNX: "onnx_onnxv1",
    Format.SKOPS: "sklearn_skops",
    Format.PICKLE: "python_pickle",
    Format.XGBOOST: "xgboost_xgboost",
    Format.LIGHTGBM: "lightgbm_text",
    Format.TORCHSCRIPT: "pytorch_torchscript",
    Format.TORCH_EXPORT: "pytorch_export",
    Format.SAFETENSORS: "pytorch_safetensors",
    Format.MLFLOW: "mlflow_mlmodel",
    Format.PYTHON: "python_class",
}
"""<project>_<format>, as the protocol has it."""
_CONTENT_TYPES = {
    "json": "application/json", "text": "text/plain", "image": "image/*", "file": "application/octet-stream",
    "table": "application/vnd.apache.arrow.stream",
}  # fmt: skip


def metadata(config: Config, versions: Iterable[str]) -> pb.ModelMetadataResponse:
    """What a caller has to know."""
    response = pb.ModelMetadataResponse(
        name=config.name, versions=versions, platform=PLATFORMS[config.format]
    )
    for spec in config.inputs:
        _describe(response.inputs.add(), spec)
    for spec in config.outputs:
        _describe(response.outputs.add(), spec)
    return response


def _describe(target: pb.ModelMetadataResponse.TensorMetadata, spec: Tensor) -> None:
    target.name, target.datatype = spec.name, spec.datatype.value
    target.shape.extend(spec.shape)
    content_type = _CONTENT_TYPES.get(spec.codec.value)
    if content_type is not None:
        target.parameters["content_type"].string_param = content_type
    if spec.columns:
        target.parameters["columns"].string_param = _listed(spec.columns)
    if spec.labels:
        target.parameters["labels"].string_param = _listed(spec.labels)
    if spec.is_optional:
        target.parameters["optional"].bool_param = True


def _listed(names: Sequence[str]) -> str:
    """Between commas, or as JSON where a name has one itself."""
    has_comma = any("," in name or name.startswith("[") for name in names)
    return json.dumps(names, ensure_ascii=False) if has_comma else ",".join(names)


def config_of(config: Config) -> pb.ModelConfig:
    """The part of model.yaml that clients of the extension know; sizes leave the axis of a batch out."""
    serving = config.serving
    made = pb.ModelConfig(
        name=config.name,
        platform=PLATFORMS[config.format],
        max_batch_size=serving.max_batch,
        default_model_filename=config.file,
        backend=config.format.value,
    )
    first = 1 if serving.max_batch else 0
    for spec in config.inputs:
        made.input.add(name=spec.name, data_type=_type(spec.datatype), dims=spec.shape[first:])
    for spec in config.outputs:
        made.output.add(name=spec.name, data_type=_type(spec.datatype), dims=spec.shape[first:])
    made.instance_group.add(name=config.name, count=serving.max_instances)
    if serving.max_batch:
        made.dynamic_batching.max_queue_delay_microseconds = int(serving.batch_delay_ms * 1000)
    for name, value in _further(config).items():
        made.parameters[name].string_value = value
    return made


def _type(datatype: Datatype) -> pb.DataType:
    name = "STRING" if datatype is Datatype.BYTES else datatype.value
    return cast(pb.DataType, pb.DataType.Value(f"TYPE_{name}"))


def _further(config: Config) -> dict[str, str]:
    runtime, serving = config.runtime, config.serving
    return {
        "runtime": runtime.kind,
        "memory_bytes": str(runtime.memory_bytes),
        "requirements": " ".join(runtime.requirements),
        "idle_unload_s": f"{serving.idle_unload_s:g}",
        "queue": str(serving.queue_most),
        "deadline_s": f"{serving.deadline_s:g}",
        "idempotent": str(serving.is_idempotent).lower(),
    }


def statistics(model: str, version: int, known: Statistics) -> pb.ModelStatistics:
    """What calls of a version came to."""
    made = pb.ModelStatistics(
        name=model,
        version=str(version),
        last_inference=known.last_ms,
        inference_count=known.inference_count,
        execution_count=known.execution_count,
    )
    stats = made.inference_stats
    for target, duration in (
        (stats.success, known.success), (stats.fail, known.fail), (stats.queue, known.queue),
        (stats.compute_input, known.input), (stats.compute_infer, known.compute), (stats.compute_output, known.output),
    ):  # fmt: skip
        _set(target, duration)
    for rows, batch in sorted(known.batches.items()):
        added = made.batch_stats.add(batch_size=rows)
        _set(added.compute_input, batch.input)
        _set(added.compute_infer, batch.compute)
        _set(added.compute_output, batch.output)
    if known.memory_bytes:
        made.memory_usage.add(type="CPU", id=0, byte_size=known.memory_bytes)
    return made


def _set(target: pb.StatisticDuration, duration: Duration) -> None:
    target.count, target.ns = duration.count, duration.ns
