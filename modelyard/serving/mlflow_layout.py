"""What lies in a directory of MLflow's, and how it is loaded: as the format that it wraps, or by MLflow itself.

The look at its files and the frame decide by this one rule. Standard library only, and nothing of it runs: MLmodel is
read as MLflow writes it, two levels of plain fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MLMODEL = "MLmodel"
DOCUMENT_BYTES_MOST = 4 << 20
PYFUNC = "pyfunc"
CODE = "code"
_FLAVOR = re.compile(r"  (\w+):")
_NAME = re.compile(r"    (\w+)")
_QUOTES = ("'", '"')
_XGBOOST = re.compile(r"xgboost\.sklearn\.(XGB\w+)")
_NAMES = {
    "mlflow.onnx": ("onnx", ("*.onnx",)),
    "mlflow.xgboost": ("xgboost", ("*.json", "*.ubj")),
    "mlflow.lightgbm": ("lightgbm", ("*.txt", "*.lgb")),
    "mlflow.pytorch": ("torch-export", ("*.pt2",)),
}
"""Flavours whose files run no code when they are opened, by the module that would load them."""
_METHODS = (
    "predict",
    "predict_proba",
    "predict_log_proba",
    "transform",
    "decision_function",
    "score_samples",
)


class LayoutUnfit(ValueError):
    """It cannot be served so; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a directory is loaded."""

    format: str
    """Of model.yaml, for what is loaded as such; PYFUNC and CODE: by MLflow, from a pickle or from code."""
    file: str = ""
    """Relative to the directory; of MLflow's own the pickle, where there is one."""
    method: str = ""
    """Of an estimator: the one whose result is the answer."""
    wrapper: str = ""
    """The class of xgboost.sklearn that a booster's file is loaded into."""

    @property
    def has_pickle(self) -> bool:
        """Whether opening it runs what is in it."""
        return self.format in (PYFUNC, "pickle")


def layout_of(folder: Path) -> Layout:
    """Of the directory in which MLmodel lies. Raises LayoutUnfit, OSError."""
    flavors = _flavors(folder / MLMODEL)
    fields = flavors.get("python_function")
    if fields is None:
        raise LayoutUnfit("MLmodel has no flavor python_function: log the model with one")
    module = fields.get("loader_module", "")
    if module in _NAMES:
        found = _plain(folder, fields, module, flavors)
        if found is not None:
            return found
    if module == "mlflow.sklearn":
        return _estimator(folder, fields.get("model_path") or fields.get("data") or "model.pkl", fields)
    if module == "mlflow.pytorch":
        return _pickled_torch(folder, fields)
    return _function(folder, fields, module)


def _plain(
    folder: Path, fields: Mapping[str, str], module: str, flavors: Mapping[str, Mapping[str, str]]
) -> Layout | None:
    """None: the files of this flavour are of no format that is loaded as such."""
    format_, names = _NAMES[module]
    inner = _inside(folder, fields.get("data") or ".")
    files = [inner] if inner.is_file() else sorted(file for name in names for file in inner.glob(name))
    own = flavors.get(module.partition(".")[2], {})
    kind = own.get("model_class", "")
    if len(files) == 1 and any(files[0].match(name) for name in names):
        wrapper = _XGBOOST.fullmatch(kind) if module == "mlflow.xgboost" else None
        if kind and wrapper is None and not kind.endswith(".Booster") and format_ in ("xgboost", "lightgbm"):
            raise LayoutUnfit(f"its model_class {kind} is none of {format_}'s own: save the booster itself")
        method = "predict" if wrapper is not None else ""
        return Layout(format_, _relative(folder, files[0]), method, wrapper[1] if wrapper is not None else "")
    if module == "mlflow.xgboost":
        raise LayoutUnfit(
            "its file is of a format that XGBoost no longer reads: save it with model_format='ubj'"
        )
    if module == "mlflow.lightgbm" and inner.is_file():
        return _estimator(folder, fields.get("data") or "", fields)
    return None


def _estimator(folder: Path, name: str, fields: Mapping[str, str]) -> Layout:
    file, method = _inside(folder, name), fields.get("predict_fn") or "predict"
    if method not in _METHODS:
        raise LayoutUnfit(f"its predict_fn {method} is none of {', '.join(_METHODS)}")
    format_ = "skops" if file.suffix == ".skops" else "pickle"
    return Layout(format_, _relative(folder, file), method)


def _pickled_torch(folder: Path, fields: Mapping[str, str]) -> Layout:
    """torch.save keeps TorchScript as such, and everything else as a pickle."""
    inner = _inside(folder, fields.get("data") or "data")
    files = sorted(one for one in inner.glob("*.pt*") if one.suffix in (".pth", ".pt"))
    if len(files) != 1:
        raise LayoutUnfit(
            f"{fields.get('data') or 'data'} holds no model.pt2 and no model.pth: log the model again"
        )
    return Layout("torchscript" if _is_script(files[0]) else "pickle", _relative(folder, files[0]))


def _is_script(path: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _function(folder: Path, fields: Mapping[str, str], module: str) -> Layout:
    """MLflow's python_function: code where neither it nor MLflow's own flavours open a pickle."""
    if fields.get("python_model"):
        return Layout(PYFUNC, _relative(folder, _inside(folder, fields["python_model"])))
    is_code = module.endswith(".code_model") or not module.startswith("mlflow.")
    return Layout(CODE if is_code and module else PYFUNC)


def _inside(folder: Path, name: str) -> Path:
    root, path = folder.resolve(), (folder / name).resolve()
    if not path.is_relative_to(root):
        raise LayoutUnfit("MLmodel names a file outside of the component")
    if not path.exists():
        raise LayoutUnfit(f"MLmodel names {name}, and there is no such file")
    return path


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder.resolve()).as_posix()


def _flavors(path: Path) -> dict[str, dict[str, str]]:
    """Their fields, by name; enough of YAML for what MLflow itself writes."""
    if path.stat().st_size > DOCUMENT_BYTES_MOST:
        raise LayoutUnfit(f"MLmodel has more than {DOCUMENT_BYTES_MOST} bytes")
    found: dict[str, dict[str, str]] = {}
    is_inside = False
    flavor = ""
    for line in path.read_text(errors="replace").split("\n"):
        if line[:1].strip():
            is_inside, flavor = line.rstrip() == "flavors:", ""
        elif is_inside and (start := _FLAVOR.fullmatch(line.rstrip())):
            flavor = start[1]
            found[flavor] = {}
        elif flavor and (pair := _field(line)):
            found[flavor][pair[0]] = pair[1]
    return found


def _field(line: str) -> tuple[str, str] | None:
    """`    name: value`, in quotes or not; in time that grows with the line, whatever stands there."""
    before, mark, value = line.partition(":")
    name = _NAME.fullmatch(before)
    if name is None or not mark:
        return None
    value = value.strip(" \t\r").removeprefix("'").removeprefix('"').removesuffix("'").removesuffix('"')
    if any(quote in value for quote in _QUOTES):
        return None
    return name[1], "" if value in ("null", "~") else value
