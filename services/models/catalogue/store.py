"""The catalogue's tables: what a step wrote, and what is read that memory does not hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from modelyard.models import Inspection, inspection_in, inspection_out
from services.chassis.requests.marks import Kept
from services.chassis.steps.errands import Errand
from services.chassis.storage.sqlite import Database
from services.models.catalogue import effects as e
from services.models.catalogue.model import WorkKind
from services.models.catalogue.state import Live, Model, Revision, State, Version
from services.models.quotas import Quota
from services.models.surroundings.association import Association, Proved
from services.models.trust.words import Trust

SMALL_ROWS = 16
_PACK = msgspec.msgpack.Encoder().encode
_MODEL = msgspec.msgpack.Decoder(Model)
_VERSION = msgspec.msgpack.Decoder(Version)
_FIT = msgspec.msgpack.Decoder(Association)
_REVISION = msgspec.msgpack.Decoder(Revision)
_QUOTA = msgspec.msgpack.Decoder(Quota)


class Submitted(msgspec.Struct, frozen=True):
    """Work that is on disk, as it leaves for the scheduler."""

    number: int
    account: str
    model: str
    version: int
    content: bytes
    """A serialised SubmitTasksRequest with its id."""
    config: bytes = b""
    """What the task finds in its directory beside the component."""


_SUBMITTED = msgspec.msgpack.Decoder(Submitted)


class AliasChange(msgspec.Struct, frozen=True):
    """One line of a history."""

    number: int
    alias: str
    from_version: int
    to_version: int
    account: str
    comment: str
    time_ms: int


class CatalogueStore:
    """The repository of the catalogue."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self._database = database
        self._sql = sql

    async def persist(
        self,
        rows: Sequence[e.Row],
        begun: Sequence[Submitted],
        errands: Sequence[Errand],
        answers: Sequence[tuple[Kept[e.Answer], e.Answer]],
        revision: int,
        next_work: int,
        associations: Mapping[Proved, Association],
    ) -> None:
        """All or none, durable on return."""
        changes = [(name, values) for row in rows for name, values in _ROWS[type(row)](row)]
        # What is dropped goes last: work may begin and end within one step.
        changes.sort(key=lambda change: change[0].startswith("drop"))
        steps = [(one.number, one.account, _PACK(one)) for one in begun]

        def change(c: sqlite3.Connection) -> None:
            c.executemany(self._sql["insert_step"], steps)
            for name, values in changes:
                c.execute(self._sql[name], values)
            for of, one in associations.items():
                values = (one.key, one.kind, one.image, one.environment_key, _PACK(one))
                c.execute(self._sql["insert_association"], values)
                c.execute(self._sql["put_config_association"], (*of, one.key))
            c.execute(self._sql["set_meta"], ("revision", revision))
            c.execute(self._sql["set_meta"], ("next_work", next_work))
            c.executemany(
                self._sql["insert_errand"],
                [(one.number, one.kind, one.account, one.content) for one in errands],
            )
            for kept, answer in answers:
                kept(c, answer)

        await self._database.write(change, is_small=len(changes) <= SMALL_ROWS)

    async def associations(self) -> dict[Proved, Association]:
        """What each revision was tried in."""
        rows = await self._database.read(lambda c: c.execute(self._sql["all_config_associations"]).fetchall())
        return {
            (model, version, revision): _FIT.decode(content) for model, version, revision, content in rows
        }

    async def begin(self, trusted: Trust) -> tuple[State, list[Submitted]]:
        """Everything, and the work that is under way."""
        return await self._database.read(lambda c: self._begin(c, trusted))

    def _begin(self, c: sqlite3.Connection, trusted: Trust) -> tuple[State, list[Submitted]]:
        state = State(
            trusted=trusted, revision=self._meta(c, "revision"), next_work=self._meta(c, "next_work") or 1
        )
        for (content,) in c.execute(self._sql["all_models"]).fetchall():
            model = _MODEL.decode(content)
            state.models[model.name] = model
        for (content,) in c.execute(self._sql["all_versions"]).fetchall():
            live = self._live(c, _VERSION.decode(content))
            state.versions.setdefault(live.version.model, {})[live.version.version] = live
        for account, content in c.execute(self._sql["all_quotas"]).fetchall():
            state.quotas[account] = _QUOTA.decode(content)
        steps = c.execute(self._sql["all_steps"]).fetchall()
        return state, [_SUBMITTED.decode(content) for _, _, content in steps]

    def _live(self, c: sqlite3.Connection, version: Version) -> Live:
        key = version.model, version.version
        latest = self._config(c, *key, version.last_config)
        serving = latest
        if version.config_revision != version.last_config:
            serving = self._config(c, *key, version.config_revision)
        live = Live(version, latest=latest, serving=serving if version.config_revision else None)
        if version.work is not None and version.work.kind is WorkKind.PROBE:
            live.inspection = self._finding(c, *key)
        return live

    def _meta(self, c: sqlite3.Connection, name: str) -> int:
        found = c.execute(self._sql["get_meta"], (name,)).fetchone()
        return int(found[0]) if found else 0

    def _config(self, c: sqlite3.Connection, model: str, version: int, revision: int) -> Revision | None:
        found = c.execute(self._sql["get_config"], (model, version, revision)).fetchone()
        return _REVISION.decode(found[0]) if found else None

    def _finding(self, c: sqlite3.Connection, model: str, version: int) -> Inspection | None:
        found = c.execute(self._sql["get_finding"], (model, version)).fetchone()
        return inspection_in(msgspec.msgpack.decode(found[0])) if found else None

    async def config(self, model: str, version: int, revision: int) -> Revision | None:
        """Any revision of a version's configuration."""
        return await self._database.read(lambda c: self._config(c, model, version, revision))

    async def finding(self, model: str, version: int) -> Inspection | None:
        """What its files said; None: nothing could be made of them."""
        return await self._database.read(lambda c: self._finding(c, model, version))

    async def history(self, model: str, alias: str, before: int, most: int) -> list[AliasChange]:
        """Newest first."""
        values = {"model": model, "alias": alias, "before": before, "most": most}
        found = await self._database.read(lambda c: c.execute(self._sql["alias_changes"], values).fetchall())
        return [AliasChange(*row) for row in found]


Change = tuple[str, tuple[Any, ...]]


def _put_model(row: e.PutModel) -> list[Change]:
    return [("put_model", (row.model.name, _PACK(row.model)))]


def _put_version(row: e.PutVersion) -> list[Change]:
    one = row.version
    return [("put_version", (one.model, one.version, _PACK(one)))]


def _put_revision(row: e.PutRevision) -> list[Change]:
    return [("put_config", (row.model, row.version, row.revision.revision, _PACK(row.revision)))]


def _put_finding(row: e.PutFinding) -> list[Change]:
    return [("put_finding", (row.model, row.version, _PACK(inspection_out(row.inspection))))]


def _drop_version(row: e.DropVersion) -> list[Change]:
    key = row.model, row.version
    tables = (
        "drop_version",
        "drop_configs",
        "drop_config_associations",
        "drop_finding",
        "drop_usage",
        "drop_task_usage",
    )
    return [(name, key) for name in tables]


def _insert_alias_change(row: e.InsertAliasChange) -> list[Change]:
    return [("insert_alias_change", msgspec.structs.astuple(row))]


def _put_quota(row: e.PutQuota) -> list[Change]:
    return [("put_quota", (row.account, _PACK(row.quota)))]


def _drop_quota(row: e.DropQuota) -> list[Change]:
    return [("drop_quota", (row.account,))]


def _drop_work(row: e.DropWork) -> list[Change]:
    return [("drop_step", (row.number,))]


_ROWS: dict[type[e.Row], Callable[[Any], list[Change]]] = {
    e.PutModel: _put_model,
    e.PutVersion: _put_version,
    e.PutRevision: _put_revision,
    e.PutFinding: _put_finding,
    e.DropVersion: _drop_version,
    e.InsertAliasChange: _insert_alias_change,
    e.PutQuota: _put_quota,
    e.DropQuota: _drop_quota,
    e.DropWork: _drop_work,
}
