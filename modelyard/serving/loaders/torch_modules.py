"""PyTorch: TorchScript, torch.export, modules in a pickle. Arguments in the order of model.yaml's inputs.

TorchScript is code for PyTorch's own interpreter, which reads its archives without Python's pickle: it needs no trust,
and runs shut in. torch.export and modules in a pickle are opened only where the server trusts the component.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelyard.serving.errors import ComponentUnfit, InvalidValue, library
from modelyard.serving.launch import Settings
from modelyard.serving.loaders.loading import Findings, Loading, Values
from modelyard.serving.tensors import widened

Fit = tuple[str, tuple[int, ...]]


def load(loading: Loading) -> Module:
    """Raises ServingError, and what PyTorch raises of a file that it cannot read, or of what is in it."""
    torch, path = _torch(loading.settings), str(loading.path)
    try:
        if loading.settings.format == "torchscript":
            module = torch.jit.load(path, map_location=_device(torch, loading)).eval()
        else:
            # It holds pickles, and texts that PyTorch evaluates.
            loading.unpickling(loading.path.name)
            program = torch.export.load(path)
            module = program.module()
    except (RuntimeError, ValueError) as error:
        raise ComponentUnfit(f"{loading.path.name}: {_first(error)}", "component.file") from None
    return Module(torch, module, loading)


def unpickled(loading: Loading) -> Module:
    """A module that torch.save kept whole. The caller has asked whether it may be opened."""
    torch = _torch(loading.settings)
    found = torch.load(str(loading.path), map_location=_device(torch, loading), weights_only=False)
    return module_of(found, loading)


def module_of(found: Any, loading: Loading) -> Module:
    """Raises ComponentUnfit: it computes nothing."""
    if not hasattr(found, "forward"):
        raise ComponentUnfit(
            f"{loading.path.name} holds a {type(found).__name__} and nothing that computes", "component.file"
        )
    return Module(_torch(loading.settings), found.eval(), loading)


def _torch(settings: Settings) -> Any:
    torch = library("torch", "torch", "runtime.requirements", "loading PyTorch")
    torch.set_num_threads(settings.library_threads)
    return torch


def _device(torch: Any, loading: Loading) -> str:
    if not loading.settings.has_gpu:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    loading.warnings.append("PyTorch sees no GPU here: its build, or the node's driver, has none")
    return "cpu"


class Module:
    """forward, by names."""

    takes_objects = False

    def __init__(self, torch: Any, module: Any, loading: Loading) -> None:
        self._torch = torch
        self._module = module
        self._inputs = loading.settings.inputs
        self._outputs = [one.name for one in loading.settings.outputs]
        self._device = _device(torch, loading) if loading.settings.format != "torch-export" else "cpu"

    def compute(self, values: Values, wanted: Sequence[str] | None) -> Values:
        torch = self._torch
        given = [self._tensor(one.name, one.datatype, values) for one in self._inputs if one.name in values]
        try:
            with torch.inference_mode():
                found = self._module(*given)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise InvalidValue(_last(error), "inputs") from None
        return {name: self._array(value) for name, value in self._named(found).items()}

    def findings(self) -> Findings:
        """Names of the arguments of forward; their types and shapes only a run tells."""
        forward = getattr(self._module, "forward", None)
        schema = getattr(forward, "schema", None)
        if schema is not None:
            names = [one.name for one in schema.arguments][1:]
        else:
            code = getattr(forward, "__code__", None)
            names = list(code.co_varnames[1 : code.co_argcount]) if code is not None else []
        return {"inputs": (names, "forward, as PyTorch loads it")} if names else {}

    def fits(self) -> list[Fit]:
        """Types and shapes, without rows, that its first weights would take: where nobody knows them."""
        try:
            weights = [list(one.shape) for one in self._module.parameters() if one.ndim >= 2][:3]
        except (AttributeError, RuntimeError):
            return []
        numbers: list[Fit] = [("FP32", (one[1], *[32] * (len(one) - 2))) for one in weights[:1]]
        # The first weight of an embedding has a row for each index.
        return [*numbers, *(("INT64", shape) for shape in ((8,), ()) if weights)]

    def _tensor(self, name: str, datatype: str, values: Values) -> Any:
        array = np.asarray(values[name])
        if array.dtype.kind not in "biuf":
            raise InvalidValue(f"PyTorch takes numbers, and got {array.dtype}", f"inputs[{name}]")
        tensor = self._torch.from_numpy(np.ascontiguousarray(array))
        if datatype == "BF16":
            tensor = tensor.to(self._torch.bfloat16)
        return tensor if self._device == "cpu" else tensor.to(self._device)

    def _named(self, found: Any) -> dict[str, Any]:
        if isinstance(found, Mapping):
            return {str(name): value for name, value in found.items()}
        several = list(found) if isinstance(found, (tuple, list)) else [found]
        names = self._outputs or (
            ["output"] if len(several) == 1 else [f"output_{place}" for place in range(len(several))]
        )
        if len(names) != len(several):
            raise ComponentUnfit(f"it gives {len(several)} outputs, and {len(names)} are named", "outputs")
        return dict(zip(names, several, strict=True))

    def _array(self, value: Any) -> Any:
        if not isinstance(value, self._torch.Tensor):
            return np.asarray(value)
        tensor = value.detach().cpu()
        if tensor.dtype is self._torch.bfloat16:
            return widened(tensor.contiguous().view(self._torch.uint16).numpy())
        return tensor.numpy()


def _first(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:500]


def _last(error: BaseException) -> str:
    """What TorchScript says stands below its own stack."""
    lines = str(error).strip().splitlines()
    return (lines[-1] if lines else type(error).__name__)[:500]
