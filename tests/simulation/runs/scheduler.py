"""What stands for the scheduler, its agents and the store: remembers every task and outcome, whoever dies."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from modelyard.v1 import task_pb2 as pb
from services.graph.runs.places import Place

Later = Callable[[float, Callable[[], None]], None]


class Task:
    """One task, and how it ended."""

    def __init__(self, number: int, run: int, place: Place, spec: pb.TaskSpec, params: str) -> None:
        self.id = f"t-{number}"
        self.run = run
        self.place = place
        self.spec = spec
        self.params: dict[str, Any] = json.loads(params or "{}")
        self.outcome: pb.TaskOutcome | None = None
        self.is_wanted = True
        self.end_ms = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it is wanted and has not ended."""
        return self.is_wanted and self.outcome is None


class Refused(Exception):
    """The scheduler takes none of them."""


class Scheduler:
    """Takes batches once per request id, executes on a few workers in any order, tells outcomes to whoever follows."""

    def __init__(self, chance: random.Random, later: Later, workers: int, fail_ratio: float) -> None:
        self.tasks: dict[str, Task] = {}
        self.started: list[Task] = []
        """In the order in which they were handed in."""
        self.artifacts: dict[str, bytes] = {}
        self.held: dict[str, set[str]] = {}
        """Digests by holder."""
        self.on_outcome: Callable[[Task], None] = lambda task: None
        self.now: Callable[[], float] = lambda: 0.0
        self._requests: dict[str, list[str]] = {}
        self._queue: list[Task] = []
        self._free = workers
        self._chance = chance
        self._later = later
        self._fail_ratio = fail_ratio

    def submit(self, run: int, places: tuple[Place, ...], request: pb.SubmitTasksRequest) -> list[str]:
        """The same request id gets the same tasks. Raises Refused."""
        known = self._requests.get(request.request_id)
        if known is not None:
            return known
        items = [(request.specs[item.spec_index], item.params_json) for item in request.items]
        if any('"is_refused":true' in params for _, params in items):
            raise Refused
        made = []
        for place, (spec, params) in zip(places, items, strict=True):
            task = Task(len(self.tasks) + 1, run, place, spec, params)
            self.tasks[task.id] = task
            made.append(task.id)
            self._queue.append(task)
            self.started.append(task)
        self._requests[request.request_id] = made
        self._begin()
        return made

    def cancel(self, ids: tuple[str, ...]) -> None:
        for id_ in ids:
            task = self.tasks[id_]
            task.is_wanted = False
            if task.outcome is None and task in self._queue:
                self._queue.remove(task)
                self._end(task, _cancelled())

    def withdraw(self, request_id: str) -> None:
        """What came of it, or still would, is not wanted."""
        self.cancel(tuple(self._requests.setdefault(request_id, [])))

    def hold(self, holder: str, digests: tuple[str, ...]) -> None:
        held = self.held.setdefault(holder, set())
        held.update(digests) if digests else held.clear()

    def put(self, data: bytes) -> str:
        digest = sha256(data).hexdigest()
        self.artifacts[digest] = data
        return digest

    def _begin(self) -> None:
        while self._free and self._queue:
            task = self._queue.pop(self._chance.randrange(len(self._queue)))
            self._free -= 1
            self._later(self._chance.random() * 100, lambda task=task: self._work(task))  # type: ignore[misc]

    def _work(self, task: Task) -> None:
        self._free += 1
        self._end(task, self._computed(task) if task.is_wanted else _cancelled())
        self._begin()

    def _end(self, task: Task, outcome: pb.TaskOutcome) -> None:
        outcome.task_id, outcome.attempt, outcome.node = task.id, 1, "n0"
        task.outcome, task.end_ms = outcome, self.now()
        self.on_outcome(task)

    def _computed(self, task: Task) -> pb.TaskOutcome:
        """A pure function of parameters and inputs; in a run that continues another nothing fails."""
        texts = {name: self._text(given) for name, given in task.spec.inputs.items()}
        seen = sha256(json.dumps([task.params, sorted(texts.items())], sort_keys=True).encode()).digest()
        if task.run == 1 and seen[1] < 256 * self._fail_ratio:
            error = pb.TaskError(cause=6, message=f"it raised {seen.hex()[:6]}")
            return pb.TaskOutcome(state=pb.TASK_STATE_FAILED, error=error)
        value = _value(task.params.get("gives", "text"), seen, texts)
        outcome = pb.TaskOutcome(state=pb.TASK_STATE_SUCCEEDED)
        if seen[3] < 30:
            outcome.result.value_digest = self.put(value.encode())
        else:
            outcome.result.value_json = value
        return outcome

    def _text(self, given: pb.Input) -> str:
        return (self.artifacts[given.digest] if given.digest else given.data).decode()


def _cancelled() -> pb.TaskOutcome:
    return pb.TaskOutcome(state=pb.TASK_STATE_CANCELLED, error=pb.TaskError(cause=9, message="cancelled"))


def _value(gives: str, seen: bytes, texts: dict[str, str]) -> str:
    if gives == "number":
        return str(seen[2] % 100)
    if gives == "list":
        return json.dumps(
            [seen[4 + index] % 7 if index % 2 else f"v{seen[4 + index] % 7}" for index in range(seen[2] % 6)]
        )
    if gives == "each":
        whole = texts.get("value")
        members = (
            json.loads(whole or "null") if whole is not None else [texts[name] for name in sorted(texts)]
        )
        if not isinstance(members, list):
            return "null"
        return json.dumps([sha256(json.dumps(member).encode()).hexdigest()[:6] for member in members])
    return f'"{seen.hex()[:8]}"'
