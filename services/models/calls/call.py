"""One call while it waits for its answer, or is computed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from modelyard.serving.wire import Buffer, Message, encode
from services.models.calls.asking import Asked
from services.models.calls.errors import CallExpired
from services.models.seams import Route


class Queue(Protocol):
    """Where a call waits: a lane."""

    def left(self, call: Call) -> None:
        """It waits no more."""
        ...


class Frame(Protocol):
    """Where a call is computed: a door."""

    def cancel(self, call: Call) -> None:
        """Nobody waits for its answer."""
        ...


class Call:
    """`answer` holds the frame's result, or a ServiceError; done: nobody waits for it any more."""

    __slots__ = (
        "account",
        "answer",
        "asked",
        "begun_ns",
        "deadline",
        "door",
        "ended_frames",
        "entered",
        "entered_ns",
        "lane",
        "likeness",
        "number",
        "on_part",
        "part_count",
        "route",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        route: Route,
        account: str,
        asked: Asked,
        deadline: float,
        on_part: Callable[[Message], None] | None = None,
    ) -> None:
        """`deadline` is on the event loop's clock."""
        loop = asyncio.get_running_loop()
        self.number = number
        self.route = route
        self.account = account
        self.asked = asked
        self.deadline = deadline
        self.on_part = on_part
        self.part_count = 0
        self.likeness = (account, asked.likeness) if route.is_batched_apart else asked.likeness
        self.answer: asyncio.Future[Message] = loop.create_future()
        self.entered = loop.time()
        self.entered_ns = time.perf_counter_ns()
        self.begun_ns = 0
        """When it was handed to its frame."""
        self.lane: Queue | None = None
        self.door: Frame | None = None
        self.ended_frames = 0
        """That took it along with them."""

    @property
    def may_be_repeated(self) -> bool:
        """Its frame has ended, and to compute it once more does no harm."""
        is_idempotent = self.route.served.config.serving.is_idempotent
        return is_idempotent and self.ended_frames <= 1 and not self.part_count

    def head(self, now: float) -> Mapping[str, Any]:
        """As frames read it."""
        asked = self.asked
        head: dict[str, Any] = {
            "kind": "call",
            "id": self.number,
            "left_ms": max(1, int((self.deadline - now) * 1000)),
            "inputs": asked.inputs,
        }
        if asked.outputs:
            head["outputs"] = asked.outputs
        if asked.parameters:
            head["parameters"] = asked.parameters
        return head

    def expire(self) -> None:
        """Its time is over, wherever it is."""
        if self.answer.done():
            return
        waited = "in its frame" if self.door is not None else "in the queue, and it never started"
        self.answer.set_exception(
            CallExpired(
                f"the call's time was over after {self.deadline - self.entered:.3g} s {waited}",
                next_step="allow more time, or deploy the model with more instances",
                metadata={
                    "model": self.route.served.key.model,
                    "started": str(self.door is not None).lower(),
                },
            )
        )
        self.abandon()

    def abandon(self) -> None:
        """Nobody waits for it: it does not start, or its frame is told. Idempotent."""
        if self.door is not None:
            self.door.cancel(self)
        elif self.lane is not None:
            self.lane.left(self)


def encoded(calls: Sequence[Call], now: float) -> list[Buffer]:
    """As frames read them, computed as one. Raises ValueError: no frame takes that."""
    if len(calls) == 1:
        [call] = calls
        return encode(dict(call.head(now)), call.asked.buffers)
    heads = [call.head(now) for call in calls]
    return encode({"kind": "batch", "calls": heads}, [one for call in calls for one in call.asked.buffers])
