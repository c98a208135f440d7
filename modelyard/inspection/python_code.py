"""Python code: the class that has `predict`, and what its annotations say; read as a syntax tree, never imported."""

from __future__ import annotations

import ast
from pathlib import Path

from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection
from modelyard.models.values import Codec, Datatype

CODE_BYTES_MOST = 4 << 20
_SCALARS: dict[str, tuple[Datatype, Codec]] = {
    "str": (Datatype.BYTES, Codec.TEXT),
    "bytes": (Datatype.BYTES, Codec.FILE),
    "dict": (Datatype.BYTES, Codec.JSON),
    "list": (Datatype.BYTES, Codec.JSON),
    "int": (Datatype.INT64, Codec.TENSOR),
    "float": (Datatype.FP64, Codec.TENSOR),
    "bool": (Datatype.BOOL, Codec.TENSOR),
    "Image": (Datatype.BYTES, Codec.IMAGE),
    "DataFrame": (Datatype.BYTES, Codec.TABLE),
    "Table": (Datatype.BYTES, Codec.TABLE),
    "Path": (Datatype.BYTES, Codec.FILE),
}
"""One value a call, by the last word of an annotation."""
_SEVERAL = ("Mapping", "tuple", "Tuple")
"""Outputs by name or by place; a dict is one in JSON."""


def look(folder: Path, found: Inspection) -> None:
    """Fills in what the code says of itself."""
    look_at(folder / found.file, found)


def look_at(path: Path, found: Inspection) -> None:
    """The same of a file that is not the component's first."""
    text = path.read_bytes()
    if len(text) > CODE_BYTES_MOST:
        raise ComponentUnknown(
            f"{path.name} has {len(text)} bytes of code; at most {CODE_BYTES_MOST} are read"
        )
    try:
        tree = ast.parse(text, path.name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ComponentUnknown(f"{path.name} is no Python: {error}") from None
    classes = [
        (one, method) for one in tree.body if isinstance(one, ast.ClassDef) if (method := _predict(one))
    ]
    if len(classes) != 1:
        names = ", ".join(one.name for one, _ in classes) or "none"
        raise ComponentUnknown(f"{path.name} should have one class with predict, and has {names}")
    [(class_, method)] = classes
    why = f"predict of {class_.name} in {path.name}"
    arguments = [*method.args.posonlyargs, *method.args.args][1:] + method.args.kwonlyargs
    optional = _optional(method)
    for argument in arguments:
        _note(found, "inputs", argument.arg, argument.annotation, why)
        if argument.arg in optional:
            found.know(f"inputs[{argument.arg}].optional", True, f"it has a default in {why}")
    if not arguments and method.args.kwarg is None:
        found.know("inputs", (), why)
    returned = _result(method.returns)
    if _word(returned) not in _SEVERAL:
        # Otherwise by names that only its owner knows.
        _note(found, "outputs", "result", returned, why)


def _predict(node: ast.ClassDef) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    for one in node.body:
        if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef)) and one.name == "predict":
            return one
    return None


def _optional(method: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    places = [*method.args.posonlyargs, *method.args.args]
    named = {one.arg for one in places[len(places) - len(method.args.defaults) :]}
    pairs = zip(method.args.kwonlyargs, method.args.kw_defaults, strict=True)
    return named | {one.arg for one, default in pairs if default is not None}


def _result(annotation: ast.expr | None) -> ast.expr | None:
    """Of a stream what it streams."""
    if isinstance(annotation, ast.Subscript) and _word(annotation.value) in (
        "Iterator",
        "Generator",
        "Iterable",
    ):
        inner = annotation.slice
        return inner.elts[0] if isinstance(inner, ast.Tuple) and inner.elts else inner
    return annotation


def _note(found: Inspection, side: str, name: str, annotation: ast.expr | None, why: str) -> None:
    word = _word(annotation)
    if word not in _SCALARS:
        # An array: how many axes, of what, nobody wrote down.
        found.tensor(side, name, None, None, why)
        return
    datatype, codec = _SCALARS[word]
    found.tensor(side, name, datatype.value, (1,), why)
    found.know(f"{side}[{name}].codec", codec, why)


def _word(annotation: ast.expr | None) -> str:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value, mode="eval").body
        except (SyntaxError, ValueError):
            return ""
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    if isinstance(annotation, ast.Attribute):
        return annotation.attr
    return annotation.id if isinstance(annotation, ast.Name) else ""
