"""What is drawn beside an answer: an output `viz:<name>`, BYTES [1]. One that fails leaves the numbers alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from modelyard.serving.calls import Answer, Call, described
from modelyard.serving.launch import Launch
from modelyard.serving.tensors import to_wire

PREFIX = "viz:"
PARAMETER = "visualise"
"""Of a call: true or "all", a drawing's name, or a content type."""


class Visualiser:
    """The steps `visualise` of one model.yaml."""

    def __init__(self, launch: Launch) -> None:
        self._folder = launch.component
        self._config = launch.settings.plain
        self._bytes_most = launch.answer_bytes_most
        self._steps: dict[str, Mapping[str, Any]] = {}
        for step in launch.settings.visualise:
            options = dict(step.get("options") or ())
            name = options.get("name") or step.get("op") or str(step.get("code")).rpartition(":")[2]
            self._steps[str(name)] = step

    @property
    def is_any(self) -> bool:
        return bool(self._steps)

    @staticmethod
    def is_drawing(name: str) -> bool:
        """Whether an output's name is one of a drawing."""
        return name.startswith(PREFIX)

    def is_asked(self, call: Call) -> bool:
        """Whether a drawing that there is was asked for."""
        return bool(self._wanted(call)[0])

    def draw(self, call: Call, given: Mapping[str, Any], outputs: Mapping[str, Any], answer: Answer) -> None:
        """Adds what was asked for; what cannot be drawn is said in the parameter viz_error."""
        names, wrong = self._wanted(call)
        for name in names:
            try:
                self._add(name, given, outputs, answer)
            except Exception as error:
                # The numbers are right without it.
                wrong.append(f"{name}: {described(error)[2]}")
        if wrong:
            answer.parameters["viz_error"] = "; ".join(wrong)[:2_000]

    def _add(self, name: str, given: Mapping[str, Any], outputs: Mapping[str, Any], answer: Answer) -> None:
        from modelyard.serving.drawing import draw

        drawn = draw(self._steps[name], given, outputs, self._config, folder=self._folder)
        size = sum(memoryview(one).nbytes for one in answer.buffers) + len(drawn.content)
        if size > self._bytes_most:
            raise ValueError(f"the answer would have more than {self._bytes_most} bytes")
        meta, buffer = to_wire(PREFIX + name, drawn.content)
        meta["parameters"] = {
            "content_type": drawn.content_type,
            "sha256": hashlib.sha256(drawn.content).hexdigest(),
            "width": drawn.width,
            "height": drawn.height,
        }
        answer.outputs.append(meta)
        answer.buffers.append(buffer)

    def _wanted(self, call: Call) -> tuple[list[str], list[str]]:
        """Names to draw, and what is wrong with others that were asked for."""
        asked = [name.removeprefix(PREFIX) for name in call.outputs or () if name.startswith(PREFIX)]
        said = call.parameters.get(PARAMETER)
        if said is True or said in ("all", "true"):
            asked += self._steps
        elif isinstance(said, str) and said and said != "false":
            by_type = [
                name
                for name, step in self._steps.items()
                if dict(step.get("options") or ()).get("as") == said
            ]
            asked += by_type or [said]
        known = ", ".join(self._steps) or "none"
        wrong = [
            f"{name}: there is no such drawing; there are {known}"
            for name in asked
            if name not in self._steps
        ]
        return list(dict.fromkeys(name for name in asked if name in self._steps)), list(dict.fromkeys(wrong))
