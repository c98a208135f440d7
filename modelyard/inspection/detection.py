"""Which format a component has, by names and first bytes of its files; then the look of that format."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from modelyard.models.facts import Inspection
from modelyard.models.rules import REQUIREMENTS
from modelyard.models.values import Format

FILES_MOST = 10_000
EXAMPLES = "examples"
_HEAD_BYTES = 4_096

Look = Callable[[Path, Inspection], None]

_MODULES: dict[Format, str] = {
    Format.ONNX: "onnx_graph",
    Format.SKOPS: "skops_file",
    Format.PICKLE: "pickles",
    Format.XGBOOST: "xgboost_model",
    Format.LIGHTGBM: "lightgbm_model",
    Format.TORCHSCRIPT: "torchscript_archive",
    Format.TORCH_EXPORT: "torch_export_archive",
    Format.SAFETENSORS: "safetensors_file",
    Format.MLFLOW: "mlflow_folder",
    Format.PYTHON: "python_code",
}


class ComponentUnknown(ValueError):
    """The files are no component that can be served; the message says what was looked for."""


class LibraryMissing(RuntimeError):
    """A look needs a library that is not installed here; the message names the extra."""


_SENSELESS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What looks raise of files that say a thing where another belongs: a text for a number, a list for a mapping."""


def inspect_component(path: Path, file: str = "", folder: Path | None = None) -> Inspection:
    """What a file, or a directory, says of itself. `file`: which of several is loaded first.

    Raises ComponentUnknown, also for files that lie about what is in them; LibraryMissing, OSError. Reads only; a
    hostile file costs time and memory in proportion to its size.
    """
    folder = path if path.is_dir() else path.parent
    names = sorted(_names(folder)) if path.is_dir() else [path.name]
    format_, first = _choose(folder, names, file)
    found = Inspection(format=format_, file=first)
    module = import_module(f"modelyard.inspection.{_MODULES[format_]}")
    look: Look = module.look
    try:
        look(folder, found)
        _needs(folder, found, names)
    except ComponentUnknown:
        raise
    except _SENSELESS as error:
        why = f"{type(error).__name__}: {str(error)[:500]}"
        raise ComponentUnknown(f"{first} is no sound component of format {format_.value}: {why}") from error
    return found


def _needs(folder: Path, found: Inspection, names: list[str]) -> None:
    """What its files, of these names, say of packages; and whether they have an example. MLflow says it itself."""
    from modelyard.inspection import requirements

    found.has_example |= any(name.startswith(f"{EXAMPLES}/") and name.endswith(".json") for name in names)
    if found.format is Format.MLFLOW:
        return
    if found.format in (Format.PYTHON, Format.SAFETENSORS):
        code = [folder / name for name in names if name.endswith(".py")]
        modules = requirements.imported(
            code, own={name.partition("/")[0].removesuffix(".py") for name in names}
        )
        requirements.note_imports(modules, found, "its code", REQUIREMENTS[found.format])
    if requirements.FILE in names:
        requirements.note_written(folder, found)


def _names(folder: Path) -> Iterator[str]:
    count = 0
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith(".") and one != "__pycache__")
        for name in files:
            count += 1
            if count > FILES_MOST:
                raise ComponentUnknown(f"the directory has more than {FILES_MOST} files")
            if not _is_text(name):
                raise ComponentUnknown(
                    f"{os.fsencode(name)!r} is no name in UTF-8: call the file something else"
                )
            # A link may lead out of the component, a pipe never ends: neither is part of it.
            if stat.S_ISREG((Path(root) / name).lstat().st_mode):
                yield (Path(root) / name).relative_to(folder).as_posix()


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _choose(folder: Path, names: list[str], file: str) -> tuple[Format, str]:
    if "MLmodel" in names and not file:
        return Format.MLFLOW, "MLmodel"
    if file and file not in names:
        raise ComponentUnknown(f"there is no file {file!r} in the component")
    found = [
        (kind, name) for name in ([file] if file else names) if (kind := _kind(folder / name)) is not None
    ]
    # Code beside a model belongs to it.
    models = [one for one in found if one[0] is not Format.PYTHON] or found
    if not models:
        kinds = (
            ".onnx, .skops, .pkl, .joblib, .json or .ubj of XGBoost, .txt of LightGBM, .pt, .pt2, .safetensors,"
            " MLmodel"
        )
        raise ComponentUnknown(
            f"nothing here is a model; looked for {kinds}, or a .py with a class that has predict"
        )
    if len({kind for kind, _ in models}) > 1 or (len(models) > 1 and models[0][0] is not Format.SAFETENSORS):
        raise ComponentUnknown(
            f"it could be any of {', '.join(name for _, name in models[:8])}; say which: component.file"
        )
    return models[0]


def _kind(path: Path) -> Format | None:
    suffix = path.suffix.lower()
    plain = {
        ".onnx": Format.ONNX, ".skops": Format.SKOPS, ".safetensors": Format.SAFETENSORS, ".pkl": Format.PICKLE,
        ".pickle": Format.PICKLE, ".joblib": Format.PICKLE, ".pt2": Format.TORCH_EXPORT, ".ubj": Format.XGBOOST,
    }  # fmt: skip
    if suffix in plain:
        return plain[suffix]
    with path.open("rb") as opened:
        head = opened.read(_HEAD_BYTES)
    if suffix in (".pt", ".pth", ".jit", ".ts"):
        return _torch(path, head)
    if suffix == ".json":
        return Format.XGBOOST if b'"learner"' in head or b'"version"' in head[:64] else None
    if suffix in (".txt", ".lgb", ".model") and head.startswith(b"tree") and b"version=" in head:
        return Format.LIGHTGBM
    if suffix == ".py":
        with path.open("rb") as opened:
            return Format.PYTHON if b"def predict" in opened.read(1 << 20) else None
    return None


def _torch(path: Path, head: bytes) -> Format | None:
    if not head.startswith(b"PK"):
        return Format.PICKLE
    try:
        with zipfile.ZipFile(path) as archive:
            is_script = any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile as error:
        raise ComponentUnknown(f"{path.name} is cut off: {error}") from None
    return Format.TORCHSCRIPT if is_script else Format.PICKLE
