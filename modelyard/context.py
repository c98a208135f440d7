"""What an operator may know about the task that calls it, and tell about itself.

Owns the user's view of one attempt. Must not import anything but the standard library, and must not know
how the worker is built: it is handed what it needs.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from logging import Logger


class TaskCancelled(BaseException):
    """The task was cancelled. Not an `Exception`, so that ``except Exception`` does not swallow it."""


class Source(NamedTuple):
    """Where the content of an input is: in memory or in a file."""

    data: bytes = b""
    path: str = ""
    # It holds the JSON of a value, and of a string the text itself is wanted.
    is_quoted: bool = False

    def read(self) -> bytes:
        """Raises ValueError for what is no JSON though it should be."""
        data = Path(self.path).read_bytes() if self.path else self.data
        return unquoted(data) if self.is_quoted else data


class YardAccess(NamedTuple):
    """How services are called on behalf of a task: what a `Client` is made with."""

    endpoint: str
    store: str
    graph: str
    trainer: str
    models: str
    token: str
    ca_file: str = ""


class Context:
    """One attempt of a task. A bare ``Context()`` serves to try an operator out."""

    def __init__(
        self,
        *,
        task_id: str = "",
        attempt: int = 1,
        epoch: int = 0,
        account: str = "",
        array_index: int = -1,
        params: Mapping[str, Any] | None = None,
        sources: Mapping[str, Source] | None = None,
        attachments: Mapping[str, str] | None = None,
        directory: str = "",
        report: Callable[[float, str], None] | None = None,
        access: YardAccess | None = None,
    ) -> None:
        self.task_id = task_id
        self.attempt = attempt
        # epoch and attempt together are the token of this attempt: hand both to whatever must not be
        # written by an attempt that was replaced.
        self.epoch = epoch
        self.account = account
        # -1: not an element of an array.
        self.array_index = array_index
        self.params = dict(params or {})
        # Grows with every change of the parameters while the task runs.
        self.revision = 0
        # Called after a change. One may have come before this is set: set it, then look at `revision`.
        self.on_params_changed: Callable[[Mapping[str, Any]], None] | None = None
        self.inputs: Mapping[str, bytes] = Inputs(sources or {})
        self._sources = sources or {}
        # Called after a change of the attachments: the files are there by then.
        self.on_attachments_changed: Callable[[Mapping[str, Path]], None] | None = None
        # What is attached to the task, by its path; and the inputs as files, by name.
        self.attachments: Mapping[str, Path] = Attachments(self, sources or {}, attachments or {})
        self._directory = directory
        self._report = report
        # Of operators whose names begin with "model." or "train."; None elsewhere.
        self.access = access
        self._cancelled = False

    @property
    def directory(self) -> Path:
        """Where this task may write; made when first used, removed after the task's outputs were kept."""
        if not self._directory:
            self._directory = mkdtemp(prefix="modelyard-")
        path = Path(self._directory)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def log(self) -> "Logger":
        """A standard logger; its lines stand in the task's stderr."""
        from modelyard.task_logging import task_logger

        return task_logger()

    @property
    def cancelled(self) -> bool:
        """Whether the task was asked to end."""
        return self._cancelled

    def check_cancelled(self) -> None:
        """Raises `TaskCancelled` if the task was asked to end; for code that does not let itself be
        interrupted. Plain functions are interrupted anyway, coroutines get asyncio's CancelledError."""
        if self._cancelled:
            raise TaskCancelled

    def progress(self, ratio: float, message: str = "") -> None:
        """Tells how far the work is: 0 to 1. Cheap; the newest stands for all since the last sending."""
        if self._report is not None:
            self._report(min(1.0, max(0.0, float(ratio))), message)

    def cancel(self) -> None:
        """Marks the task as cancelled."""
        self._cancelled = True

    def change_attachments(self, attachments: Mapping[str, str]) -> None:
        """Replaces what is attached, by path and where it lies, and tells the operator, if it wants to hear.

        ``on_attachments_changed`` is called on the event loop for coroutines, else on another thread.
        """
        self.attachments = Attachments(self, self._sources, attachments)
        if self.on_attachments_changed is not None:
            self.on_attachments_changed(self.attachments)

    def change_params(self, params: Mapping[str, Any], revision: int) -> None:
        """Replaces the parameters by checked ones and tells the operator, if it wants to hear.

        ``on_params_changed`` is called on the event loop for coroutines, else on another thread.
        """
        self.params = dict(params)
        self.revision = revision
        if self.on_params_changed is not None:
            self.on_params_changed(self.params)


class Inputs(Mapping[str, bytes]):
    """Contents by input name, read when asked for."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources

    def __getitem__(self, name: str) -> bytes:
        return self._sources[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


class Attachments(Mapping[str, Path]):
    """Attached files and directories by path, below the task's directory; and the inputs as files by name. What
    came inline, or as the JSON of a string, is written below the task's directory when asked for."""

    def __init__(self, context: Context, sources: Mapping[str, Source], attached: Mapping[str, str]) -> None:
        self._context = context
        self._sources = sources
        self._attached = dict(attached)

    def __getitem__(self, name: str) -> Path:
        if name in self._attached:
            return Path(self._attached[name])
        source = self._sources[name]
        if source.path and not source.is_quoted:
            return Path(source.path)
        path = self._context.directory / "inputs" / file_name(name)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(source.read())
        return path

    def __iter__(self) -> Iterator[str]:
        yield from self._attached
        yield from (name for name in self._sources if name not in self._attached)

    def __len__(self) -> int:
        return len({*self._attached, *self._sources})


def unquoted(data: bytes) -> bytes:
    """The text of a JSON string, without quotes and escapes; other JSON as it is. Raises ValueError."""
    if not data.lstrip().startswith(b'"'):
        return data
    return str(json.loads(data)).encode()


def file_name(name: str) -> str:
    """A user's name for something as the name of a file that cannot leave its directory."""
    return name.replace("/", "_").replace("\0", "_").lstrip(".") or "_"
