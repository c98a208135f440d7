"""Curves of metrics: one series for each metric of each instance, thinned out as it grows (issue 5.7).

Owns the tables `series` and `point`. A job cannot fill the disk: a series keeps at most `POINTS_OF_SERIES` points,
fewer where a job has many series, in all some `POINTS_OF_JOB`. Where there would be more, every second one goes and
only every second one that comes is kept; the first and the latest stay.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from services.chassis.errors import ResourceExhausted
from services.chassis.requests.marks import Kept, nothing_kept
from services.chassis.storage.sqlite import Database
from services.trainer.state.jobs import Key

POINTS_OF_SERIES, POINTS_OF_SERIES_LEAST = 10_000, 100
POINTS_OF_JOB = 1_000_000
SERIES_OF_JOB = 10_000
SMALL = 4
"""So few points are committed without a hop to the database's thread."""
NAME_LENGTH = 100
STEP_MOST = 1 << 53


class TooManySeries(ResourceExhausted):
    """The job has told of too many different metrics; points of those that are known are still taken."""


class Point(msgspec.Struct, frozen=True):
    """One value. ``step`` None: where none was ever told, points are counted."""

    name: str
    step: int | None
    value: float
    time_ms: int


class Series(msgspec.Struct, frozen=True):
    """Its points by step: step, value, time in ms."""

    name: str
    role: str
    index: int
    points: list[tuple[int, float, int]]


class _Row(msgspec.Struct):
    """A series as it is written."""

    number: int
    seen: int
    kept: int
    stride: int
    last_step: int
    last_ms: int
    is_passing: int


class Metrics:
    """On the trainer's database."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self._database = database
        self._sql = sql

    async def put(self, job: int, key: Key, points: Sequence[Point], kept: Kept[None] = nothing_kept) -> None:
        """On disk when it returns, `kept` with it. The same point again changes nothing. Raises TooManySeries: then
        nothing was kept."""

        def change(c: sqlite3.Connection) -> None:
            refused = self._insert(c, job, key, points)
            if refused:
                raise TooManySeries(
                    f"j-{job}: {refused[:80]!r} would be one of more than {SERIES_OF_JOB} series",
                    field="points",
                )
            kept(c, None)

        await self._database.write(change, is_small=len(points) <= SMALL)

    async def put_heard(self, points: Sequence[tuple[int, Key, Point]]) -> int:
        """What agents have told, by job and instance; how many there was no room for."""
        if not points:
            return 0

        def change(c: sqlite3.Connection) -> int:
            return sum(bool(self._insert(c, job, key, [point])) for job, key, point in points)

        return await self._database.write(change, is_small=len(points) <= SMALL)

    def _insert(self, c: sqlite3.Connection, job: int, key: Key, points: Sequence[Point]) -> str:
        """The name of the first one that there is no room for."""
        found: dict[str, _Row] = {}
        refused, total = "", int(c.execute(self._sql["count_series"], (job,)).fetchone()[0])
        for point in points:
            row = found.get(point.name)
            if row is None:
                row = self._row(c, job, key, point.name, may_be_new=total < SERIES_OF_JOB)
                if row is None:
                    refused = refused or point.name
                    continue
                total += not row.seen
                found[point.name] = row
            self._take(c, row, point)
        most = max(POINTS_OF_SERIES_LEAST, min(POINTS_OF_SERIES, POINTS_OF_JOB // max(1, total)))
        for row in found.values():
            self._thin(c, row, most)
            values = (row.seen, row.kept, row.stride, row.last_step, row.last_ms, row.is_passing, row.number)
            c.execute(self._sql["put_series"], values)
        return refused

    def _row(self, c: sqlite3.Connection, job: int, key: Key, name: str, *, may_be_new: bool) -> _Row | None:
        values = (job, name, *key)
        if may_be_new:
            c.execute(self._sql["insert_series"], values)
        found = c.execute(self._sql["get_series"], values).fetchone()
        return _Row(*found) if found is not None else None

    def _take(self, c: sqlite3.Connection, row: _Row, point: Point) -> None:
        step = point.step
        if step is None:
            if row.seen and point.time_ms <= row.last_ms:
                # It was told before.
                return
            step = row.last_step + 1
        if row.is_passing and step != row.last_step:
            row.kept -= c.execute(self._sql["drop_point"], (row.number, row.last_step)).rowcount
        values = (row.number, step, point.value, point.time_ms)
        is_new = c.execute(self._sql["insert_point"], values).rowcount
        if not is_new:
            c.execute(self._sql["set_point"], values)
        if is_new:
            row.is_passing = int(row.seen % row.stride != 0)
        elif step != row.last_step:
            # It replaces one that was there to stay.
            row.is_passing = 0
        row.kept += is_new
        row.seen += is_new
        row.last_step, row.last_ms = step, point.time_ms

    def _thin(self, c: sqlite3.Connection, row: _Row, most: int) -> None:
        while row.kept > most:
            row.kept -= c.execute(self._sql["halve_points"], (row.number,)).rowcount
            row.stride *= 2

    async def read(
        self, job: int, names: Sequence[str], start: int, most: int, points_most: int, answer_most: int
    ) -> tuple[list[tuple[Series, int]], bool]:
        """From the start-th series on, by name, role and index: at most so many, fewer once there are `answer_most`
        points; each thinned out evenly to `points_most` with how many it keeps. And whether there are more."""
        values = {"job": job, "names": json.dumps(list(names)), "most": most + 1, "start": start}

        def query(c: sqlite3.Connection) -> tuple[list[tuple[Series, int]], bool]:
            found: list[tuple[Series, int]] = []
            told = 0
            rows = c.execute(self._sql["list_series"], values).fetchall()
            for number, name, role, place, count in rows[:most]:
                if found and told >= answer_most:
                    return found, True
                points = thinned(c.execute(self._sql["points"], (number,)).fetchall(), points_most)
                told += len(points)
                found.append((Series(name, role, place, points), count))
            return found, len(rows) > most

        return await self._database.read(query)


def thinned(points: list[tuple[int, float, int]], most: int) -> list[tuple[int, float, int]]:
    """So many of them, evenly, the first and the last among them."""
    if len(points) <= most:
        return points
    if most == 1:
        return points[-1:]
    last = len(points) - 1
    return [points[(number * last + (most - 1) // 2) // (most - 1)] for number in range(most)]
