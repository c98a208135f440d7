"""skops: what scikit-learn's fitted attributes say, from the schema inside the archive; nothing is constructed."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelyard.inspection import requirements
from modelyard.inspection.archives import member
from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection
from modelyard.models.rules import REQUIREMENTS
from modelyard.models.values import Codec, Datatype, Format

SCHEMA_BYTES_MOST = 64 << 20
ARRAY_BYTES_MOST = 16 << 20
DEPTH_MOST = 12
WITHOUT_PROBABILITIES = frozenset(
    {"LinearSVC", "NuSVC", "SVC", "RidgeClassifier", "RidgeClassifierCV", "Perceptron", "PassiveAggressiveClassifier",
     "SGDClassifier", "NearestCentroid"}
)  # fmt: skip
"""They have none, or only if they were asked to."""
_TRUSTED = (
    "sklearn.",
    "numpy.",
    "scipy.",
    "builtins.",
    "collections.",
    "functools.",
    "xgboost.",
    "lightgbm.",
)


def look(folder: Path, found: Inspection) -> None:
    """Fills in what the fitted attributes say."""
    try:
        with zipfile.ZipFile(folder / found.file) as archive:
            schema = json.loads(member(archive, "schema.json", SCHEMA_BYTES_MOST))
            _describe(archive, schema, found)
    except (zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise ComponentUnknown(f"{found.file} is no skops file: {error}") from None


def _describe(archive: zipfile.ZipFile, schema: Any, found: Inspection) -> None:
    if not isinstance(schema, dict):
        raise ComponentUnknown(f"{found.file} is no skops file: its schema is no object")
    foreign = sorted(_foreign(schema))
    if foreign:
        found.warnings.append(f"types that are not trusted by themselves: {', '.join(foreign[:12])}")
    requirements.note_imports(_modules(schema), found, found.file, REQUIREMENTS[Format.SKOPS])
    first, last = _ends(schema)
    names = _value(archive, _attribute(first, "feature_names_in_"))
    if first.get("__class__") == "ColumnTransformer" and isinstance(names, list):
        # It takes its columns by name, and each as it is.
        _table(names, found)
        _outputs(archive, last, found)
        return
    features = _value(archive, _attribute(first, "n_features_in_"))
    if features is None:
        features = _value(archive, _attribute(schema, "n_features_in_"))
    if isinstance(features, int):
        why = f"n_features_in_ of {first.get('__class__')}"
        found.tensor("inputs", "features", Datatype.FP64.value, (-1, features), why)
        if isinstance(names, list):
            found.know("inputs[features].columns", tuple(map(str, names)), "feature_names_in_")
    _outputs(archive, last, found)


def _table(names: list[Any], found: Inspection) -> None:
    why = "feature_names_in_ of its ColumnTransformer"
    found.tensor("inputs", "features", Datatype.BYTES.value, (1,), why)
    found.know("inputs[features].columns", tuple(map(str, names)), why)
    found.know("inputs[features].codec", Codec.TABLE, why)
    known = found.facts.get("runtime.requirements")
    wanted = known.value if known is not None else REQUIREMENTS[Format.SKOPS]
    if "pandas" not in wanted:
        found.know("runtime.requirements", (*wanted, "pandas"), f"{found.file} and its named columns")


def _outputs(archive: zipfile.ZipFile, last: dict[str, Any], found: Inspection) -> None:
    kind = str(last.get("__class__", ""))
    classes = _value(archive, _attribute(last, "classes_"))
    if isinstance(classes, list) and classes:
        is_text = isinstance(classes[0], str)
        datatype = Datatype.BYTES if is_text else Datatype.INT64
        found.tensor("outputs", "label", datatype.value, (-1,), f"classes_ of {kind}")
        if kind not in WITHOUT_PROBABILITIES:
            found.tensor(
                "outputs", "probabilities", Datatype.FP64.value, (-1, len(classes)), f"classes_ of {kind}"
            )
            found.know("outputs[probabilities].labels", tuple(map(str, classes)), f"classes_ of {kind}")
    elif kind.endswith(("Regressor", "Regression")):
        found.tensor("outputs", "prediction", Datatype.FP64.value, (-1,), f"{kind} gives a number a row")


def _ends(schema: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first and the last estimator: of a pipeline its steps', else the thing itself."""
    first = last = schema
    for _ in range(DEPTH_MOST):
        steps = [_inner(pair, 1) for pair in _items(_attribute(last, "steps"))]
        known = [step for step in steps if step is not None]
        if not known:
            break
        first, last = (known[0] if first is last else first), known[-1]
    return first, last


def _attribute(node: Any, name: str) -> Any:
    """A fitted attribute, as the schema keeps it."""
    content = node.get("content") if isinstance(node, dict) else None
    for _ in range(3):
        if not isinstance(content, dict):
            return None
        if name in content:
            return content[name]
        content = content.get("content")
    return None


def _items(node: Any) -> list[Any]:
    content = node.get("content") if isinstance(node, dict) else None
    return content if isinstance(content, list) else []


def _inner(node: Any, place: int) -> dict[str, Any] | None:
    items = _items(node)
    found = items[place] if len(items) > place else None
    return found if isinstance(found, dict) else None


def _value(archive: zipfile.ZipFile, node: Any) -> Any:
    """A number, or a small array as a list; None: it is something else."""
    if not isinstance(node, dict):
        return None
    file = node.get("file")
    if isinstance(file, str) and file.endswith(".npy"):
        import numpy

        raw = member(archive, file, ARRAY_BYTES_MOST)
        return numpy.load(io.BytesIO(raw), allow_pickle=False).tolist()
    content = node.get("content")
    if isinstance(content, str):
        try:
            return json.loads(content)
        except ValueError:
            return None
    return [_value(archive, item) for item in content] if isinstance(content, list) else content


def _foreign(schema: Any) -> set[str]:
    """Types that neither scikit-learn nor what it builds on has."""
    return {f"{module}.{kind}" for module, kind in _types(schema) if not f"{module}.".startswith(_TRUSTED)}


def _modules(schema: Any) -> set[str]:
    """Packages that its types are of."""
    return {module.partition(".")[0] for module, _ in _types(schema)}


def _types(schema: Any) -> Iterator[tuple[str, Any]]:
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(module := node.get("__module__"), str):
                yield module, node.get("__class__")
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
