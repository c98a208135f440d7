"""The component's own class: `load(directory)` once, `predict` for each call, values as its annotations say.

A generator, plain or asynchronous, streams; a coroutine runs on the frame's loop, and is cancelled with its call.
Weights in safetensors are code beside them.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYet
from contextlib import closing
from pathlib import Path
from types import GeneratorType, ModuleType
from typing import Any

from modelyard.serving import current
from modelyard.serving.errors import ComponentUnfit
from modelyard.serving.launch import Spec
from modelyard.serving.loaders.annotations import converter
from modelyard.serving.loaders.loading import Findings, Loading, Stream, Values

_CODE_BYTES_MOST = 1 << 20
_LOOK_S = 0.05


def load(loading: Loading) -> Code:
    """Raises ServingError, and whatever its import, its constructor and its load raise."""
    path = _code(loading)
    root = str(loading.folder.resolve())
    if root not in sys.path:
        sys.path.insert(0, root)
    class_ = _class(_imported(path))
    found = class_()
    if hasattr(found, "load"):
        loaded = _settled(found.load(loading.folder.resolve()))
        found = loaded if isinstance(loaded, class_) else found
    return Code(found, loading)


class Code:
    """predict of an object."""

    takes_objects = True

    def __init__(self, found: Any, loading: Loading) -> None:
        self._predict: Callable[..., Any] = found.predict
        self._outputs = loading.settings.outputs
        self._why = f"predict of {type(found).__name__}"
        places = inspect.signature(self._predict).parameters.values()
        specs = {one.name: one for one in loading.settings.inputs}
        self._convert = {
            one.name: converter(one.annotation, specs.get(one.name) or Spec(one.name)) for one in places
        }
        self._takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in places)
        self._by_place = [one.name for one in places if one.kind is inspect.Parameter.POSITIONAL_ONLY]
        unknown = [name for name in specs if name not in self._convert and not self._takes_all]
        if unknown:
            raise ComponentUnfit(f"{self._why} takes no {', '.join(unknown)}", "inputs")

    def compute(self, values: Values, wanted: Sequence[str] | None) -> Values | Stream:
        given = {
            name: self._convert[name](value) if name in self._convert else value
            for name, value in values.items()
            if name in self._convert or self._takes_all
        }
        places = [given.pop(name) for name in self._by_place if name in given]
        found = self._predict(*places, **given)
        if inspect.isawaitable(found):
            found = _settled(found)
        if isinstance(found, AsyncIterator):
            return Stream(self._parts(_walked(found)))
        if isinstance(found, (GeneratorType, Iterator)):
            return Stream(self._parts(found))
        return self._named(found)

    def findings(self) -> Findings:
        """The names of its arguments."""
        return {"inputs": (list(self._convert), self._why)} if not self._takes_all else {}

    def _parts(self, found: Iterator[Any]) -> Iterator[Values]:
        try:
            for one in found:
                yield self._named(one)
        finally:
            if isinstance(found, GeneratorType):
                found.close()

    def _named(self, found: Any) -> Values:
        """By the names of model.yaml: a mapping that has them, as many as there are, or the only one."""
        names = [one.name for one in self._outputs]
        if isinstance(found, Mapping) and names and set(found) <= set(names) and (len(names) > 1 or found):
            return dict(found)
        if isinstance(found, tuple) and len(names) == len(found) > 1:
            return dict(zip(names, found, strict=True))
        if len(names) > 1:
            raise ComponentUnfit(
                f"{self._why} gave {type(found).__name__}; model.yaml names {', '.join(names)}: give a dict, or a tuple"
                " of as many",
                "outputs",
            )
        return {names[0] if names else "result": found}


def _code(loading: Loading) -> Path:
    path = loading.path
    if path.suffix == ".py":
        return path
    for one in sorted(path.parent.glob("*.py")):
        if not one.is_symlink() and b"def predict" in one.read_bytes()[:_CODE_BYTES_MOST]:
            return one
    raise ComponentUnfit(f"beside {path.name} lies no .py whose class has predict", "component.file")


def _imported(path: Path) -> ModuleType:
    # By a name of its own where the standard library has that one.
    name = f"component_{path.stem}" if path.stem in sys.stdlib_module_names else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ComponentUnfit(f"{path.name} cannot be imported", "component.file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _class(module: ModuleType) -> type[Any]:
    found = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and one.__module__ == module.__name__ and "predict" in vars(one)
    ]
    if len(found) != 1:
        names = ", ".join(one.__name__ for one in found) or "none"
        raise ComponentUnfit(
            f"{module.__name__} should have one class with predict, and has {names}", "component.file"
        )
    return found[0]


class _Loop:
    """The frame's event loop, in a thread of its own; made when the first coroutine comes."""

    _lock = threading.Lock()
    _loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def get(cls) -> asyncio.AbstractEventLoop:
        with cls._lock:
            if cls._loop is None:
                cls._loop = asyncio.new_event_loop()
                threading.Thread(target=cls._loop.run_forever, name="coroutines", daemon=True).start()
            return cls._loop


async def _awaited(found: Any) -> Any:
    return await found


def _settled(found: Any) -> Any:
    """What a coroutine gives; it is cancelled when nobody waits for its call any more."""
    if not inspect.isawaitable(found):
        return found
    work: Coroutine[Any, Any, Any] = _awaited(found)
    future = asyncio.run_coroutine_threadsafe(work, _Loop.get())
    while True:
        try:
            return future.result(_LOOK_S)
        except NotYet:
            if future.done():
                raise
            if current.is_cancelled():
                future.cancel()
        except CancelledError:
            raise current.Cancelled("nobody waits for it any more") from None


def _walked(found: AsyncIterator[Any]) -> Iterator[Any]:
    """An asynchronous iterator as a plain one."""
    sentinel = object()

    async def step() -> Any:
        return await anext(found, sentinel)

    class _Ending:
        @staticmethod
        def close() -> None:
            if hasattr(found, "aclose"):
                _settled(found.aclose())

    with closing(_Ending):
        while (one := _settled(step())) is not sentinel:
            yield one
