"""A step of `visualise`: which drawing, of which values; or the component's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelyard.serving.drawing import charts, markup, own, pictures
from modelyard.serving.drawing.drawn import Drawn, Scene
from modelyard.serving.errors import ComponentUnfit, ServingError
from modelyard.serving.steps.code import load_function
from modelyard.serving.vocabulary import CODE_DRAWING, OPERATIONS, VISUALISE

Options = Mapping[str, Any]

_DRAWINGS: dict[str, Callable[[Options, Scene], Drawn]] = {
    **pictures.DRAWINGS, **charts.DRAWINGS, **markup.DRAWINGS,
}  # fmt: skip
_WRONG = (ValueError, TypeError, IndexError, KeyError, OverflowError, AttributeError, ZeroDivisionError)


def name_of(step: Mapping[str, Any]) -> str:
    """Of the output `viz:<name>` that a step makes."""
    said = dict(step.get("options") or ()).get("name")
    return str(said or step.get("op") or str(step.get("code")).rpartition(":")[2])


def draw(
    step: Mapping[str, Any],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    folder: Path | None = None,
) -> Drawn:
    """What a step shows: `inputs` as they were decoded, `outputs` as they come from the last step.

    `folder` is the component's, for its own code. Raises ComponentUnfit (it cannot be drawn), LibraryMissing,
    AnswerTooLarge.
    """
    tensors = {
        str(one["name"]): one for side in ("outputs", "inputs") for one in reversed(config.get(side) or ())
    }
    scene, path = Scene(inputs, outputs, tensors), f"visualise[{name_of(step)}]"
    try:
        return _drawn(step, scene, folder, path)
    except ServingError as error:
        error.field = error.field or path
        raise
    except _WRONG as error:
        what = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ComponentUnfit(what, path) from error


def _drawn(step: Mapping[str, Any], scene: Scene, folder: Path | None, path: str) -> Drawn:
    options = dict(step.get("options") or ())
    if code := str(step.get("code") or ""):
        known = {one.name: options.pop(one.name, one.default) for one in CODE_DRAWING}
        function = load_function(code, folder or Path(), path).function
        given = function(dict(scene.inputs), dict(scene.outputs), **options)
        return own.drawn(given, str(known["as"]))
    operation = OPERATIONS[VISUALISE].get(str(step.get("op") or ""))
    if operation is None:
        raise ComponentUnfit(f"there is no drawing {step.get('op')!r}", path)
    return _DRAWINGS[operation.name]({**operation.defaults(), **options}, scene)
