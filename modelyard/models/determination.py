"""The data-transfer protocol and the rest of model.yaml: declared before inspected before rules (S2.2, S2.3).

Pure: the same facts give the same configuration, and every field says how it came to its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from modelyard.models.facts import Fact, Facts, Inspection, Question
from modelyard.models.values import (
    Codec,
    Config,
    Datatype,
    Format,
    Provenance,
    Runtime,
    Serving,
    Tensor,
)

MEMORY_LEAST = 512 << 20
MEMORY_FACTOR = 3
"""What a component is given by its size, at least `MEMORY_LEAST`: its files lie in memory while they are read."""
BATCH_ROWS = 32
BATCH_DELAY_S = 0.002
PIXELS_LEAST = 8
_CHANNELS = (1, 3, 4)
_PIXELS = (Datatype.UINT8, Datatype.FP16, Datatype.FP32)

REQUIREMENTS: dict[Format, tuple[str, ...]] = {
    Format.ONNX: ("onnxruntime>=1.20",),
    Format.SKOPS: ("skops>=0.11", "scikit-learn"),
    Format.PICKLE: ("scikit-learn", "joblib"),
    Format.XGBOOST: ("xgboost>=2",),
    Format.LIGHTGBM: ("lightgbm>=4",),
    Format.TORCHSCRIPT: ("torch",),
    Format.TORCH_EXPORT: ("torch",),
    Format.SAFETENSORS: ("safetensors>=0.5",),
    Format.MLFLOW: ("mlflow-skinny>=2.20",),
    Format.PYTHON: (),
}
"""What a frame needs to load a format, where the component does not say it itself."""


class Determined(msgspec.Struct, frozen=True, kw_only=True):
    """What came out. Without a configuration: `questions` or `refusals` say why."""

    config: Config | None
    facts: Facts
    questions: tuple[Question, ...] = ()
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def determine(
    declared: Facts, inspection: Inspection, *, name: str, size_bytes: int, probed: Facts | None = None
) -> Determined:
    """The configuration of a component of `size_bytes`; `name` where none is declared."""
    found = _Determination(declared, inspection, probed or {})
    return found.result(name, size_bytes)


class _Determination:
    def __init__(self, declared: Facts, inspection: Inspection, probed: Facts) -> None:
        self._sources = (declared, inspection.facts, probed)
        self._declared = declared
        self._inspection = inspection
        self._facts: Facts = {}
        self._questions: list[Question] = []
        self._refusals = [*inspection.refusals]

    def result(self, name: str, size_bytes: int) -> Determined:
        for field, value, why in (
            ("component.format", self._inspection.format, "the files are of this kind"),
            ("component.file", self._inspection.file, "the one that can be loaded"),
        ):
            self._inspection.facts.setdefault(field, Fact(value, Provenance.INSPECTED, why))
        format_ = self._take("component.format", self._inspection.format, "")
        file = self._take("component.file", self._inspection.file, "")
        if format_ is not self._inspection.format:
            self._refusals.append(
                f"component.format: the files are {self._inspection.format.value}, not {format_.value};"
                " leave the format out, or give the other files"
            )
        inputs, outputs = self._tensors("inputs"), self._tensors("outputs")
        config = Config(
            name=self._take("name", name, "the file's name"),
            format=format_,
            file=file,
            inputs=inputs,
            outputs=outputs,
            pre=self._take("pre", (), "nothing was asked for"),
            post=self._take("post", (), "nothing was asked for"),
            visualise=self._take("visualise", (), "nothing was asked for"),
            runtime=self._runtime(format_, size_bytes),
            serving=self._serving(inputs),
        )
        is_whole = not self._questions and not self._refusals
        return Determined(
            config=config if is_whole else None,
            facts=self._facts,
            questions=tuple(self._questions),
            refusals=tuple(self._refusals),
            warnings=tuple(self._inspection.warnings),
        )

    def _known(self, field: str) -> Fact | None:
        return next((facts[field] for facts in self._sources if field in facts), None)

    def _take(self, field: str, otherwise: Any, why: str) -> Any:
        fact = self._known(field) or Fact(otherwise, Provenance.DEFAULT, why)
        self._facts[field] = fact
        return fact.value

    def _ask(self, field: str, question: str, why: str, choices: Sequence[str] = ()) -> None:
        is_probed = self._inspection.format not in (Format.SAFETENSORS, Format.PYTHON)
        self._questions.append(
            Question(field=field, question=question, choices=tuple(choices), why=why, is_probed=is_probed)
        )

    def _tensors(self, side: str) -> tuple[Tensor, ...]:
        fact = self._known(side)
        if fact is None:
            self._ask(side, f"what are its {side}?", "its files do not name them")
            return ()
        self._facts[side] = fact
        inspected = self._inspection.facts.get(side)
        if inspected is not None:
            self._compare(side, fact.value, inspected.value)
        found = [self._tensor(f"{side}[{name}]", name) for name in fact.value]
        return tuple(tensor for tensor in found if tensor is not None)

    def _compare(self, side: str, said: Sequence[str], inside: Sequence[str]) -> None:
        for name in said:
            if name not in inside:
                self._refusals.append(
                    f"{side}[{name}]: the component has no such name; it has {', '.join(inside[:12])}"
                )
        needed = [] if side == "outputs" else [name for name in inside if not self._is_optional(side, name)]
        for name in needed:
            if name not in said:
                self._refusals.append(f"{side}: {name} is missing; name it, or leave {side} out")

    def _is_optional(self, side: str, name: str) -> bool:
        fact = self._known(f"{side}[{name}].optional")
        return bool(fact is not None and fact.value)

    def _tensor(self, path: str, name: str) -> Tensor | None:
        datatype, shape = self._known(f"{path}.datatype"), self._known(f"{path}.shape")
        if datatype is None:
            why = "its files do not say"
            self._ask(f"{path}.datatype", f"which datatype has {name}?", why, [one.value for one in Datatype])
        if shape is None:
            self._ask(f"{path}.shape", f"which shape has {name}?", "its files do not say")
        if datatype is None or shape is None:
            return None
        self._facts[f"{path}.datatype"], self._facts[f"{path}.shape"] = datatype, shape
        self._fits(path, "shape", shape.value)
        kind = Datatype(datatype.value)
        columns = tuple(self._take(f"{path}.columns", (), "no names were found"))
        codec, why = codec_of(kind, shape.value, columns)
        return Tensor(
            name=name,
            datatype=kind,
            shape=tuple(shape.value),
            codec=self._take(f"{path}.codec", codec, why),
            columns=columns,
            labels=tuple(self._take(f"{path}.labels", (), "no names were found")),
            is_optional=self._take(f"{path}.optional", False, "it is needed"),
        )

    def _fits(self, path: str, name: str, said: Sequence[int]) -> None:
        """A declared shape may be narrower than what the files say, and nothing else."""
        inside = self._inspection.facts.get(f"{path}.{name}")
        if inside is None or tuple(inside.value) == tuple(said):
            return
        is_narrower = len(said) == len(inside.value) and all(
            wide in (-1, size) for wide, size in zip(inside.value, said, strict=True)
        )
        if not is_narrower:
            self._refusals.append(
                f"{path}.{name}: it is {list(said)}, and the component has {list(inside.value)}"
            )

    def _runtime(self, format_: Format, size_bytes: int) -> Runtime:
        default, memory = Runtime(), max(MEMORY_LEAST, MEMORY_FACTOR * size_bytes)
        needs = REQUIREMENTS[format_]
        return Runtime(
            kind=self._take("runtime.kind", default.kind, "the lighter of both"),
            python=self._take("runtime.python", default.python, "the agent's"),
            requirements=tuple(
                self._take(
                    "runtime.requirements",
                    needs,
                    f"{format_.value} is loaded with it" if needs else "none were named",
                )
            ),
            system=tuple(self._take("runtime.system", default.system, "nothing was asked for")),
            image=self._take("runtime.image", default.image, "as the yard maps its runtime"),
            cpu=self._take("runtime.cpu", default.cpu, "one core"),
            memory_bytes=self._take("runtime.memory", memory, f"a component of {size_bytes} bytes"),
            gpu=self._take("runtime.gpu", default.gpu, "none was asked for"),
            has_network=self._take("runtime.network", default.has_network, "a model needs none"),
            threads=self._take("runtime.threads", default.threads, "as many as cores"),
        )

    def _serving(self, inputs: Sequence[Tensor]) -> Serving:
        default, batches = Serving(), bool(inputs) and all(one.shape[:1] == (-1,) for one in inputs)
        rows, why = (BATCH_ROWS, "the first axis of every input may have any size") if batches else (0, "")
        delay_s = BATCH_DELAY_S if batches else 0.0
        is_code = self._inspection.format is Format.PYTHON
        return Serving(
            min_instances=self._take("serving.instances.min", default.min_instances, "loaded when called"),
            max_instances=self._take(
                "serving.instances.max", default.max_instances, "one is enough at first"
            ),
            idle_unload_s=self._take("serving.idle_unload", default.idle_unload_s, "five minutes"),
            max_batch=self._take("serving.max_batch", rows, why or "its inputs have no axis for a batch"),
            batch_delay_ms=1000 * self._take("serving.batch_delay", delay_s, why or "there are no batches"),
            queue_most=self._take("serving.queue", default.queue_most, "beyond it callers are refused"),
            deadline_s=self._take("serving.deadline", default.deadline_s, "of calls that say none"),
            is_idempotent=self._take(
                "serving.idempotent",
                not is_code,
                "its code may do more than compute" if is_code else "it only computes",
            ),
        )


def codec_of(datatype: Datatype, shape: Sequence[int], columns: Sequence[str]) -> tuple[Codec, str]:
    """What callers may send beside tensors, and why."""
    if columns:
        return Codec.TABLE, "its columns have names"
    if datatype is Datatype.BYTES:
        return Codec.TEXT, "its elements are texts"
    if datatype in _PIXELS and _is_image(shape):
        return Codec.IMAGE, "height, width and channels, as images have them"
    return Codec.TENSOR, "numbers"


def _is_image(shape: Sequence[int]) -> bool:
    if len(shape) not in (3, 4):
        return False
    one = tuple(shape[-3:])
    for channels, height, width in ((one[0], one[1], one[2]), (one[2], one[0], one[1])):
        if channels in _CHANNELS and all(size == -1 or size >= PIXELS_LEAST for size in (height, width)):
            return True
    return False
