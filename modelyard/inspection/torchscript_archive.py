"""TorchScript: names of forward's arguments, from the code inside the archive. Types and shapes only a run tells."""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path

from modelyard.inspection.archives import member
from modelyard.inspection.detection import ComponentUnknown
from modelyard.models.facts import Inspection

CODE_BYTES_MOST = 16 << 20


def look(folder: Path, found: Inspection) -> None:
    """Fills in what the code says."""
    try:
        with zipfile.ZipFile(folder / found.file) as archive:
            forward = _forward(archive)
    except zipfile.BadZipFile as error:
        raise ComponentUnknown(f"{found.file} is cut off: {error}") from None
    found.warnings.append(
        "its code runs when it is loaded: TorchScript's, in PyTorch's own interpreter and without Python's pickle, shut"
        " in as every frame is"
    )
    if forward is None:
        found.warnings.append("its code names no forward: arguments are found by the probe")
        return
    why = f"forward in {found.file}"
    for argument in forward.args.args[1:]:
        if argument.annotation is None or ast.unparse(argument.annotation) == "Tensor":
            found.tensor("inputs", argument.arg, None, None, why)
        else:
            kind = ast.unparse(argument.annotation)
            found.refusals.append(
                f"inputs[{argument.arg}] is a {kind}; the protocol for inference has tensors only"
            )
    returned = ast.unparse(forward.returns) if forward.returns is not None else "Tensor"
    if returned.startswith("Tuple["):
        for place in range(returned.count("Tensor")):
            found.tensor("outputs", f"output_{place}", None, None, why)
    elif returned == "Tensor":
        found.tensor("outputs", "output", None, None, why)


def _forward(archive: zipfile.ZipFile) -> ast.FunctionDef | None:
    """Of the module that was saved: the one nearest to the root whose class has a forward."""
    names = [name for name in archive.namelist() if "/code/" in name and name.endswith(".py")]
    for name in sorted(names, key=lambda one: (one.count("/"), one)):
        try:
            tree = ast.parse(member(archive, name, CODE_BYTES_MOST))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for class_ in tree.body:
            for one in class_.body if isinstance(class_, ast.ClassDef) else ():
                if isinstance(one, ast.FunctionDef) and one.name == "forward":
                    return one
    return None
