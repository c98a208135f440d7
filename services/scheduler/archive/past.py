"""The database's rows of tasks that have ended, for whoever lets go of them. Knows SQL, decides nothing."""

import sqlite3
from collections.abc import Sequence

import msgspec

from services.scheduler.model import STRIDE, Spec
from services.scheduler.records.holders import old_holder_of
from services.scheduler.records.store import SchedulerStore

# With a column that names a task.
TASK_TABLES = ("change", "modification", "dependency", "grace")
PRUNED = "pruned_revision"


class UnusedSpec(msgspec.Struct, frozen=True):
    """A specification that no row refers to."""

    number: int
    account: str
    body: bytes
    # Who refers to the artefacts that it names; empty: it names none.
    holder: str


class Naming(msgspec.Struct, frozen=True):
    """Tasks that name a set of artefacts."""

    account: str
    keys: list[int]
    # Where to go on; 0: that is all.
    before: int


class Past:
    """Every call is one short transaction."""

    def __init__(self, store: SchedulerStore) -> None:
        self._database = store.database
        self._sql = store.sql

    async def ended(self, after_revision: int, before_ms: int, most: int) -> tuple[list[int], int]:
        """Tasks and arrays that ended before, in the order in which they did, and how far was looked."""

        def query(connection: sqlite3.Connection) -> tuple[list[int], int]:
            keys, last = [], after_revision
            for revision, key, state, time_ms in connection.execute(
                self._sql["history_from"], (after_revision, most)
            ):
                if time_ms >= before_ms:
                    break
                last = revision
                if state in (4, 5, 6) and key % STRIDE == 0:
                    keys.append(key)
            return keys, last

        return await self._database.read(query)

    async def awaited(self) -> set[int]:
        """Tasks and arrays whose outcome an unfinished task asks for, also after a restart."""
        return await self._database.read(
            lambda c: {key - key % STRIDE for (key,) in c.execute(self._sql["awaited_tasks"])}
        )

    async def elements(self, array: int, most: int) -> list[int]:
        """Elements of an array that have rows."""
        values = (array, array + STRIDE - 1, most)
        return await self._database.read(
            lambda c: [key for (key,) in c.execute(self._sql["some_elements"], values)]
        )

    async def naming(
        self, holder: str, account: str | None, before: int, looked_at: int, most: int
    ) -> Naming | None:
        """Tasks whose specification names the holder's artefacts, newest first, without elements, before a key; so many
        of the account's are looked at. None: no specification does. ``account`` None: whoever's it is."""

        def query(c: sqlite3.Connection) -> Naming | None:
            owner = c.execute(self._sql["account_of_inputs"], (holder,)).fetchone()
            if owner is None or account not in (None, owner[0]):
                return None
            values = {
                "account": owner[0],
                "before": before,
                "inputs": holder,
                "looked_at": looked_at,
                "most": most,
            }
            low = c.execute(self._sql["earlier_task"], values).fetchone()
            found = c.execute(self._sql["tasks_with_inputs"], {**values, "low": low[0] if low else 0})
            keys = [key for (key,) in found]
            return Naming(owner[0], keys, keys[-1] if len(keys) == most else low[0] if low else 0)

        return await self._database.read(query)

    async def outcomes(self, keys: Sequence[int]) -> list[tuple[int, bytes]]:
        """What agents said of their ends; of those that did not end at an agent nothing."""

        def query(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
            sql = self._sql["outcome_payload"]
            found = [(key, connection.execute(sql, (key,)).fetchone()) for key in keys]
            return [(key, row[0]) for key, row in found if row and row[0]]

        return await self._database.read(query)

    async def delete(self, keys: Sequence[int]) -> None:
        """All rows of these, and up to where history is gone."""

        def change(connection: sqlite3.Connection) -> None:
            rows = [(key,) for key in keys]
            pruned = connection.execute(self._sql["get_meta"], (PRUNED,)).fetchone()
            last = int(pruned[0]) if pruned else 0
            for row in rows:
                found = connection.execute(self._sql["last_revision_of_task"], row).fetchone()[0] or 0
                last = max(last, found)
            for table in TASK_TABLES:
                connection.executemany(self._sql[f"delete_{table}"], rows)
            connection.executemany(self._sql["delete_task"], rows)
            connection.executemany(self._sql["delete_gang"], [{"task": key} for (key,) in rows])
            connection.execute(self._sql["set_meta"], (PRUNED, str(last)))

        await self._database.write(change)

    async def unused_specs(self) -> list[UnusedSpec]:
        """Looks at every task's row, on the reader's thread."""
        return await self._database.read(
            lambda c: [
                UnusedSpec(number, account, body, inputs or _old_holder(account, body, head))
                for number, account, body, head, inputs in c.execute(self._sql["unused_specs"])
            ]
        )

    async def is_shared(self, spec: UnusedSpec) -> bool:
        """Whether another specification names the same artefacts."""
        found = (spec.holder, spec.number)
        return await self._database.read(
            lambda c: c.execute(self._sql["spec_with_inputs"], found).fetchone() is not None
        )

    async def delete_spec(self, number: int) -> None:
        """It is known that nothing refers to it, nor can."""
        await self._database.write(lambda c: c.execute(self._sql["delete_spec"], (number,)))


def _old_holder(account: str, body: bytes, head: bytes) -> str:
    return old_holder_of(account, body) if msgspec.json.decode(head, type=Spec).digests else ""
