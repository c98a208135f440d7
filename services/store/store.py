"""The store's tables: who has which artefact, which blobs exist, what refers to what.

Owns every SQL statement of the service and the rules that have to hold inside one transaction (quota, all or
none, never take what is referred to). Knows nothing of files, requests or protobuf.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from services.chassis.storage.sqlite import Database, load_migrations, load_queries
from services.store.model import (
    Artifact,
    ArtifactInUse,
    ArtifactNotFound,
    QuotaExceeded,
    RequestIdReused,
    Wish,
)

PACKAGE = "services.store"
COLLECT_MOST = 256
DELETION_KEPT_MS = 24 * 3600 * 1000
"""How long a deletion's request id is remembered."""


class Blob(msgspec.Struct, frozen=True):
    """Bytes that some account has."""

    size_bytes: int
    quarantined: bool


class Totals(msgspec.Struct, frozen=True):
    """What the whole store holds."""

    blobs: int
    size_bytes: int


class Store:
    """The repository. Every method is one transaction and durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sql = load_queries(PACKAGE)

    @classmethod
    async def open(cls, path: Path) -> "Store":
        """Opens or creates the database; raises what Database.open raises."""
        return cls(await Database.open(path, load_migrations(PACKAGE)))

    async def close(self) -> None:
        await self._database.close()

    async def find(self, account: str, digest: str) -> Artifact | None:
        """The account's artefact, or None."""
        return await self._database.read(lambda db: self._find(db, account, digest))

    async def page(
        self,
        account: str,
        name: str,
        after: tuple[int, str],
        most: int,
        *,
        prefix: str = "",
        since_ms: int = 0,
    ) -> list[Artifact]:
        """Newest first, behind the position (create_time_ms, digest); those that are not older than `since_ms`."""
        values = {
            "account": account, "name": name, "time_ms": after[0], "digest": after[1], "most": most,
            "prefix": prefix, "since_ms": since_ms,
        }  # fmt: skip
        rows = await self._database.read(lambda db: self._run(db, "list_artifacts", values).fetchall())
        return [Artifact(*row) for row in rows]

    async def blob(self, digest: str) -> Blob | None:
        """The blob of this digest where somebody has it."""
        row = await self._database.read(lambda db: self._run(db, "get_blob", {"digest": digest}).fetchone())
        return Blob(row[0], bool(row[1])) if row else None

    async def used_bytes(self, account: str) -> int:
        """The sum of the account's artefacts."""
        return await self._database.read(lambda db: self._used(db, account))

    async def used_by_account(self) -> list[tuple[tuple[str], float]]:
        """The sums of the accounts that keep most, at most 100."""
        rows = await self._database.read(lambda db: self._run(db, "sum_accounts", {}).fetchall())
        return [((account,), float(size)) for account, size in rows]

    async def referred(
        self, account: str | None, digest: str, after: str, most: int
    ) -> tuple[Artifact | None, list[str]]:
        """An artefact and who refers to it, by holder from behind one on. `account` None: whoever has it."""

        def query(db: sqlite3.Connection) -> tuple[Artifact | None, list[str]]:
            values = {"account": account, "digest": digest, "after": after, "most": most}
            row = self._run(db, "get_artifact_of_any", values).fetchone()
            holders = self._run(db, "list_holders_after", values)
            return (Artifact(*row) if row else None), [holder for (holder,) in holders]

        return await self._database.read(query)

    async def totals(self) -> Totals:
        """How many blobs there are and their sum in bytes."""
        return await self._database.read(lambda db: Totals(*self._run(db, "sum_blobs", {}).fetchone()))

    async def record(
        self, wish: Wish, digest: str, size_bytes: int, quota_bytes: int, now_ms: int
    ) -> Artifact:
        """Gives the account the artefact, with the wish's holder; raises QuotaExceeded.

        Idempotent: a repeated upload keeps the time of the first, takes a new name if it has one, and starts
        the grace anew.
        """

        def change(db: sqlite3.Connection) -> Artifact:
            known = self._find(db, wish.account, digest)
            if known is None and quota_bytes:
                check_quota(wish.account, self._used(db, wish.account), size_bytes, quota_bytes)
            self._run(db, "upsert_blob", {"digest": digest, "size_bytes": size_bytes, "now_ms": now_ms})
            self._upsert(db, wish, digest, now_ms)
            return self._get(db, wish.account, digest)

        return await self._database.write(change)

    async def renew(self, wish: Wish, now_ms: int) -> Artifact | None:
        """As `record` for an artefact that the account has already; None where it has not."""

        def change(db: sqlite3.Connection) -> Artifact | None:
            if self._find(db, wish.account, wish.digest) is None:
                return None
            self._upsert(db, wish, wish.digest, now_ms)
            return self._get(db, wish.account, wish.digest)

        return await self._database.write(change)

    async def add_references(self, account: str, holder: str, digests: Sequence[str]) -> None:
        """All or none: raises ArtifactNotFound, which lists what is missing. Idempotent."""

        def change(db: sqlite3.Connection) -> None:
            missing = [d for d in digests if self._find(db, account, d) is None]
            if missing:
                raise ArtifactNotFound(
                    f"{len(missing)} of {len(digests)} artefacts are not in account {account}; "
                    f"the first is {missing[0]}.",
                    field="digests",
                    next_step="Upload them again.",
                    metadata={
                        "account": account,
                        "digests": ",".join(missing[:20]),
                        "count": str(len(missing)),
                    },
                )
            for digest in digests:
                self._refer(db, account, digest, holder)

        await self._database.write(change)

    async def remove_references(self, holder: str, account: str | None, now_ms: int) -> int:
        """Everything of this holder, in one account or (None) in all; returns how many. Idempotent."""

        def change(db: sqlite3.Connection) -> int:
            rows = self._run(db, "delete_references", {"holder": holder, "account": account}).fetchall()
            for owner, digest in rows:
                self._run(db, "mark_idle", {"account": owner, "digest": digest, "now_ms": now_ms})
            return len(rows)

        return await self._database.write(change)

    async def delete(self, account: str, digest: str, request_id: str, now_ms: int) -> bool:
        """Takes the artefact from the account; True where nobody has the blob any more.

        Repeating it with the same request id within a day is a success (False). Raises ArtifactNotFound,
        ArtifactInUse (which names holders), RequestIdReused.
        """

        def change(db: sqlite3.Connection) -> bool:
            if self._is_repeated(db, account, digest, request_id):
                return False
            self._check_deletable(db, account, digest)
            if request_id:
                values = {"account": account, "request_id": request_id, "digest": digest, "now_ms": now_ms}
                self._run(db, "insert_deletion", values)
            return self._drop(db, account, digest)

        return await self._database.write(change)

    async def collect(self, before_ms: int) -> tuple[int, list[str]]:
        """Drops at most 256 artefacts that nothing has referred to since `before_ms`.

        Returns how many, and the digests of the blobs that nobody has any more.
        """

        def change(db: sqlite3.Connection) -> tuple[int, list[str]]:
            idle = self._run(
                db, "list_collectable", {"before_ms": before_ms, "most": COLLECT_MOST}
            ).fetchall()
            return len(idle), [digest for account, digest in idle if self._drop(db, account, digest)]

        return await self._database.write(change)

    async def forget_deletions(self, now_ms: int) -> None:
        """Drops request ids that are older than a day."""
        values = {"before_ms": now_ms - DELETION_KEPT_MS}
        await self._database.write(lambda db: self._run(db, "prune_deletions", values).rowcount)

    async def quarantine(self, digest: str, now_ms: int) -> None:
        """Remembers that the bytes on the disk are not what they should be. `record` takes it back."""
        values = {"digest": digest, "now_ms": now_ms}
        await self._database.write(lambda db: self._run(db, "quarantine_blob", values).rowcount)

    def _run(self, db: sqlite3.Connection, name: str, values: Mapping[str, object]) -> sqlite3.Cursor:
        return db.execute(self._sql[name], values)

    def _find(self, db: sqlite3.Connection, account: str, digest: str) -> Artifact | None:
        row = self._run(db, "get_artifact", {"account": account, "digest": digest}).fetchone()
        return Artifact(*row) if row else None

    def _get(self, db: sqlite3.Connection, account: str, digest: str) -> Artifact:
        found = self._find(db, account, digest)
        if found is None:
            raise missing_artifact(account, digest)
        return found

    def _used(self, db: sqlite3.Connection, account: str) -> int:
        return int(self._run(db, "sum_account", {"account": account}).fetchone()[0])

    def _upsert(self, db: sqlite3.Connection, wish: Wish, digest: str, now_ms: int) -> None:
        values = {"account": wish.account, "digest": digest, "name": wish.name, "media_type": wish.media_type}
        self._run(db, "upsert_artifact", {**values, "now_ms": now_ms})
        if wish.holder:
            self._refer(db, wish.account, digest, wish.holder)

    def _refer(self, db: sqlite3.Connection, account: str, digest: str, holder: str) -> None:
        self._run(db, "insert_reference", {"holder": holder, "account": account, "digest": digest})
        self._run(db, "mark_referenced", {"account": account, "digest": digest})

    def _is_repeated(self, db: sqlite3.Connection, account: str, digest: str, request_id: str) -> bool:
        values = {"account": account, "request_id": request_id}
        row = self._run(db, "get_deletion", values).fetchone() if request_id else None
        if row and row[0] != digest:
            raise RequestIdReused(
                f"Request {request_id} deleted {row[0]}.",
                field="request_id",
                next_step="Use a new request id.",
            )
        return row is not None

    def _check_deletable(self, db: sqlite3.Connection, account: str, digest: str) -> None:
        artifact = self._get(db, account, digest)
        if artifact.reference_count:
            values = {"account": account, "digest": digest}
            holders = [row[0] for row in self._run(db, "list_holders", values).fetchall()]
            raise in_use(artifact, holders)

    def _drop(self, db: sqlite3.Connection, account: str, digest: str) -> bool:
        self._run(db, "delete_artifact", {"account": account, "digest": digest})
        return self._run(db, "delete_blob_if_unowned", {"digest": digest}).rowcount > 0


def check_quota(account: str, used_bytes: int, more_bytes: int, quota_bytes: int) -> None:
    """Raises QuotaExceeded where `more_bytes` do not fit."""
    if used_bytes + more_bytes > quota_bytes:
        raise QuotaExceeded(
            f"Account {account} stores {used_bytes} of {quota_bytes} bytes; {more_bytes} more do not fit.",
            next_step="Delete artefacts that are not needed, or ask for a larger quota.",
            metadata={
                "account": account,
                "used_bytes": str(used_bytes),
                "quota_bytes": str(quota_bytes),
                "needed_bytes": str(more_bytes),
            },
        )


def missing_artifact(account: str, digest: str) -> ArtifactNotFound:
    """The error that names both."""
    return ArtifactNotFound(
        f"Account {account} has no artefact {digest}.",
        field="digest",
        metadata={"account": account, "digest": digest},
    )


def in_use(artifact: Artifact, holders: Sequence[str]) -> ArtifactInUse:
    """The error that names up to ten holders."""
    more = artifact.reference_count - len(holders)
    listed = ", ".join(holders) + (f" and {more} more" if more else "")
    return ArtifactInUse(
        f"Artefact {artifact.digest} is referred to by {listed}.",
        field="digest",
        next_step="End what holds it, or remove its references, then delete it.",
        metadata={"holders": ",".join(holders), "reference_count": str(artifact.reference_count)},
    )
