"""Accounts, tokens and join tokens: the rows, and who a token speaks for. Secrets are stored as hashes only."""

import sqlite3
from collections.abc import Collection

import msgspec

from services.chassis.clock import Clock
from services.chassis.requests.marks import Kept, nothing_kept
from services.chassis.security import AGENT, Principal, TokenInvalid, hash_secret
from services.scheduler.access.revocations import Revocations
from services.scheduler.records.store import SchedulerStore
from services.scheduler.refusals import (
    AccountExists,
    AccountNameUsed,
    AccountNotFound,
    NodeNameTaken,
    TokenNotFound,
)

AGENT_TTL_MS = 24 * 3_600_000
REMEMBERED_TOKENS = 10_000


class AccountRow(msgspec.Struct, frozen=True):
    name: str
    create_ms: int


class TokenRow(msgspec.Struct, frozen=True):
    id: str
    account: str
    role: str
    node: str
    comment: str
    create_ms: int
    # 0: never.
    expire_ms: int


def token_id(secret: str) -> str:
    """A token's public name; says nothing about the secret."""
    return hash_secret(secret).hex()[:16]


class Accounts:
    """The repository. Answers about tokens are remembered until one is revoked."""

    def __init__(self, store: SchedulerStore, clock: Clock) -> None:
        self._database = store.database
        self._sql = store.sql
        self._clock = clock
        self._known: dict[bytes, TokenRow] = {}
        self.revocations = Revocations()

    async def authenticate(self, secret: str) -> Principal:
        """Who a stored token speaks for. Raises `TokenInvalid`."""
        digest = hash_secret(secret)
        row = self._known.get(digest)
        if row is None:
            generation = self.revocations.generation
            row = await self._database.read(lambda c: self._by_hash(c, digest))
            if row is None:
                raise TokenInvalid()
            if generation == self.revocations.generation:  # else it may have been revoked meanwhile
                self._remember(digest, row)
        if row.expire_ms and row.expire_ms < self._clock.now_ms():
            raise TokenInvalid("the token has expired")
        return Principal(role=row.role, account=row.account, node=row.node, token_id=row.id)

    def _remember(self, digest: bytes, row: TokenRow) -> None:
        if len(self._known) >= REMEMBERED_TOKENS:
            self._known.clear()
        self._known[digest] = row

    def _by_hash(self, connection: sqlite3.Connection, digest: bytes) -> TokenRow | None:
        found = connection.execute(self._sql["token_by_hash"], (digest,)).fetchone()
        return TokenRow(*found) if found else None

    async def put_token(
        self,
        secret: str,
        account: str,
        role: str,
        *,
        comment: str = "",
        expire_ms: int = 0,
        node: str = "",
        kept: Kept[TokenRow] = nothing_kept,
    ) -> TokenRow:
        """Stores a token; storing it again changes nothing."""
        row = TokenRow(token_id(secret), account, role, node, comment, self._clock.now_ms(), expire_ms)
        values = (row.id, hash_secret(secret), account, role, node, comment, row.create_ms, expire_ms)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(self._sql["put_token"], values)
            kept(connection, row)

        await self._database.write(change)
        return row

    async def put_agent_token(self, secret: str, node: str, expire_ms: int) -> None:
        await self.put_token(secret, "", AGENT, node=node, expire_ms=expire_ms)

    async def prune(self, now_ms: int) -> None:
        """Drops tokens that expired a while ago; until then their owners are told so."""
        values = (now_ms - AGENT_TTL_MS,)
        await self._database.write(lambda c: c.execute(self._sql["delete_expired_tokens"], values))

    async def get_token(self, identifier: str) -> TokenRow:
        row = await self._database.read(lambda c: c.execute(self._sql["get_token"], (identifier,)).fetchone())
        if row is None:
            raise TokenNotFound(
                f"there is no token {identifier!r}", field="token_id", next_step="yard tokens ls"
            )
        return TokenRow(*row)

    async def list_tokens(self, account: str | None, after: str, most: int) -> list[TokenRow]:
        values = {"after": after, "account": account, "most": most}
        return await self._database.read(
            lambda c: [TokenRow(*row) for row in c.execute(self._sql["list_tokens"], values)]
        )

    async def revoke(self, identifier: str, kept: Kept[None] = nothing_kept) -> None:
        """Ends a token at once, with the streams that it opened."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(self._sql["delete_token"], (identifier,))
            kept(connection, None)

        await self._database.write(change)
        self.forget_tokens()

    def forget_tokens(self) -> None:
        """Tokens were deleted: what is remembered of any, here or in another service, is asked anew."""
        self._known.clear()
        self.revocations.add()

    async def create(self, name: str, kept: Kept[AccountRow] = nothing_kept) -> AccountRow:
        row = AccountRow(name, self._clock.now_ms())

        def change(connection: sqlite3.Connection) -> None:
            if connection.execute(self._sql["get_account"], (name,)).fetchone():
                raise AccountExists(f"there is an account {name!r} already", field="name")
            if connection.execute(self._sql["task_of_account"], (name,)).fetchone():
                raise AccountNameUsed(
                    f"an account {name!r} was deleted and its tasks are still kept", field="name",
                    next_step="choose another name",
                )  # fmt: skip
            connection.execute(self._sql["insert_account"], (name, row.create_ms))
            kept(connection, row)

        await self._database.write(change)
        return row

    async def ensure(self, name: str) -> None:
        """Makes the account if it is not there."""
        if await self._get(name) is None:
            values = (name, self._clock.now_ms())
            await self._database.write(lambda c: c.execute(self._sql["insert_account"], values))

    async def _get(self, name: str) -> AccountRow | None:
        row = await self._database.read(lambda c: c.execute(self._sql["get_account"], (name,)).fetchone())
        return AccountRow(*row) if row else None

    async def require(self, name: str, field: str) -> AccountRow:
        row = await self._get(name)
        if row is None:
            raise AccountNotFound(f"there is no account {name!r}", field=field, next_step="yard accounts ls")
        return row

    async def list(self, after: str, most: int) -> "list[AccountRow]":
        return await self._database.read(
            lambda c: [AccountRow(*row) for row in c.execute(self._sql["list_accounts"], (after, most))]
        )

    async def delete(self, name: str, kept: Kept[None] = nothing_kept) -> None:
        """Removes the account and ends its tokens."""

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(self._sql["delete_account"], (name,))
            connection.execute(self._sql["delete_tokens_of_account"], (name,))
            connection.execute(self._sql["delete_contacts_of_account"], (name,))
            connection.execute(self._sql["delete_share"], (name,))
            connection.execute(self._sql["delete_uses_of_account"], (name,))
            connection.execute(self._sql["delete_deliveries_of_account"], (name,))
            connection.execute(self._sql["delete_messages_of_account"], (name,))
            kept(connection, None)

        await self._database.write(change)
        self.forget_tokens()

    async def put_join_token(
        self,
        secret: str,
        node: str,
        expire_ms: int,
        *,
        is_reusable: bool = False,
        kept: Kept[None] = nothing_kept,
    ) -> None:
        values = (hash_secret(secret), node, expire_ms, is_reusable)

        def change(connection: sqlite3.Connection) -> None:
            connection.execute(self._sql["put_join_token"], values)
            kept(connection, None)

        await self._database.write(change)

    async def use_join_token(
        self, digest: bytes, node: str, now_ms: int, taken: Collection[str]
    ) -> str | None:
        """The node name that the token lets in, and the end of the token; None: it lets nobody in.

        A name that is ``taken`` needs a token that was made for it, or the yard's own: otherwise whoever is
        let in once could speak for any machine.
        """

        def change(connection: sqlite3.Connection) -> str | None:
            found = connection.execute(self._sql["get_join_token"], (digest,)).fetchone()
            if found is None or (found[1] and found[1] < now_ms) or (found[0] and node and found[0] != node):
                return None
            if node in taken and not found[0] and not found[2]:
                raise NodeNameTaken(
                    f"there is a node {node!r} already",
                    field="node",
                    next_step=f"yard nodes token --node {node}",
                )
            if not found[2]:
                connection.execute(self._sql["delete_join_token"], (digest,))
            return found[0] or node or f"node-{digest.hex()[:6]}"

        return await self._database.write(change)
