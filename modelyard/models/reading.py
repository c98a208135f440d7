"""model.yaml from its text to facts: what its owner declares, any part of it; or all that is wrong with it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from modelyard.documents.problems import Findings, Kind, Position, Reason, Refused, shown
from modelyard.documents.section import Section, check_path
from modelyard.documents.yaml_text import Node, read
from modelyard.models.facts import Fact, Facts
from modelyard.models.packages import EXAMPLE, is_package
from modelyard.models.steps import read_steps
from modelyard.models.values import (
    AXES_MOST,
    DIMENSION_MOST,
    TENSORS_MOST,
    Codec,
    Datatype,
    Format,
    Provenance,
    Step,
)

E = TypeVar("E", bound=Enum)

STEPS_MOST = 64
NAMES_MOST = 10_000
MODEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
_TENSOR_NAME = re.compile(r"[^\x00-\x1f]{1,200}")
_PYTHON = re.compile(r"3\.[0-9]{1,2}")
_KINDS = ("environment", "container")


def read_config(text: str | bytes) -> Facts:
    """What a text declares; none of its fields must be there. Raises `Refused` with everything that is wrong."""
    findings = Findings(Kind.MODEL)
    documents = read(text, findings)
    findings.refuse()
    if len(documents) > 1:
        raise Refused(_many(documents, findings))
    facts = declare(documents[0], findings) if documents else {}
    findings.refuse()
    return facts


def declare(document: Node, findings: Findings) -> Facts:
    """What one document declares; what is wrong with it is noted."""
    declared = _Declared(findings)
    declared.document(document)
    return declared.facts


def _many(documents: list[Node], findings: Findings) -> Any:
    at = Position("", documents[1].line, documents[1].column)
    findings.add(Reason.MALFORMED, f"it has {len(documents)} documents", at, "one model, one file")
    return findings.all()


def _words(kind: type[E]) -> dict[str, E]:
    return {str(member.value): member for member in kind}


class _Declared:
    """Collects facts by path."""

    def __init__(self, findings: Findings) -> None:
        self.facts: Facts = {}
        self._findings = findings

    def _say(self, section: Section, name: str, path: str, take: Callable[[], Any]) -> None:
        if name in section:
            value = take()
            at = section.position(name)
            self.facts[path] = Fact(value, Provenance.DECLARED, f"line {at.line}" if at.line else "")

    def document(self, node: Node) -> None:
        section = Section(node, Position("", node.line, node.column), self._findings)
        if section.text("kind", "Model") != "Model":
            section.wrong("kind", Reason.UNKNOWN_KIND, "it is no model", "kind: Model")
        self._say(section, "name", "name", lambda: self._name(section))
        self._component(section.section("component"))
        for side in ("inputs", "outputs"):
            self._tensors(section, side, side)
        for phase in ("pre", "post", "visualise"):
            self._say(section, phase, phase, lambda phase=phase: self._steps(section, phase))  # type: ignore[misc]
        self._runtime(section.section("runtime"))
        self._serving(section.section("serving"))
        section.end()

    def _name(self, section: Section) -> str:
        name = section.word("name")
        if not MODEL_NAME.fullmatch(name):
            step = "letters, digits, '.', '_' and '-', at most 100"
            section.wrong("name", Reason.BAD_NAME, f"{shown(name)!r} is no name of a model", step)
        return name

    def _component(self, section: Section | None) -> None:
        if section is None:
            return
        self._say(
            section, "format", "component.format",
            lambda: section.choice("format", Format.PYTHON, _words(Format)),
        )  # fmt: skip
        self._say(section, "file", "component.file", lambda: self._file(section, "file"))
        for side in ("inputs", "outputs"):
            self._tensors(section, side, f"component.{side}")
        section.end()

    def _file(self, section: Section, name: str) -> str:
        path = section.text(name)
        check_path(path, section.position(name), self._findings)
        return path

    def _tensors(self, section: Section, side: str, path: str) -> None:
        if side not in section:
            return
        names = []
        for item, at in section.items(side, TENSORS_MOST):
            inner = Section(item, at, self._findings)
            name = inner.text("name")
            if not _TENSOR_NAME.fullmatch(name):
                inner.wrong("name", Reason.BAD_NAME, "it has no name that can be printed", "name: x")
                continue
            if name in names:
                inner.wrong("name", Reason.DUPLICATE_FIELD, f"{shown(name)!r} is there twice")
                continue
            names.append(name)
            self._tensor(inner, f"{path}[{name}]")
        self.facts[path] = Fact(tuple(names), Provenance.DECLARED, f"line {section.position(side).line}")

    def _tensor(self, section: Section, path: str) -> None:
        words = _words(Datatype)
        self._say(
            section, "datatype", f"{path}.datatype",
            lambda: section.choice("datatype", Datatype.FP32, words).value,
        )  # fmt: skip
        self._say(section, "shape", f"{path}.shape", lambda: self._shape(section))
        self._say(
            section, "codec", f"{path}.codec", lambda: section.choice("codec", Codec.TENSOR, _words(Codec))
        )
        for name in ("columns", "labels"):
            self._say(section, name, f"{path}.{name}", lambda name=name: section.texts(name, NAMES_MOST))  # type: ignore[misc]
        self._say(section, "optional", f"{path}.optional", lambda: section.flag("optional"))
        section.end()

    def _shape(self, section: Section) -> tuple[int, ...]:
        found = []
        for item, at in section.items("shape", AXES_MOST):
            size = item.scalar
            if isinstance(size, bool) or not isinstance(size, int) or not -1 <= size <= DIMENSION_MOST:
                self._findings.add(
                    Reason.BAD_VALUE, f"{shown(str(size))} is no size of an axis", at, "a number, or -1 for any"
                )  # fmt: skip
                continue
            found.append(size)
        return tuple(found)

    def _steps(self, section: Section, phase: str) -> tuple[Step, ...]:
        return read_steps(section.items(phase, STEPS_MOST), phase, self._findings)

    def _runtime(self, section: Section | None) -> None:
        if section is None:
            return
        self._say(section, "kind", "runtime.kind", lambda: self._one_of(section, "kind", _KINDS))
        self._say(section, "python", "runtime.python", lambda: self._python(section))
        self._say(section, "requirements", "runtime.requirements", lambda: self._packages(section))
        self._say(section, "system", "runtime.system", lambda: section.texts("system", 200))
        self._say(section, "image", "runtime.image", lambda: section.text("image", most=300))
        self._say(section, "cpu", "runtime.cpu", lambda: section.number("cpu", 1.0, 0.01, 1_024))
        self._say(section, "memory", "runtime.memory", lambda: section.size_bytes("memory"))
        self._say(section, "gpu", "runtime.gpu", lambda: section.number("gpu", 0.0, 0, 64))
        self._say(section, "network", "runtime.network", lambda: section.flag("network"))
        self._say(section, "threads", "runtime.threads", lambda: section.integer("threads", 1, 1, 256))
        section.end()

    def _packages(self, section: Section) -> tuple[str, ...]:
        found, at = section.texts("requirements", 200), section.position("requirements")
        for number, line in enumerate(found):
            if not is_package(line):
                wrong = f"{shown(line)!r} is no package by its name"
                self._findings.add(Reason.BAD_VALUE, wrong, at.inner(number), EXAMPLE)
        return found

    def _one_of(self, section: Section, name: str, words: tuple[str, ...]) -> str:
        word = section.text(name)
        if word not in words:
            section.wrong(
                name, Reason.BAD_VALUE, f"{shown(word)!r} is none of its words", f"one of {', '.join(words)}"
            )
        return word

    def _python(self, section: Section) -> str:
        version = section.word("python")
        if not _PYTHON.fullmatch(version):
            section.wrong("python", Reason.BAD_VALUE, f"{shown(version)!r} is no version", 'python: "3.11"')
        return version

    def _serving(self, section: Section | None) -> None:
        if section is None:
            return
        instances = section.section("instances")
        if instances is not None:
            for name in ("min", "max"):
                self._say(
                    instances, name, f"serving.instances.{name}",
                    lambda name=name: instances.integer(name, 1, int(name == "max"), 1_000),  # type: ignore[misc]
                )  # fmt: skip
            instances.end()
        self._say(
            section, "idle_unload", "serving.idle_unload", lambda: section.duration_s("idle_unload", 0.0)
        )
        self._say(
            section, "max_batch", "serving.max_batch", lambda: section.integer("max_batch", 0, 0, 1 << 20)
        )
        self._say(
            section,
            "batch_delay",
            "serving.batch_delay",
            lambda: section.duration_s("batch_delay", 0.0, 10.0),
        )
        self._say(section, "queue", "serving.queue", lambda: section.integer("queue", 256, 0, 1 << 20))
        self._say(section, "deadline", "serving.deadline", lambda: section.duration_s("deadline", 10.0))
        self._say(section, "idempotent", "serving.idempotent", lambda: section.flag("idempotent"))
        section.end()
