"""What a submission's dependencies are on: found, allowed, and how it ended where only the database knows.

The machine checks again what is still live: what ends between the look here and the step there is looked at anew.
"""

import asyncio
from collections.abc import Sequence

from services.scheduler.engine import Engine
from services.scheduler.model import Dependency, Spec, array_of, format_task_id, index_of
from services.scheduler.refusals import InvalidSpec, TaskNotFound
from services.scheduler.state.events import EndedTask

SETTLE_S = 10.0


class Prerequisites:
    """Looks tasks up for one scheduler."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def check_items(
        self, specs: Sequence[Spec], items: Sequence[tuple[int, str]], *, are_specs: bool
    ) -> None:
        """Raises `InvalidSpec` for an item that would wait for itself or for a later one."""
        if not any(spec.dependencies for spec in specs):
            return
        for number, (index, _) in enumerate(items):
            for place, one in enumerate(specs[index].dependencies):
                if one.item >= number:
                    what = "spec" if are_specs else "item"
                    field = f"specs[{index}].dependencies[{place}].item_index"
                    raise InvalidSpec(
                        f"{field}: {what} {number} cannot wait for {what} {one.item}", field=field,
                        next_step="put what must be first before it: only earlier ones can be waited for",
                    )  # fmt: skip
                if one.item >= 0 and one.is_element_wise:
                    self._check_size(specs[index], specs[items[one.item][0]], index, place)

    def _check_size(self, spec: Spec, other: Spec, index: int, place: int) -> None:
        if other.array_size != spec.array_size:
            field = f"specs[{index}].dependencies[{place}].element_wise"
            had = f"an array of {other.array_size}" if other.array_size else "no array"
            raise InvalidSpec(
                f"{field}: it has {spec.array_size} elements, and what it waits for is {had}", field=field,
                next_step="give both the same array_size, or wait for the whole of the other one",
            )  # fmt: skip

    async def ended(self, specs: Sequence[Spec], account: str) -> dict[int, EndedTask]:
        """What the database knows of tasks that are not live. Raises `TaskNotFound`, `InvalidSpec`."""
        found: dict[int, EndedTask] = {}
        for index, spec in enumerate(specs):
            for place, one in enumerate(spec.dependencies):
                if one.on:
                    known = await self._look(spec, one, account, index, place)
                    if known is not None:
                        found[one.on] = known
        return found

    async def _look(
        self, spec: Spec, one: Dependency, account: str, index: int, place: int
    ) -> EndedTask | None:
        """None: it is live, and the machine sees what becomes of it."""
        state, key = self._engine.state, one.on
        live = state.tasks.get(key) or state.tasks.get(array_of(key))
        if live is not None:
            is_there = live.key == key or (live.tally is not None and index_of(key) < live.spec.array_size)
            if live.account != account or not is_there:
                raise self._absent(key, index, place)
            if one.is_element_wise:
                self._check_size(spec, live.spec, index, place)
                is_partial = live.tally is not None and live.tally.is_partial
                return await self._engine.store.get_ended(key, with_elements=True) if is_partial else None
            if live.key == key or live.tally is None or not live.tally.is_partial:
                return None
            return None if live.tally.is_left(index_of(key)) else await self._settled(key)
        return await self._of_ended(spec, one, account, index, place)

    async def _of_ended(
        self, spec: Spec, one: Dependency, account: str, index: int, place: int
    ) -> EndedTask | None:
        stored = await self._engine.store.get_task(array_of(one.on))
        if stored is None or stored[0].account != account:
            raise self._absent(one.on, index, place)
        other = self._engine.state.specs.get((account, stored[0].body))
        size = other.array_size if other is not None else 0
        if index_of(one.on) >= size:
            raise self._absent(one.on, index, place)
        if one.is_element_wise and other is not None:
            self._check_size(spec, other, index, place)
        await self._settled(array_of(one.on))
        return await self._engine.store.get_ended(one.on, with_elements=one.is_element_wise)

    async def _settled(self, key: int) -> EndedTask | None:
        """How it ended, once that is on disk: the state is ahead of it for a moment."""
        with self._engine.watch() as changed:
            async with asyncio.timeout(SETTLE_S):
                while True:
                    changed.clear()
                    ended = await self._engine.store.get_ended(key, with_elements=False)
                    if ended.state is not None or key in self._engine.state.tasks:
                        return ended if ended.state is not None else None
                    await changed.wait()

    def _absent(self, key: int, index: int, place: int) -> TaskNotFound:
        field = f"specs[{index}].dependencies[{place}].task_id"
        return TaskNotFound(
            f"there is no task {format_task_id(key)}", field=field, next_step="yard tasks ls --all-times"
        )
