"""Packages that a component needs: what lies beside it as requirements.txt, else what its code or its pickle imports.

Only names that are known for certain become packages: one that is made up would be somebody else's.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from modelyard.models.facts import Inspection
from modelyard.models.packages import is_package
from modelyard.models.rules import REQUIREMENTS

FILE = "requirements.txt"
FILE_BYTES_MOST = 64 << 10
CODE_BYTES_MOST = 4 << 20
CODE_FILES_MOST = 200
PACKAGES = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "category_encoders": "category-encoders",
    "cv2": "opencv-python-headless",
    "imblearn": "imbalanced-learn",
    "sentence_transformers": "sentence-transformers",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    **{
        name: name
        for name in (
            "catboost", "cloudpickle", "huggingface_hub", "jax", "joblib", "keras", "lightgbm", "matplotlib",
            "networkx", "nltk", "numpy", "onnxruntime", "pandas", "polars", "prophet", "pyarrow", "pydantic",
            "requests", "safetensors", "scipy", "skops", "spacy", "statsmodels", "tensorflow", "tiktoken", "tokenizers",
            "torch", "torchaudio", "torchvision", "tqdm", "transformers", "xgboost",
        )
    },
}  # fmt: skip
"""By the name that is imported."""
_OURS = frozenset({"modelyard", "__builtin__", "__main__", "__torch__", "_codecs", "copy_reg", "copyreg"})
REQUIREMENTS_MOST, LINES_SHOWN = 300, 3
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def written(folder: Path, found: Inspection) -> tuple[str, ...]:
    """Packages of the requirements.txt that lies there; empty: there is none that can be read. What is no package by
    its name is left out, with a warning."""
    path = folder / FILE
    if not path.is_file() or path.is_symlink() or path.stat().st_size > FILE_BYTES_MOST:
        return ()
    lines = (line.strip() for line in path.read_text(errors="replace").splitlines())
    kept = [line for line in lines if line and not line.startswith("#")]
    wanted = tuple(line for line in kept if is_package(line))[:REQUIREMENTS_MOST]
    _tell_left_out(found, [line for line in kept if line not in wanted])
    return wanted


def _tell_left_out(found: Inspection, lines: Sequence[str]) -> None:
    """Options, addresses and paths would be followed while its environment is made, where nothing is shut in."""
    if lines:
        shown = ", ".join(repr(line[:60]) for line in lines[:LINES_SHOWN])
        found.warnings.append(
            f"{len(lines)} lines of requirements.txt are not taken, as they are no packages by name: {shown};"
            " another index is set on the nodes (UV_INDEX_URL)"
        )


def note_written(folder: Path, found: Inspection) -> None:
    """Takes down what lies beside a component, and what loading its format needs besides."""
    lines = written(folder, found)
    if lines:
        wanted = (*lines, *_lacking(lines, REQUIREMENTS[found.format]))
        found.know("runtime.requirements", wanted, f"{FILE} beside {found.file}")


def note_imports(modules: Iterable[str], found: Inspection, what: str, also: Sequence[str] = ()) -> None:
    """Takes down what is known of the packages of these modules; of others it is warned."""
    tops = sorted({name.partition(".")[0] for name in modules} - sys.stdlib_module_names - _OURS)
    known = tuple(dict.fromkeys(PACKAGES[top] for top in tops if top in PACKAGES))
    if known:
        wanted = (*known, *_lacking(known, also))
        found.know("runtime.requirements", wanted, f"{what} imports {', '.join(tops[:12])}")
    other = [top for top in tops if top not in PACKAGES]
    if other:
        found.warnings.append(
            f"{what} imports {', '.join(other[:12])}, whose package is not known here: name it in {FILE} beside it, or"
            " in runtime.requirements"
        )


def imported(files: Sequence[Path], own: Container[str]) -> set[str]:
    """Modules that Python files import, except their own."""
    found: set[str] = set()
    for one in files[:CODE_FILES_MOST]:
        found |= _imports(one)
    return {name for name in found if name.partition(".")[0] not in own}


def project(requirement: str) -> str:
    """The package that a line names; empty: it names none."""
    match = _PROJECT.match(requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def _imports(path: Path) -> set[str]:
    if path.stat().st_size > CODE_BYTES_MOST:
        return set()
    try:
        tree = ast.parse(path.read_bytes(), path.name)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def _lacking(lines: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    known = {project(line) for line in lines}
    return tuple(one for one in wanted if project(one) not in known)
