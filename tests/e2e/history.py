"""What clients asked for and were told, written down as it happened; and what must be true of it afterwards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelyard.client.aio import Client
from modelyard.client.outcomes import ENDED, SUCCEEDED
from modelyard.v1 import task_pb2

CANCELLED = task_pb2.TASK_STATE_CANCELLED


@dataclass
class Call:
    """One acknowledged submission; `tokens` are what its attempts append to a file, one line each."""

    kind: str
    task_id: str
    token: str
    cancelled: bool = False
    told: list[int] = field(default_factory=list)
    """The states of the outcomes that the client was told."""


@dataclass
class History:
    """Every call of a run."""

    tokens: Path
    calls: list[Call] = field(default_factory=list)
    results: list[tuple[Any, Any]] = field(default_factory=list)
    """Pairs of expected and returned values of operator calls."""
    faults: list[str] = field(default_factory=list)

    async def check(self, client: Client) -> list[str]:
        """What is not as promised; empty: all is well."""
        wrong = [f"expected {want!r}, got {got!r}" for want, got in self.results if want != got]
        lines = Counter(self.tokens.read_text().split() if self.tokens.exists() else [])
        for call in self.calls:
            task = await client.tasks.get(call.task_id)
            wrong += [f"{call.kind} {call.task_id}: {text}" for text in self._check(call, task, lines)]
        return wrong

    def _check(self, call: Call, task: task_pb2.Task, lines: Counter[str]) -> list[str]:
        wrong = []
        ends = [change for change in task.history if change.state in ENDED]
        if task.state not in ENDED or (len(ends) != 1 and call.kind != "array"):
            wrong.append(f"state {task.state} with {len(ends)} outcomes")
        if any(state != task.state for state in call.told):
            wrong.append(f"the client was told {call.told}, the record says {task.state}")
        allowed = {SUCCEEDED, CANCELLED} if call.cancelled else {SUCCEEDED}
        if task.state not in allowed:
            wrong.append(f"state {task.state}: {task.error.cause} {task.error.message}")
        if call.kind == "array":
            wrong += self._check_array(task)
        elif call.token and task.state == SUCCEEDED and not 1 <= lines[call.token] <= task.attempt:
            wrong.append(f"{lines[call.token]} executions in {task.attempt} attempts")
        return wrong

    def _check_array(self, task: task_pb2.Task) -> list[str]:
        array = task.array
        counted = array.succeeded_count + array.failed_count + array.cancelled_count
        if array.active_count or counted != array.size or array.failed_count:
            return [f"array counts {array}"]
        return []
