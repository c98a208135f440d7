"""`SyncClient`: the same words as `Client` for code without an event loop.

Generated when a client is made: each public coroutine method of `Client` and its groups becomes a plain one,
each asynchronous generator a plain one. All run on one background thread; calls may come from many threads.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any

from modelyard.client.aio import Client

GROUPS = (
    "tasks",
    "nodes",
    "accounts",
    "tokens",
    "artifacts",
    "operators",
    "contacts",
    "audit",
    "lineage",
    "queues",
    "projects",
    "runs",
    "triggers",
    "jobs",
    "sweeps",
    "models",
    "deployments",
)


class _Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="modelyard-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Waits for the result; an interrupt cancels the wait."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # above all KeyboardInterrupt: what nobody waits for any more ends
            future.cancel()
            raise

    def iterate(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        """The items one by one; closes the source when the caller stops."""
        try:
            while True:
                try:
                    yield self.run(_next(source))
                except StopAsyncIteration:
                    return
        finally:
            self.run(source.aclose())  # type: ignore[attr-defined]

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source)


class _Group:
    """One group of words, for example `client.tasks`."""

    def __init__(self, group: object, loop: _Loop) -> None:
        _copy_words(group, self, loop)


def _copy_words(source: object, target: object, loop: _Loop) -> None:
    """Looks at the class: what an instance makes when first asked must be made on the loop's thread."""
    for name, _ in inspect.getmembers(type(source), inspect.isfunction):
        if not name.startswith("_") and name not in vars(type(target)):
            setattr(target, name, _plain(getattr(source, name), loop))


def _plain(method: Callable[..., Any], loop: _Loop) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(method):

        @functools.wraps(method)
        def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
            return loop.iterate(method(*args, **kwargs))

        return iterate

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return loop.run(method(*args, **kwargs))

    return call


class SyncClient:
    """The yard for plain code. Takes the arguments of `Client`; use it as a context manager, or close it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._client = Client(*args, **kwargs)
        self._loop = _Loop()
        for name in GROUPS:
            setattr(self, name, _Group(getattr(self._client, name), self._loop))
        _copy_words(self._client, self, self._loop)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"SyncClient has no {name!r}")

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session, the channels and the thread; tasks go on. Idempotent."""
        loop, self._loop = self._loop, None  # type: ignore[assignment]
        if loop is not None:
            loop.run(self._client.close())
            loop.stop()
