"""How long ended tasks are kept: their rows, what they wrote, and their claims on artefacts.

Owns nothing that lives: a task is let go of when its outcome, an array's its own, is older than it is to be kept and
nothing unfinished waits for it. Walks history from its oldest end, deletes in portions that a commit does not notice,
and pauses between them. What it does may be cut short anywhere and is done again.
"""

import asyncio
from collections.abc import Sequence

from modelyard.v1 import agent_link_pb2
from services.chassis.clock import Clock
from services.chassis.errors import ServiceError
from services.chassis.logs import get_logger
from services.scheduler.archive.logs import LogFiles
from services.scheduler.archive.past import Past, UnusedSpec
from services.scheduler.engine import Engine
from services.scheduler.intake.inputs import Inputs
from services.scheduler.model import format_task_id, number_of
from services.scheduler.state.events import SpecsRetired

ROUND_S = 60.0
PAUSE_S = 0.02
# Rows of history that are looked at, and tasks that are deleted, at a time.
LOOK_ROWS = 2_000
PORTION_TASKS = 50
# Specifications are looked through that often, or as often as tasks go.
SPECS_EVERY_MS = 6 * 3_600_000
DAY_MS = 86_400_000

_log = get_logger("scheduler.retention")


class Retention:
    """``run`` is a loop that the service starts; ``keep_days`` 0: for ever."""

    def __init__(
        self, engine: Engine, past: Past, logs: LogFiles, inputs: Inputs, clock: Clock, keep_days: float
    ) -> None:
        self._engine = engine
        self._past = past
        self._logs = logs
        self._inputs = inputs
        self._clock = clock
        self._keep_ms = round(keep_days * DAY_MS)
        # What a round looked at is not looked at again before a restart.
        self._seen_revision = 0
        # Specifications that nobody used, and that no new task can be given any more.
        self._retired: list[UnusedSpec] = []

    async def run(self) -> None:
        """For ever; a store or a disk that does not answer is asked again later."""
        specs_ms = 0
        while self._keep_ms:
            try:
                await self.prune()
                if self._clock.monotonic_ms() >= specs_ms or self._retired:
                    specs_ms = self._clock.monotonic_ms() + min(SPECS_EVERY_MS, self._keep_ms)
                    await self.prune_specs()
            except ServiceError as error:
                _log.warning("retention_failed", reason=error.reason, message=error.message)
            await self._clock.sleep(ROUND_S)

    async def prune(self) -> int:
        """Lets go of every task whose time is over; how many."""
        before_ms = self._clock.now_ms() - self._keep_ms
        count = 0
        while True:
            found, last = await self._past.ended(self._seen_revision, before_ms, LOOK_ROWS)
            live = self._engine.state.tasks
            keys = [key for key in found if key not in live]
            if keys:
                awaited = await self._past.awaited()
                keys = [key for key in keys if key not in awaited]
                await self._let_go(keys)
                count += len(keys)
            if last == self._seen_revision:
                break
            # What is awaited is met again after a restart: it is rare.
            self._seen_revision = last
        if count:
            _log.info("ended_tasks_pruned", tasks=count)
        return count

    async def _let_go(self, keys: Sequence[int]) -> None:
        for key in keys:
            # Elements first: an array is found again until all of it is gone.
            while elements := await self._past.elements(key, PORTION_TASKS):
                await self._let_go_portion(elements)
        for begin in range(0, len(keys), PORTION_TASKS):
            await self._let_go_portion(keys[begin : begin + PORTION_TASKS])
        await asyncio.to_thread(self._logs.remove, {number_of(key) for key in keys})

    async def _let_go_portion(self, keys: Sequence[int]) -> None:
        """Claims first: while the rows are there they can be found again."""
        for key, payload in await self._past.outcomes(keys):
            result = agent_link_pb2.TaskExited.FromString(payload).result
            if result.outputs or result.value_digest:
                await self._inputs.release_outputs(format_task_id(key))
        await self._past.delete(keys)
        await asyncio.sleep(PAUSE_S)

    async def prune_specs(self) -> None:
        """Removes specifications that no task refers to: first nobody can be given them, a round later they go."""
        unused = await self._past.unused_specs()
        going = {spec.number for spec in self._retired} & {spec.number for spec in unused}
        for spec in unused:
            if spec.number in going:
                if await self._is_released(spec):
                    await self._past.delete_spec(spec.number)
                await asyncio.sleep(PAUSE_S)
        fresh = [spec for spec in unused if spec.number not in going]
        if fresh:
            self._engine.post(SpecsRetired(frozenset(spec.number for spec in fresh)))
        self._retired = fresh

    async def _is_released(self, spec: UnusedSpec) -> bool:
        """Gives up what it refers to, unless others need it too; False: somebody is about to."""
        is_known = (spec.account, spec.body) in self._engine.state.specs
        if is_known or not spec.holder or await self._past.is_shared(spec):
            return True
        return await self._inputs.release(spec.holder)
