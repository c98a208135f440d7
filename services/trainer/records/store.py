"""The rows of frameworks and jobs: writes what a step wants kept, and gives it back. Knows SQL, decides nothing.

Every function handed to the database runs inside one transaction.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.chassis.requests.marks import Kept as KeptAnswer
from services.chassis.steps.errands import Errand
from services.chassis.storage.sqlite import Database
from services.trainer.model import Checkpoint, JobState
from services.trainer.records.sweeps import put_sweep, put_trial
from services.trainer.state import effects as e
from services.trainer.state.effects import PutSweep, PutTrial
from services.trainer.state.jobs import Instance, Job

SMALL_ROWS = 12
"""So few are committed without a hop to the database's thread."""
EPOCH_REVISIONS = 1_000_000
"""After a start numbering of revisions goes on beyond all that was ever shown."""

_PACK = msgspec.msgpack.Encoder().encode
_JOB = msgspec.msgpack.Decoder(Job)
_INSTANCE = msgspec.msgpack.Decoder(Instance)
_CHECKPOINT = msgspec.msgpack.Decoder(Checkpoint)


class FrameworkRow(msgspec.Struct, frozen=True):
    """A registered definition."""

    id: str
    version: int
    document: str
    digest: str
    account: str
    time_ms: int


Part = tuple[str, int, int]
"""Of a submission: instances of a role, from an index on, so many."""


class BatchRow(msgspec.Struct, frozen=True):
    """A submission of seats; `content` is set by the engine before it is written."""

    number: int
    job: int
    account: str
    parts: tuple[Part, ...]
    content: bytes


class Recovered(msgspec.Struct, frozen=True):
    """What is there after a start."""

    epoch: int
    next_job: int
    next_batch: int
    next_turn: int
    revision: int
    jobs: list[tuple[Job, list[Instance]]]
    batches: list[BatchRow]


class JobStore:
    """The repository of jobs, on the trainer's database."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self.database = database
        self._sql = sql

    async def persist(
        self,
        rows: Sequence[e.Row],
        batches: Sequence[BatchRow],
        errands: Sequence[Errand] = (),
        answers: Sequence[tuple[KeptAnswer[int], int]] = (),
    ) -> None:
        """All or none, durable on return. `batches`: what rows InsertBatch of the step come to."""
        values: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for row in rows:
            _ROWS[type(row)](row, values)
        for batch in batches:
            values["insert_batch"].append(
                (batch.number, batch.job, batch.account, json.dumps(batch.parts), batch.content)
            )
        values["insert_errand"] += [(one.number, one.kind, one.account, one.content) for one in errands]
        last = max((batch.number for batch in batches), default=0)

        def change(c: sqlite3.Connection) -> None:
            for name in _ORDER:
                if values[name]:
                    c.executemany(self._sql[name], values[name])
            if last:
                c.execute(self._sql["set_meta"], ("batch", last))
            for kept, job in answers:
                kept(c, job)

        await self.database.write(change, is_small=len(rows) <= SMALL_ROWS)

    async def begin(self) -> Recovered:
        """Everything that has not ended; the trainer's own epoch is one more from now on."""
        return await self.database.write(self._begin)

    def _begin(self, c: sqlite3.Connection) -> Recovered:
        epoch, last_batch = self._meta(c, "epoch") + 1, self._meta(c, "batch")
        c.execute(self._sql["set_meta"], ("epoch", epoch))
        last_job, revision = c.execute(self._sql["last_numbers"]).fetchone()
        jobs = [_JOB.decode(content) for (content,) in c.execute(self._sql["live_jobs"]).fetchall()]
        return Recovered(
            epoch,
            last_job + 1,
            last_batch + 1,
            max((job.turn for job in jobs), default=0) + 1,
            revision + EPOCH_REVISIONS,
            [(job, self._instances(c, job.number)) for job in jobs],
            [
                BatchRow(
                    number,
                    job,
                    account,
                    tuple((role, first, count) for role, first, count in json.loads(parts)),
                    content,
                )
                for number, job, account, parts, content in c.execute(self._sql["all_batches"])
            ],
        )

    def _meta(self, c: sqlite3.Connection, name: str) -> int:
        found = c.execute(self._sql["get_meta"], (name,)).fetchone()
        return int(found[0]) if found else 0

    def _instances(self, c: sqlite3.Connection, job: int) -> list[Instance]:
        return [_INSTANCE.decode(content) for (content,) in c.execute(self._sql["instances"], (job,))]

    async def checkpoints(self, number: int) -> tuple[Checkpoint, ...]:
        """By role, index and name."""
        found = await self.database.read(lambda c: c.execute(self._sql["checkpoints"], (number,)).fetchall())
        return tuple(_CHECKPOINT.decode(content) for (content,) in found)

    async def outputs(self, number: int) -> list[tuple[str, str, int]]:
        """What was kept: role-index/path, digest, size."""
        return await self.database.read(lambda c: c.execute(self._sql["outputs"], (number,)).fetchall())

    async def expired(self, now_ms: int, ended_before_ms: int, most: int) -> list[tuple[int, str]]:
        """Number and account of ended jobs of which nothing is kept any longer."""
        values = {"now_ms": now_ms, "ended_before_ms": ended_before_ms, "most": most}
        return await self.database.read(lambda c: c.execute(self._sql["expired_jobs"], values).fetchall())

    async def clear(self, number: int, errands: Sequence[Errand]) -> None:
        """Every row about an ended job goes, and what follows from that is owed; its number is never given again."""

        def change(c: sqlite3.Connection) -> None:
            last_job, revision = c.execute(self._sql["last_numbers"]).fetchone()
            c.execute(self._sql["set_meta"], ("job", last_job))
            c.execute(self._sql["set_meta"], ("revision", revision))
            for (table,) in c.execute(self._sql["job_tables"]).fetchall():
                c.execute(f"DELETE FROM {table} WHERE job = ?", (number,))
            c.execute("DELETE FROM job WHERE number = ?", (number,))
            rows = [(one.number, one.kind, one.account, one.content) for one in errands]
            c.executemany(self._sql["insert_errand"], rows)

        await self.database.write(change)

    async def job(self, number: int) -> Job | None:
        """As it lies on disk."""
        found = await self.database.read(lambda c: c.execute(self._sql["get_job"], (number,)).fetchone())
        return _JOB.decode(found[0]) if found else None

    async def jobs_of_task(self, task: str) -> list[Job]:
        """What a task handed in."""
        query = self._sql["jobs_of_task"]
        found = await self.database.read(lambda c: c.execute(query, (task,)).fetchall())
        return [_JOB.decode(content) for (content,) in found]

    async def seats(self, number: int) -> list[tuple[str, int, str]]:
        """Role, index and task of every seat that instances of a job have had, in their order."""
        query = self._sql["seats_of_job"]
        return await self.database.read(lambda c: c.execute(query, (number,)).fetchall())

    async def instances(self, number: int) -> list[Instance]:
        """By role and index."""
        return await self.database.read(lambda c: self._instances(c, number))

    async def stacks(self, number: int) -> list[e.PutStacks]:
        """Where its instances stood when one was last found hanging, by role and index."""
        found = await self.database.read(lambda c: c.execute(self._sql["stacks"], (number,)).fetchall())
        return [e.PutStacks(number, *row) for row in found]

    async def jobs(self, **values: Any) -> list[Job]:
        """Newest first; see the query for what is asked."""
        found = await self.database.read(lambda c: c.execute(self._sql["list_jobs"], values).fetchall())
        return [_JOB.decode(content) for (content,) in found]

    # Frameworks

    async def register(
        self, framework_id: str, document: str, digest: str, account: str, now_ms: int
    ) -> tuple[FrameworkRow, bool]:
        """The next version of it, and whether there was none with this text at the end."""

        def change(c: sqlite3.Connection) -> tuple[FrameworkRow, bool]:
            latest = c.execute(self._sql["latest_framework"], (framework_id,)).fetchone()
            if latest is not None and latest[2] == digest:
                return FrameworkRow(framework_id, *latest), False
            version = latest[0] + 1 if latest else 1
            row = FrameworkRow(framework_id, version, document, digest, account, now_ms)
            c.execute(self._sql["insert_framework"], msgspec.structs.astuple(row))
            return row, True

        return await self.database.write(change)

    async def frameworks(self) -> list[FrameworkRow]:
        """Every version of each, by id, latest first."""
        found = await self.database.read(lambda c: c.execute(self._sql["all_frameworks"]).fetchall())
        return [FrameworkRow(*row) for row in found]


Values = dict[str, list[tuple[Any, ...]]]


def _put_job(row: e.PutJob, values: Values) -> None:
    job = row.job
    head = (job.number, job.account, job.name, job.framework, job.queue, job.state.value, job.revision)
    values["put_job"].append((*head, job.create_ms, job.end_ms, job.expire_ms, _PACK(job), job.origin))


def _put_instance(row: e.PutInstance, values: Values) -> None:
    one = row.instance
    values["put_instance"].append((row.job, one.role, one.index, _PACK(one)))


def _drop_instance(row: e.DropInstance, values: Values) -> None:
    values["drop_instance"].append((row.job, row.role, row.index))


def _insert_outcome(row: e.InsertOutcome, values: Values) -> None:
    values["insert_outcome"].append((row.job, row.outcome.value, row.reason, row.message, row.time_ms))


def _insert_condition(row: e.InsertCondition, values: Values) -> None:
    one = row.condition
    found = (row.job, one.kind.value, one.is_true, one.reason, one.message, one.time_ms, one.revision)
    values["insert_condition"].append(found)


def _insert_batch(row: e.InsertBatch, values: Values) -> None:
    """Its content is the engine's: see `persist`."""


def _drop_batch(row: e.DropBatch, values: Values) -> None:
    values["drop_batch"].append((row.batch,))


def _insert_seat(row: e.InsertSeat, values: Values) -> None:
    values["insert_seat"].append((row.job, row.role, row.index, row.task))


def _put_checkpoint(row: e.PutCheckpoint, values: Values) -> None:
    one = row.checkpoint
    values["put_checkpoint"].append((row.job, one.role, one.index, one.name, _PACK(one)))


def _drop_checkpoint(row: e.DropCheckpoint, values: Values) -> None:
    key = (row.job, row.role, row.index, row.name)
    values["put_checkpoint"] = [one for one in values["put_checkpoint"] if one[:4] != key]
    values["drop_checkpoint"].append(key)


def _put_outputs(row: e.PutOutputs, values: Values) -> None:
    values["put_output"] += [(row.job, row.role, row.index, *output) for output in row.outputs]


def _put_stacks(row: e.PutStacks, values: Values) -> None:
    values["put_stacks"].append(msgspec.structs.astuple(row))


def _drop_stacks(row: e.DropStacks, values: Values) -> None:
    values["drop_stacks"].append((row.job,))


_ROWS: dict[type, Any] = {
    e.PutJob: _put_job,
    e.PutInstance: _put_instance,
    e.DropInstance: _drop_instance,
    e.InsertOutcome: _insert_outcome,
    e.InsertCondition: _insert_condition,
    e.InsertBatch: _insert_batch,
    e.DropBatch: _drop_batch,
    e.InsertSeat: _insert_seat,
    e.PutStacks: _put_stacks,
    e.DropStacks: _drop_stacks,
    PutSweep: put_sweep,
    PutTrial: put_trial,
    e.PutCheckpoint: _put_checkpoint,
    e.DropCheckpoint: _drop_checkpoint,
    e.PutOutputs: _put_outputs,
}
# What is dropped goes last: a batch may be made and answered within one transaction of many steps. A checkpoint may be
# dropped and come again.
_ORDER = (
    "put_job", "put_instance", "drop_instance", "insert_outcome", "insert_condition", "insert_batch", "drop_batch",
    "insert_errand", "insert_seat", "put_sweep", "put_trial", "drop_checkpoint", "put_checkpoint", "put_output",
    "drop_stacks", "put_stacks",
)  # fmt: skip

ENDED = tuple(state.value for state in JobState if state.has_ended)
