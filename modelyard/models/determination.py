"""The data-transfer protocol and the rest of model.yaml: declared before inspected before rules (S2.2, S2.3).

Pure: the same facts give the same configuration, and every field says how it came to its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from modelyard.models.derivation import after, before, differences
from modelyard.models.facts import Fact, Facts, Inspection, Question
from modelyard.models.rules import (
    BATCH_DELAY_S,
    BATCH_ROWS,
    REQUIREMENTS,
    codec_of,
    memory_of,
    more_requirements,
    why_required,
)
from modelyard.models.step_rules import Contradiction, Known, Values
from modelyard.models.values import (
    Config,
    Datatype,
    Format,
    Provenance,
    Runtime,
    Serving,
    Step,
    Tensor,
)

_SIDES = ("inputs", "outputs")
_FIELDS = ("datatype", "shape", "codec", "columns", "labels", "optional")


class Determined(msgspec.Struct, frozen=True, kw_only=True):
    """What came out. Without a configuration: `questions` or `refusals` say why."""

    config: Config | None
    draft: Config
    """As far as it is known: tensors of which the type or the shape is not are left out."""
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
        self._inspected = dict(inspection.facts)
        """What is found of values as callers see them: on a side with steps, what these make of the files' facts."""
        self._sources = (declared, self._inspected, probed)
        self._declared = declared
        self._inspection = inspection
        self._whys = dict.fromkeys(_SIDES, "its files do not name them")
        self._has_pre = False
        self._facts: Facts = {}
        self._questions: list[Question] = []
        self._refusals = [*inspection.refusals]

    def result(self, name: str, size_bytes: int) -> Determined:
        for field, value, why in (
            ("component.format", self._inspection.format, "the files are of this kind"),
            ("component.file", self._inspection.file, "the one that can be loaded"),
        ):
            self._inspected.setdefault(field, Fact(value, Provenance.INSPECTED, why))
        format_ = self._take("component.format", self._inspection.format, "")
        file = self._take("component.file", self._inspection.file, "")
        if format_ is not self._inspection.format:
            self._refusals.append(
                f"component.format: the files are {self._inspection.format.value}, not {format_.value};"
                " leave the format out, or give the other files"
            )
        pre, post, visualise = (
            self._take(phase, (), "nothing was asked for") for phase in ("pre", "post", "visualise")
        )
        self._has_pre = bool(pre)
        taken, given = self._own("inputs", pre), self._own("outputs", post)
        inputs, outputs = self._tensors("inputs"), self._tensors("outputs")
        self._join(inputs, pre, taken)
        config = Config(
            name=self._take("name", name, "the file's name"),
            format=format_,
            file=file,
            inputs=inputs,
            outputs=outputs,
            component_inputs=_whole(taken),
            component_outputs=_whole(given),
            pre=pre,
            post=post,
            visualise=visualise,
            runtime=self._runtime(
                format_, size_bytes, more_requirements((*inputs, *outputs), (*pre, *post), visualise)
            ),
            serving=self._serving(inputs),
        )
        is_whole = not self._questions and not self._refusals
        return Determined(
            config=config if is_whole else None,
            draft=config,
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
        is_code = self._inspection.format in (Format.SAFETENSORS, Format.PYTHON)
        is_probed = self._inspection.has_example or not is_code
        self._questions.append(
            Question(field=field, question=question, choices=tuple(choices), why=why, is_probed=is_probed)
        )

    def _tensors(self, side: str) -> tuple[Tensor, ...]:
        fact = self._known(side)
        if fact is None:
            self._ask(side, f"what are its {side}?", self._whys[side])
            return ()
        self._facts[side] = fact
        inspected = self._inspected.get(side)
        if inspected is not None:
            self._compare(side, fact.value, inspected.value)
        found = [self._tensor(f"{side}[{name}]", name) for name in fact.value]
        return tuple(tensor for tensor in found if tensor is not None)

    def _compare(self, path: str, said: Sequence[str], inside: Sequence[str], side: str = "") -> None:
        side = side or path
        for name in said:
            if name not in inside:
                self._refusals.append(
                    f"{path}[{name}]: the component has no such name; it has {', '.join(inside[:12])}"
                )
        needed = [] if side == "outputs" else [name for name in inside if not self._is_optional(side, name)]
        for name in needed:
            if name not in said:
                self._refusals.append(f"{path}: {name} is missing; name it, or leave {path} out")

    def _is_optional(self, side: str, name: str) -> bool:
        fact = self._known(f"{side}[{name}].optional")
        return bool(fact is not None and fact.value)

    def _tensor(self, path: str, name: str) -> Tensor | None:
        datatype, shape = self._known(f"{path}.datatype"), self._known(f"{path}.shape")
        if datatype is None:
            words = [one.value for one in Datatype]
            self._ask(f"{path}.datatype", f"which datatype has {name}?", "its files do not say", words)
        if shape is None:
            self._ask(f"{path}.shape", f"which shape has {name}?", "its files do not say")
        for field, fact in (("datatype", datatype), ("shape", shape)):
            if fact is not None:
                self._facts[f"{path}.{field}"] = fact
        if datatype is None or shape is None:
            return None
        if not (self._has_pre and path.startswith("inputs[")):
            self._fits(path, "shape", shape.value, self._inspected.get(f"{path}.shape"))
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

    def _fits(self, path: str, name: str, said: Sequence[int], inside: Fact | None) -> None:
        """A declared shape may be narrower than what is found, and nothing else."""
        if inside is None or tuple(inside.value) == tuple(said):
            return
        is_narrower = len(said) == len(inside.value) and all(
            wide in (-1, size) for wide, size in zip(inside.value, said, strict=True)
        )
        if not is_narrower:
            self._refusals.append(
                f"{path}.{name}: it is {list(said)}, and the component has {list(inside.value)}"
            )

    def _own(self, side: str, steps: Sequence[Step]) -> Values:
        """What the component itself takes or gives, where there are steps; callers' facts are then derived from it."""
        path = f"component.{side}"
        if not steps:
            if path in self._declared:
                self._refusals.append(f"{path}: there are no steps that would change them; say it in {side}")
            return ()
        found = {name: fact for name, fact in self._inspected.items() if name.split("[")[0] == side}
        names = self._declared.get(path, found.get(side))
        if path in self._declared and side in found:
            self._compare(path, self._declared[path].value, found[side].value, side)
        for name in found:
            del self._inspected[name]
        if names is None:
            return ()
        self._facts[path] = names
        own = tuple(self._known_of(path, side, name, found) for name in names.value)
        self._derive(side, steps, own, names)
        return own

    def _known_of(self, path: str, side: str, name: str, found: Facts) -> Known:
        fields: dict[str, Any] = {}
        for field in _FIELDS:
            inside = found.get(f"{side}[{name}].{field}")
            fact = self._declared.get(f"{path}[{name}].{field}", inside)
            if fact is not None:
                self._facts[f"{path}[{name}].{field}"] = fact
                fields["is_optional" if field == "optional" else field] = fact.value
                if field == "shape":
                    self._fits(f"{path}[{name}]", field, fact.value, inside)
        for field in ("shape", "columns", "labels"):
            if field in fields:
                fields[field] = tuple(fields[field])
        return Known(name=name, **fields)

    def _derive(self, side: str, steps: Sequence[Step], own: Values, names: Fact) -> None:
        """Callers' facts by the component's and the steps."""
        words = ", ".join(step.op or step.code for step in steps)
        where = f"before pre: {words}" if side == "inputs" else f"after post: {words}"
        try:
            derived = before(steps, own) if side == "inputs" else after(steps, own)
        except Contradiction as error:
            self._refusals.append(f"{error.path}: {error}")
            return
        if derived is None:
            self._whys[side] = f"they cannot be told from what the component has, {where}"
            return
        # What follows from a declaration is a rule's work, not its owner's word.
        is_said = names.provenance is Provenance.DECLARED
        provenance = Provenance.DEFAULT if is_said else names.provenance
        why = where if is_said or not names.why else f"{names.why}, {where}"
        self._inspected[side] = Fact(tuple(one.name for one in derived), provenance, why)
        for one in derived:
            values = (one.datatype, one.shape, one.codec, one.columns, one.labels, one.is_optional)
            for field, value in zip(_FIELDS, values, strict=True):
                if value is not None and value not in ((), False):
                    self._inspected[f"{side}[{one.name}].{field}"] = Fact(value, provenance, why)

    def _join(self, inputs: Sequence[Tensor], pre: Sequence[Step], taken: Values) -> None:
        """What the steps make of callers' values has to be what the component takes."""
        if not pre or not inputs or not taken:
            return
        try:
            made = after(pre, tuple(_known(one) for one in inputs), "pre")
        except Contradiction as error:
            self._refusals.append(f"{error.path}: {error}")
            return
        self._refusals += [f"pre: {one}" for one in differences(made, taken)] if made is not None else []

    def _runtime(self, format_: Format, size_bytes: int, more: tuple[str, ...]) -> Runtime:
        default = Runtime()
        needs = (*REQUIREMENTS[format_], *more)
        inside = self._inspected.get("runtime.requirements")
        if inside is not None and more:
            value = (*inside.value, *(one for one in more if one not in inside.value))
            self._inspected["runtime.requirements"] = Fact(
                value, inside.provenance, f"{inside.why}, and its steps"
            )
        requirements = tuple(self._take("runtime.requirements", needs, why_required(format_, more)))
        memory, why_memory = memory_of(size_bytes, requirements)
        return Runtime(
            kind=self._take("runtime.kind", default.kind, "the lighter of both"),
            python=self._take("runtime.python", default.python, "the agent's"),
            requirements=requirements,
            system=tuple(self._take("runtime.system", default.system, "nothing was asked for")),
            image=self._take("runtime.image", default.image, "as the yard maps its runtime"),
            cpu=self._take("runtime.cpu", default.cpu, "one core"),
            memory_bytes=self._take("runtime.memory", memory, why_memory),
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


def _known(tensor: Tensor) -> Known:
    return Known(
        name=tensor.name,
        datatype=tensor.datatype.value,
        shape=tensor.shape,
        columns=tensor.columns,
        labels=tensor.labels,
        is_optional=tensor.is_optional,
    )


def _whole(values: Values) -> tuple[Tensor, ...]:
    """As tensors, if all of them are known."""
    found = [
        Tensor(
            name=one.name,
            datatype=Datatype(one.datatype),
            shape=one.shape,
            codec=one.codec or codec_of(Datatype(one.datatype), one.shape, one.columns)[0],
            columns=one.columns,
            labels=one.labels,
            is_optional=one.is_optional,
        )
        for one in values
        if one.datatype is not None and one.shape is not None
    ]
    return tuple(found) if len(found) == len(values) else ()
