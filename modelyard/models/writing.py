"""A configuration as the text of model.yaml, each field with its provenance; what is written reads back. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any

from modelyard.models.facts import Fact, Facts
from modelyard.models.values import Config, Provenance, Step, Tensor

_WIDTH = 44


def write_config(config: Config, facts: Facts) -> str:
    """The whole file."""
    return "\n".join(_lines(config, facts)) + "\n"


def _lines(config: Config, facts: Facts) -> Iterator[str]:
    def line(indent: int, name: str, value: Any, path: str) -> str:
        text = f"{' ' * indent}{name}: {_text(value)}"
        why = _why(facts.get(path))
        return f"{text:<{_WIDTH}}  # {why}" if why else text

    runtime, serving = config.runtime, config.serving
    yield "kind: Model"
    yield line(0, "name", config.name, "name")
    yield "component:"
    yield line(2, "format", config.format, "component.format")
    if config.file:
        yield line(2, "file", config.file, "component.file")
    for side, tensors in (("inputs", config.component_inputs), ("outputs", config.component_outputs)):
        if tensors:
            yield f"  {side}:"
            for tensor in tensors:
                yield from _tensor(tensor, f"component.{side}[{tensor.name}]", facts, 4)
    for side, tensors in (("inputs", config.inputs), ("outputs", config.outputs)):
        known = {tensor.name: tensor for tensor in tensors}
        names = _names(side, facts) or tuple(known)
        yield f"{side}:" if names else f"{side}: []"
        for name in names:
            path, found = f"{side}[{name}]", known.get(name)
            yield from _tensor(found, path, facts, 2) if found is not None else _half(name, path, facts)
    for phase, steps in (("pre", config.pre), ("post", config.post), ("visualise", config.visualise)):
        yield f"{phase}:" if steps else f"{phase}: []"
        yield from (f"  - {_step(step)}" for step in steps)
    yield "runtime:"
    yield line(2, "kind", runtime.kind, "runtime.kind")
    if runtime.python:
        yield line(2, "python", runtime.python, "runtime.python")
    yield line(2, "requirements", runtime.requirements, "runtime.requirements")
    if runtime.system:
        yield line(2, "system", runtime.system, "runtime.system")
    if runtime.image:
        yield line(2, "image", runtime.image, "runtime.image")
    yield line(2, "cpu", runtime.cpu, "runtime.cpu")
    yield line(2, "memory", _size(runtime.memory_bytes), "runtime.memory")
    yield line(2, "gpu", runtime.gpu, "runtime.gpu")
    yield line(2, "network", runtime.has_network, "runtime.network")
    yield line(2, "threads", runtime.threads, "runtime.threads")
    yield "serving:"
    yield "  instances:"
    yield line(4, "min", serving.min_instances, "serving.instances.min")
    yield line(4, "max", serving.max_instances, "serving.instances.max")
    yield line(2, "idle_unload", _seconds(serving.idle_unload_s), "serving.idle_unload")
    yield line(2, "max_batch", serving.max_batch, "serving.max_batch")
    yield line(2, "batch_delay", _seconds(serving.batch_delay_ms / 1000), "serving.batch_delay")
    yield line(2, "queue", serving.queue_most, "serving.queue")
    yield line(2, "deadline", _seconds(serving.deadline_s), "serving.deadline")
    yield line(2, "idempotent", serving.is_idempotent, "serving.idempotent")


def _names(side: str, facts: Facts) -> tuple[str, ...]:
    fact = facts.get(side)
    return tuple(fact.value) if fact is not None else ()


def _half(name: str, path: str, facts: Facts) -> Iterator[str]:
    """A tensor of which something is not known."""
    yield f"  - name: {_text(name)}"
    for field in ("datatype", "shape"):
        fact = facts.get(f"{path}.{field}")
        if fact is not None:
            text = f"    {field}: {_text(fact.value)}"
            yield f"{text:<{_WIDTH}}  # {_why(fact)}"


def _tensor(tensor: Tensor, path: str, facts: Facts, indent: int) -> Iterator[str]:
    yield f"{' ' * indent}- name: {_text(tensor.name)}"
    fields: list[tuple[str, Any]] = [
        ("datatype", tensor.datatype),
        ("shape", tensor.shape),
        ("codec", tensor.codec),
    ]
    fields += [(name, value) for name in ("columns", "labels") if (value := getattr(tensor, name))]
    if tensor.is_optional:
        fields.append(("optional", True))
    for name, value in fields:
        text, why = f"{' ' * indent}  {name}: {_text(value)}", _why(facts.get(f"{path}.{name}"))
        yield f"{text:<{_WIDTH}}  # {why}" if why else text


def _step(step: Step) -> str:
    given: dict[str, Any] = {"op": step.op} if step.op else {"code": step.code}
    return _text({**given, **dict(step.options)})


def _why(fact: Fact | None) -> str:
    if fact is None:
        return ""
    if fact.provenance is Provenance.DECLARED or not fact.why:
        return fact.provenance.value
    return f"{fact.provenance.value}: {fact.why}".replace("\n", " ")


def _size(value: int) -> str:
    for unit, size in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
        if value and not value % size:
            return f"{value // size}{unit}"
    return str(value)


def _seconds(value: float) -> str:
    return f"{value:g}s" if value >= 1 or not value else f"{value * 1000:g}ms"


def _text(value: Any) -> str:
    """As YAML on one line; every text that could be read as something else is quoted."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, str):
        return value if _is_plain(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(str(name))}: {_text(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_text, value)) + "]"
    return "null"


def _is_plain(text: str) -> bool:
    is_word = bool(text) and text[0].isalpha() and text[0].isascii()
    is_safe = all((c.isalnum() and c.isascii()) or c in "_-./" for c in text)
    return (
        is_word
        and is_safe
        and text.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "y", "n")
    )
