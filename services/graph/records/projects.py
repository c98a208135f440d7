"""Projects and their versions as rows (S1.2): immutable versions, saved by compare-and-set on the parent.

Owns the SQL of these tables, and what has to hold in a transaction. Who may do what, `projects/access.py` decides;
`projects/library.py` judges canvases. Knows no requests and no protobuf.
"""

import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.chassis.requests.marks import Kept
from services.chassis.storage.sqlite import Database
from services.graph.canvases import document
from services.graph.canvases.canvas import Canvas, Node, Subgraph
from services.graph.model import NameTaken, ProjectNotFound, Role, VersionConflict, VersionNotFound

VALID_MOST = 100_000
"""Canvases that are remembered to be right."""


class Project(msgspec.Struct, frozen=True):
    """One project, with whom its owner lets in."""

    number: int
    account: str
    name: str
    create_time_ms: int
    latest_version: int
    access: Mapping[str, Role] = {}

    @property
    def id(self) -> str:
        return f"p-{self.number}"


class Version(msgspec.Struct, frozen=True):
    """An immutable version of a project's canvas."""

    project: int
    version: int
    parent: int
    author: str
    create_time_ms: int
    comment: str
    digest: str
    node_count: int
    edge_count: int

    @property
    def project_id(self) -> str:
        return f"p-{self.project}"


class Draft(msgspec.Struct, frozen=True):
    """What a save is to write; made outside of the transaction, true as long as the parent is the latest."""

    project: int
    parent: int
    canvas: Canvas
    document: bytes
    digest: str
    first_seen: list[tuple[str, int, int]]
    """Path, sequence and time of the nodes that are new to the project."""
    next_sequence: int


def number_of(project_id: str) -> int:
    """The number of "p-7"; raises ProjectNotFound."""
    digits = project_id.removeprefix("p-")
    if project_id.startswith("p-") and digits.isascii() and digits.isdecimal() and len(digits) <= 15:
        return int(digits)
    raise ProjectNotFound(
        f"there is no project {project_id[:40]!r}", field="project_id", next_step="yard graph ls shows yours"
    )


class Projects:
    """The repository. Every method is one transaction and durable when it returns."""

    def __init__(self, database: Database, sql: Mapping[str, str]) -> None:
        self._database = database
        self._sql = sql

    async def create(self, account: str, name: str, now_ms: int, kept: Kept[Project]) -> Project:
        """A new project; raises NameTaken."""

        def change(db: sqlite3.Connection) -> Project:
            values = {"account": account, "name": name, "now_ms": now_ms}
            row = self._run(db, "insert_project", values).fetchone()
            if row is None:
                raise NameTaken(
                    f"account {account} has a project {name!r}", field="name", next_step="choose another name"
                )
            project = Project(row[0], account, name, now_ms, 0)
            kept(db, project)
            return project

        return await self._database.write(change)

    async def get(self, number: int) -> Project:
        """Raises ProjectNotFound."""
        return await self._database.read(lambda db: self._get(db, number))

    async def page(self, account: str | None, name: str, before: int, most: int) -> list[Project]:
        """Newest first: those of the account and those that it was let into; None: all."""
        values = {"account": account, "name": name, "before": before, "most": most}

        def query(db: sqlite3.Connection) -> list[Project]:
            rows = self._run(db, "list_projects", values).fetchall()
            return [_project(row, self._access(db, row[0])) for row in rows]

        return await self._database.read(query)

    async def delete(self, number: int, kept: Kept[None]) -> None:
        """With all of its versions. Idempotent."""

        def change(db: sqlite3.Connection) -> None:
            self._run(db, "delete_project", {"project": number})
            kept(db, None)

        await self._database.write(change)

    async def set_access(self, number: int, account: str, role: Role | None, kept: Kept[Project]) -> Project:
        """Lets an account in, or (None) out."""

        def change(db: sqlite3.Connection) -> Project:
            self._get(db, number)
            values = {"project": number, "account": account, "role": role.value if role else ""}
            self._run(db, "put_access" if role else "delete_access", values)
            project = self._get(db, number)
            kept(db, project)
            return project

        return await self._database.write(change)

    async def draft(self, number: int, parent: int, canvas: Canvas, now_ms: int) -> Draft:
        """The canvas with the sequence of each node, and the time of those that say none (S1.9).

        Raises VersionConflict where `parent` is not the latest version.
        """

        def query(db: sqlite3.Connection) -> tuple[int, dict[str, tuple[int, int]]]:
            self._require_latest(self._get(db, number), parent)
            [(sequence,)] = self._run(db, "next_sequence", {"project": number}).fetchall()
            rows = self._run(db, "list_seen_nodes", {"project": number}).fetchall()
            return sequence, {row[0]: (row[1], row[2]) for row in rows}

        sequence, seen = await self._database.read(query)
        sighting = _Sighting(seen, sequence, now_ms * 1_000_000)
        settled = sighting.canvas(canvas, "")
        text = document.write(settled)
        return Draft(
            number, parent, settled, text, document.digest_of(text), sighting.first_seen, sighting.sequence
        )

    async def save(
        self, draft: Draft, author: str, comment: str, now_ms: int, kept: Kept[Version]
    ) -> Version:
        """A new version; raises VersionConflict where somebody else was first."""
        counts = len(draft.canvas.nodes), len(draft.canvas.edges)
        packed = zlib.compress(draft.document, 1)

        def change(db: sqlite3.Connection) -> Version:
            project = self._get(db, draft.project)
            self._require_latest(project, draft.parent)
            version = Version(
                project.number, draft.parent + 1, draft.parent, author, now_ms, comment, draft.digest, *counts
            )
            values = msgspec.to_builtins(version)
            self._run(db, "insert_version", {**values, "now_ms": now_ms, "document": packed})
            rows = [(draft.project, *seen) for seen in draft.first_seen]
            db.executemany(self._sql["insert_seen_node"], rows)
            values = {"project": draft.project, "version": version.version}
            self._run(db, "advance_project", {**values, "next_sequence": draft.next_sequence})
            kept(db, version)
            return version

        return await self._database.write(change)

    async def version(self, project: Project, version: int) -> Version:
        """A version; 0: the latest. Raises VersionNotFound."""
        values = {"project": project.number, "version": version or project.latest_version}
        row = await self._database.read(lambda db: self._run(db, "get_version", values).fetchone())
        if row is None:
            raise missing_version(project, version)
        return Version(*row)

    async def document(self, version: Version) -> bytes:
        """The document of a version, as it was saved."""
        values = {"project": version.project, "version": version.version}
        row = await self._database.read(lambda db: self._run(db, "get_document", values).fetchone())
        if row is None:
            raise VersionNotFound(field="version")
        return zlib.decompress(row[0])

    async def versions(self, number: int, before: int, most: int) -> list[Version]:
        """Newest first."""
        values = {"project": number, "before": before, "most": most}
        rows = await self._database.read(lambda db: self._run(db, "list_versions", values).fetchall())
        return [Version(*row) for row in rows]

    async def is_valid(self, digest: str) -> bool:
        """Whether this canvas was found right with these operators."""
        row = await self._database.read(
            lambda db: self._run(db, "is_valid_canvas", {"digest": digest}).fetchone()
        )
        return row is not None

    async def remember_valid(self, digest: str, now_ms: int) -> None:
        """It was found right. Idempotent."""

        def change(db: sqlite3.Connection) -> None:
            self._run(db, "insert_valid_canvas", {"digest": digest, "now_ms": now_ms})
            self._run(db, "prune_valid_canvases", {"most": VALID_MOST})

        await self._database.write(change)

    def _run(self, db: sqlite3.Connection, name: str, values: Mapping[str, object]) -> sqlite3.Cursor:
        return db.execute(self._sql[name], values)

    def _get(self, db: sqlite3.Connection, number: int) -> Project:
        row = self._run(db, "get_project", {"project": number}).fetchone()
        if row is None:
            raise missing_project(f"p-{number}")
        return _project(row, self._access(db, number))

    def _access(self, db: sqlite3.Connection, number: int) -> dict[str, Role]:
        rows = self._run(db, "get_access", {"project": number}).fetchall()
        return {account: Role(role) for account, role in rows}

    def _require_latest(self, project: Project, parent: int) -> None:
        if parent != project.latest_version:
            raise VersionConflict(
                f"project {project.id} is at version {project.latest_version}, and this was made from {parent}",
                field="parent",
                next_step=f"yard graph diff {project.id} {parent}; put your changes onto the latest, save that",
                metadata={"latest_version": str(project.latest_version), "parent": str(parent)},
            )


def _project(row: Sequence[Any], access: Mapping[str, Role]) -> Project:
    number, account, name, create_time_ms, latest_version = row
    return Project(number, account, name, create_time_ms, latest_version, access)


def missing_project(project_id: str) -> ProjectNotFound:
    """The error that names it."""
    return ProjectNotFound(
        f"there is no project {project_id}, or it is not yours to see", field="project_id",
        next_step="yard graph ls shows yours", metadata={"project": project_id},
    )  # fmt: skip


def missing_version(project: Project, version: int) -> VersionNotFound:
    """The error that says which there are."""
    latest = project.latest_version
    there = f"its latest is {latest}" if latest else "nothing was saved in it yet"
    return VersionNotFound(
        f"project {project.id} has no version {version or latest}; {there}", field="version",
        next_step=f"yard graph versions {project.id}", metadata={"latest_version": str(latest)},
    )  # fmt: skip


class _Sighting:
    """Gives sequences to nodes that a project sees for the first time, in the order of the canvas."""

    def __init__(self, seen: Mapping[str, tuple[int, int]], sequence: int, now_ns: int) -> None:
        self._seen = dict(seen)
        self._now_ns = now_ns
        self.sequence = sequence
        self.first_seen: list[tuple[str, int, int]] = []

    def canvas(self, canvas: Canvas, path: str) -> Canvas:
        nodes = tuple(self._node(node, path) for node in canvas.nodes)
        subgraphs = {name: self._subgraph(body, f"{path}{name}/") for name, body in canvas.subgraphs.items()}
        return msgspec.structs.replace(canvas, nodes=nodes, subgraphs=subgraphs)

    def _subgraph(self, subgraph: Subgraph, path: str) -> Subgraph:
        return msgspec.structs.replace(subgraph, canvas=self.canvas(subgraph.canvas, path))

    def _node(self, node: Node, path: str) -> Node:
        key = path + node.id
        known = self._seen.get(key)
        if known is None:
            known = self._seen[key] = (self.sequence, node.drag_in_time_ns or self._now_ns)
            self.first_seen.append((key, *known))
            self.sequence += 1
        sequence, time_ns = known
        if node.drag_sequence == sequence and node.drag_in_time_ns:
            return node
        time_ns = node.drag_in_time_ns or time_ns
        return msgspec.structs.replace(node, drag_sequence=sequence, drag_in_time_ns=time_ns)
