"""Frameworks by id and version: registered ones, those of installed packages, those that are shipped (S3.2)."""

from __future__ import annotations

import hashlib

from modelyard.training import Framework, compile_framework
from modelyard.training.frameworks import catalogue
from modelyard.v1 import framework_pb2 as pb
from services.trainer.plugins.host import Plugins
from services.trainer.records.store import FrameworkRow, JobStore


class Frameworks:
    """All of them, in memory; what is registered is on disk before. Who registers an id hides what is shipped."""

    def __init__(self, store: JobStore, plugins: Plugins) -> None:
        self._store = store
        self._plugins = plugins
        self._rows: dict[tuple[str, int], FrameworkRow] = {}
        self._latest: dict[str, int] = {}
        self._compiled: dict[tuple[str, int], Framework] = {}

    async def open(self) -> None:
        """Takes up what was registered."""
        for row in await self._store.frameworks():
            self._take(row)

    def _take(self, row: FrameworkRow) -> None:
        self._rows[row.id, row.version] = row
        self._latest[row.id] = max(row.version, self._latest.get(row.id, 0))

    async def register(
        self, framework_id: str, document: str, account: str, now_ms: int
    ) -> tuple[FrameworkRow, bool]:
        """The next version of what the text, which was compiled before, defines; whether it is new."""
        digest = hashlib.sha256(document.encode()).hexdigest()
        row, is_new = await self._store.register(framework_id, document, digest, account, now_ms)
        self._take(row)
        return row, is_new

    def find(self, framework_id: str, version: int = 0) -> Framework | None:
        """Version 0: the latest that is registered, else the one of a package, else the one that is shipped."""
        version = version or self._latest.get(framework_id, 0)
        if not version:
            return catalogue.shipped().get(framework_id) or self._plugins.find(framework_id)
        known = self._compiled.get((framework_id, version))
        row = self._rows.get((framework_id, version))
        if known is None and row is not None:
            known = self._compiled[framework_id, version] = compile_framework(row.document)
        return known

    def version(self, framework_id: str) -> int:
        """The version that `find` gives where none is named; 0: it is not registered."""
        return self._latest.get(framework_id, 0)

    def row(self, framework_id: str, version: int = 0) -> FrameworkRow | None:
        """What was registered."""
        return self._rows.get((framework_id, version or self._latest.get(framework_id, 0)))

    def versions(self, framework_id: str) -> list[FrameworkRow]:
        """Of one id, latest first."""
        found = [row for row in self._rows.values() if row.id == framework_id]
        return sorted(found, key=lambda row: -row.version)

    def known(self) -> tuple[str, ...]:
        """Every id."""
        return tuple(sorted({*catalogue.shipped(), *self._plugins.known(), *self._latest}))

    def origin(self, framework_id: str) -> pb.FrameworkOrigin.ValueType:
        """Where what `find` gives comes from."""
        if framework_id in self._latest:
            return pb.FRAMEWORK_ORIGIN_REGISTERED
        is_shipped = framework_id in catalogue.shipped()
        return pb.FRAMEWORK_ORIGIN_SHIPPED if is_shipped else pb.FRAMEWORK_ORIGIN_PLUGIN
