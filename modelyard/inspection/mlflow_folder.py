"""MLflow's directories: the signature and the environment that MLmodel and the files beside it declare.

What they wrap is loaded as such where it can be (`serving/mlflow_layout.py`); then only the packages of that are
needed, in the versions that stand beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.documents.problems import Findings, Kind
from modelyard.documents.yaml_text import read
from modelyard.inspection import mlflow_signature, pickles, requirements
from modelyard.inspection.detection import ComponentUnknown, inspect_component
from modelyard.models.facts import Inspection
from modelyard.models.rules import REQUIREMENTS
from modelyard.models.values import Codec, Format
from modelyard.serving.mlflow_layout import CODE, MLMODEL, PYFUNC, Layout, LayoutUnfit, layout_of

_PYTHON = re.compile(r"3\.[0-9]{1,2}(\.[0-9]{1,3})?")
_MLFLOW = ("mlflow", "mlflow-skinny")
_SAME = {"xgboost": ("xgboost", "xgboost-cpu"), "onnxruntime": ("onnxruntime", "onnxruntime-gpu")}
"""Packages that bring the same modules."""
_FOR_MLFLOW = REQUIREMENTS[Format.MLFLOW]
"""What opens a python_function; the whole of MLflow is a tracking server besides."""


def look(folder: Path, found: Inspection) -> None:
    """Fills in what is declared there."""
    whole = _document(folder)
    mlflow_signature.note(whole.get("signature"), found)
    try:
        layout = layout_of(folder)
    except LayoutUnfit as error:
        found.refusals.append(str(error))
        return
    _note_python(whole, found)
    needed = REQUIREMENTS[Format.MLFLOW]
    if layout.format == PYFUNC:
        found.warnings.append(
            f"{layout.file or 'what MLflow keeps of it'} is a pickle, which runs code when it is opened: it is"
            " opened in a frame only, where the server trusts it; one that is logged from a file of code needs no trust"
        )
    elif layout.format == "pickle":
        _note_pickle(folder / layout.file, found)
    elif layout.format != CODE:
        needed = _note_wrapped(folder, layout, found)
    _note_packages(folder, layout, needed, found)


def _document(folder: Path) -> dict[str, Any]:
    findings = Findings(Kind.SOURCE)
    documents = read((folder / MLMODEL).read_bytes(), findings)
    whole = documents[0].plain() if documents else None
    if not isinstance(whole, dict):
        raise ComponentUnknown(
            f"MLmodel cannot be read: {'; '.join(map(str, findings.all()[:2])) or 'it is empty'}"
        )
    return whole


def _note_python(whole: dict[str, Any], found: Inspection) -> None:
    flavors = whole.get("flavors")
    pyfunc = flavors.get("python_function") if isinstance(flavors, dict) else None
    version = pyfunc.get("python_version") if isinstance(pyfunc, dict) else None
    if isinstance(version, str) and _PYTHON.fullmatch(version):
        found.know("runtime.python", ".".join(version.split(".")[:2]), "python_version in MLmodel")


def _note_pickle(path: Path, found: Inspection) -> None:
    """Refused and warned of as a pickle that is handed in by itself."""
    inner = Inspection(format=Format.PICKLE, file=path.name)
    pickles.look(path.parent, inner)
    found.refusals += inner.refusals
    found.warnings += inner.warnings


def _note_wrapped(folder: Path, layout: Layout, found: Inspection) -> tuple[str, ...]:
    """What the file itself says where there is no signature; which packages open it."""
    inner = inspect_component(folder / layout.file, layout.file.rpartition("/")[2])
    found.refusals += inner.refusals
    if "inputs" not in found.facts and not layout.wrapper and layout.method in ("", "predict"):
        found.warnings += inner.warnings
        for path, fact in inner.facts.items():
            if path.startswith(("inputs", "outputs")):
                found.facts.setdefault(path, fact)
    known = inner.facts.get("runtime.requirements")
    needed = known.value if known is not None else REQUIREMENTS[Format(layout.format)]
    more = ("scikit-learn",) if layout.wrapper else ()
    if any(fact.value is Codec.TABLE for path, fact in found.facts.items() if path.startswith("inputs[")):
        more = (*more, "pandas")
    return (*needed, *(one for one in more if one not in needed))


def _note_packages(folder: Path, layout: Layout, needed: Sequence[str], found: Inspection) -> None:
    lines = requirements.written(folder, found)
    if layout.format in (PYFUNC, CODE):
        wanted, why = _of_mlflow(lines), "with mlflow-skinny, which is enough to serve"
    elif layout.format == "pickle":
        # It may import anything of them.
        own = tuple(one for one in lines if requirements.project(one) not in _MLFLOW)
        wanted = own or REQUIREMENTS[Format.PICKLE]
        why = "without MLflow itself: what it wraps is loaded directly"
    else:
        wanted = tuple(_pinned(one, lines) for one in needed)
        why = f"of which {layout.format} needs these: it is loaded directly, without MLflow"
    beside = "requirements.txt beside MLmodel" if lines else "there is no requirements.txt beside MLmodel"
    found.know("runtime.requirements", wanted, f"{beside}, {why}")


def _pinned(package: str, lines: Sequence[str]) -> str:
    """The line of it that stands there, else as it is."""
    name = requirements.project(package)
    known = {requirements.project(line): line for line in reversed(lines)}
    return next((known[one] for one in _SAME.get(name, (name,)) if one in known), package)


def _of_mlflow(lines: Sequence[str]) -> tuple[str, ...]:
    kept = [line for line in lines if requirements.project(line) not in _MLFLOW]
    own = next((line for line in lines if requirements.project(line) in _MLFLOW), "")
    version = own.removeprefix("mlflow-skinny").removeprefix("mlflow") if own else ""
    names = {requirements.project(line) for line in kept}
    first = f"mlflow-skinny{version}" if version[:1] in ("=", ">", "~", "<") else _FOR_MLFLOW[0]
    return (first, *kept, *(one for one in _FOR_MLFLOW[1:] if one not in names))
