"""Where the outcomes of calls arrive: of one call, or of many; and the parts in which many leave."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from modelyard.client.outcomes import TaskFailed, value_of
from modelyard.client.session import MOST_BYTES, MOST_ITEMS
from modelyard.client.specs import encode_params
from modelyard.v1 import task_pb2


class Single:
    """The sink of one call."""

    __slots__ = ("future", "task_id")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[task_pb2.TaskOutcome] = loop.create_future()
        self.task_id = ""

    def accepted(self, index: int, task_id: str) -> None:
        self.task_id = task_id

    def ended(self, index: int, outcome: task_pb2.TaskOutcome) -> None:
        if not self.future.done():
            self.future.set_result(outcome)

    def refused(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Many:
    """The sink of many calls: one future for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, return_exceptions: bool) -> None:
        self._future: asyncio.Future[None] = loop.create_future()
        self._values: list[Any] = []
        self._missing = 0
        self._complete = False
        self._return_exceptions = return_exceptions
        self.stored: dict[int, task_pb2.TaskOutcome] = {}

    def grow(self, count: int) -> int:
        """Makes room; the index of the first new item."""
        first = len(self._values)
        self._values.extend([None] * count)
        self._missing += count
        return first

    async def results(self) -> list[Any]:
        """All values, once there are no more parts to come."""
        self._complete = True
        if self._missing:
            await self._future
        elif self._future.done():
            self._future.result()
        return self._values

    def accepted(self, index: int, task_id: str) -> None:
        pass

    def ended(self, index: int, outcome: task_pb2.TaskOutcome) -> None:
        if outcome.result.value_digest:
            self.stored[index] = outcome
        else:
            try:
                self._values[index] = value_of(outcome)
            except TaskFailed as error:
                if not self._return_exceptions:
                    self.refused(error)
                self._values[index] = error
        self._missing -= 1
        if not self._missing and self._complete and not self._future.done():
            self._future.set_result(None)

    def refused(self, error: Exception) -> None:
        if not self._future.done():
            self._future.set_exception(error)


def chunks(params_list: Iterable[Mapping[str, Any]]) -> Iterable[list[str]]:
    """Encoded parameters in lists that fit one message."""
    chunk: list[str] = []
    size = 0
    for params in params_list:
        params_json = encode_params(params)
        size += len(params_json) + 8
        if chunk and (len(chunk) >= MOST_ITEMS or size > MOST_BYTES):
            yield chunk
            chunk, size = [], len(params_json) + 8
        chunk.append(params_json)
    if chunk:
        yield chunk
