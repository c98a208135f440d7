"""`client.lineage`: where things come from, and what became of them; over all services of the yard."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import grpc

from modelyard import artifacts
from modelyard.client.connection import Connection
from modelyard.client.specs import InvalidSpecification
from modelyard.client.walk import DOWN, UP, Answer, Direction, Walk
from modelyard.errors import YardError, from_rpc_error
from modelyard.v1 import lineage_pb2 as pb
from modelyard.v1 import lineage_pb2_grpc

DEPTH = 20
THINGS_MOST = 500
LINKS_MOST = 400
"""Of one thing."""
PAGES_MOST = 50
AT_ONCE = 16
CALL_S = 15.0

_SCHEDULER, _STORE, _GRAPH, _TRAINER, _MODELS = "scheduler", "store", "graph", "trainer", "models"
OWNERS: dict[int, str] = {
    pb.THING_KIND_ARTIFACT: _STORE, pb.THING_KIND_TASK: _SCHEDULER, pb.THING_KIND_INPUT_SET: _SCHEDULER,
    pb.THING_KIND_RUN: _GRAPH, pb.THING_KIND_NODE: _GRAPH, pb.THING_KIND_CANVAS: _GRAPH,
    pb.THING_KIND_JOB: _TRAINER, pb.THING_KIND_SWEEP: _TRAINER, pb.THING_KIND_FRAMEWORK: _TRAINER,
    pb.THING_KIND_MODEL_VERSION: _MODELS, pb.THING_KIND_ALIAS: _MODELS, pb.THING_KIND_DEPLOYMENT: _MODELS,
    pb.THING_KIND_FRAME: _MODELS, pb.THING_KIND_CALLS: _MODELS,
}  # fmt: skip
"""Who says what a thing is."""
_ALSO: dict[tuple[int, int], tuple[str, ...]] = {
    (pb.THING_KIND_TASK, UP): (_MODELS,), (pb.THING_KIND_TASK, DOWN): (_TRAINER, _MODELS),
    (pb.THING_KIND_JOB, DOWN): (_MODELS,), (pb.THING_KIND_RUN, DOWN): (_MODELS,),
    (pb.THING_KIND_ARTIFACT, DOWN): (_GRAPH,), (pb.THING_KIND_MODEL_VERSION, DOWN): (_GRAPH,),
}  # fmt: skip
"""Who knows links of it besides."""
_SPOKEN = {"graph": "graph service", "models": "models service"}
_THROUGH = {
    _SCHEDULER: "tasks", _STORE: "artefacts", _GRAPH: "canvases and runs", _TRAINER: "training jobs", _MODELS: "models",
}  # fmt: skip
_NAMES = {_STORE: "files", _MODELS: "models and deployments", _TRAINER: "frameworks"}
"""What words that are no id may name, by who knows them."""
REFERENCES = (
    "name t-7 (task), r-3 (run), r-3/train (node of it), p-1:4 (canvas), j-5 (job), s-2 (sweep), f-4 (frame), iris, "
    "iris:3 (model), iris@champion (alias), a deployment, a framework, sha256:… (artefact), a file, a directory data/"
)
_AWAY = ("UNAVAILABLE", "UNIMPLEMENTED", "DEADLINE_EXCEEDED", "CANCELLED")
_UNKNOWN = ("NOT_FOUND", "INVALID_ARGUMENT")
_REFERENCES: tuple[tuple[pb.ThingKind.ValueType, re.Pattern[str]], ...] = (
    (pb.THING_KIND_TASK, re.compile(r"t-\d+(\.\d+)?")),
    (pb.THING_KIND_RUN, re.compile(r"r-\d+")),
    (pb.THING_KIND_NODE, re.compile(r"r-\d+[/@].+")),
    (pb.THING_KIND_CANVAS, re.compile(r"p-\d+(:\d+)?")),
    (pb.THING_KIND_JOB, re.compile(r"j-\d+")),
    (pb.THING_KIND_SWEEP, re.compile(r"s-\d+")),
    (pb.THING_KIND_FRAME, re.compile(r"f-\d+")),
    (pb.THING_KIND_ARTIFACT, re.compile(r"(sha256:)?[0-9a-f]{64}")),
)
_MODEL = re.compile(r"[A-Za-z0-9._-]+(:[A-Za-z0-9_-]+)?")
_ALIAS = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9_-]+")


class Lineage:
    """Walks over the services; each answers for what it keeps."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def links(
        self, service: str, subject: pb.Thing, direction: Direction = pb.LINK_DIRECTION_UNSPECIFIED,
        *, page_size: int = 0, page_token: str = "",
    ) -> pb.ListLinksResponse:  # fmt: skip
        """One page of what one service knows. Raises YardError; a service that is not there is not waited for."""
        if service not in _THROUGH:
            raise InvalidSpecification(f"{service!r} is no service; choose {', '.join(_THROUGH)}", "service")
        stub = lineage_pb2_grpc.LineageServiceStub(getattr(self._connection, service)())
        request = pb.ListLinksRequest(
            subject=subject, direction=direction, page_size=page_size, page_token=page_token
        )
        try:
            response: pb.ListLinksResponse = await stub.ListLinks(request, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
        return response

    async def of(
        self,
        reference: str,
        *,
        up: bool = True,
        down: bool = True,
        depth: int = DEPTH,
        most: int = THINGS_MOST,
    ) -> pb.LineageGraph:
        """Everything that a thing comes from, and everything that was made of it.

        `reference`: t-7, r-3, r-3/train, p-1:4, j-5, s-2, iris:3, iris@champion, sha256:…, or a file, which is looked
        for by its contents. Raises YardError NOT_FOUND, and what the service says that owns it.
        """
        if depth < 0 or most < 1:
            raise InvalidSpecification("a walk has a depth from 0 and at least one thing", "depth")
        steps = _Steps(self)
        subject = await self._found(reference, steps)
        walk = Walk(steps.ask, depth=depth, most=most)
        for wanted, direction in ((up, UP), (down, DOWN)):
            if wanted:
                await walk.go(subject, direction)
        made = walk.graph(subject)
        made.gaps.extend(steps.gaps)
        return made

    async def _found(self, reference: str, steps: _Steps) -> pb.Thing:
        """The subject, as its service names it; a service that is away is no reason to ask no other."""
        named = await asyncio.to_thread(candidates, reference)
        away: dict[str, YardError] = {}
        for candidate in named:
            owner = OWNERS[candidate.kind]
            try:
                answer = None if owner in away else await self._owned(candidate)
            except YardError as error:
                if error.code not in _AWAY:
                    raise
                away[owner] = error
                continue
            if answer is not None:
                return answer
        if len(named) == 1 and away:
            raise _unanswered(reference, *away.popitem())
        raise _nothing(reference, named, list(away))

    async def _owned(self, candidate: pb.Thing) -> pb.Thing | None:
        try:
            response = await self.links(
                OWNERS[candidate.kind], candidate, pb.LINK_DIRECTION_BESIDE, page_size=1
            )
        except YardError as error:
            if error.code in _UNKNOWN:
                return None
            raise
        return response.subject if response.HasField("subject") else None


def _unanswered(reference: str, owner: str, error: YardError) -> YardError:
    """Only one service can know it, and that one is away."""
    return YardError(
        f"only the {_SPOKEN.get(owner, owner)} knows what {reference} is, and it cannot be reached",
        code=error.code, reason=error.reason, field="reference", next_step=error.next_step,
    )  # fmt: skip


def _nothing(reference: str, named: Sequence[pb.Thing], away: Sequence[str]) -> YardError:
    """Nobody who answers knows it; who does not answer is named."""
    told = f"there is nothing called {reference}, or it is not yours to see"
    if not named:
        told = f"{reference!r} is neither a name nor a file"
    elif named[0].name:
        told = f"{reference} is not in the store (sha256:{named[0].id}), or not among what is yours"
    if away:
        silent = " and ".join(f"the {_SPOKEN.get(owner, owner)}" for owner in away)
        known = " and ".join(_NAMES[owner] for owner in away)
        told += f"; {silent} cannot be reached, so {known} were not looked at"
    return YardError(
        told, code="NOT_FOUND", reason="NO_SUCH_THING", field="reference", next_step=REFERENCES,
    )  # fmt: skip


class _Steps:
    """Asks for the links of things, many at a time, of whoever knows of them; remembers who is away."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._away: set[str] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.gaps: dict[str, None] = {}

    async def ask(self, things: Sequence[pb.Thing], direction: Direction) -> list[Answer]:
        """In the order of the things."""
        return await asyncio.gather(*[self._of(thing, direction) for thing in things])

    async def _of(self, thing: pb.Thing, direction: Direction) -> Answer:
        owner = OWNERS.get(thing.kind, "")
        services = (owner, *_ALSO.get((thing.kind, direction), ())) if owner else ()
        answers = await asyncio.gather(*[self._all(service, thing, direction) for service in services])
        links = [link for answer in answers for link in answer.links]
        sets = [link for link in links if link.thing.kind == pb.THING_KIND_INPUT_SET]
        plain = [link for link in links if link.thing.kind != pb.THING_KIND_INPUT_SET]
        through = await asyncio.gather(*[self._all(_SCHEDULER, link.thing, DOWN) for link in sets])
        plain += [link for answer in through for link in answer.links]
        subject, is_away = (answers[0].subject, answers[0].is_away) if answers else (None, True)
        if len(plain) > LINKS_MOST:
            self._gap(thing, "has more links than are shown")
        return Answer(subject, plain[:LINKS_MOST], is_away)

    async def _all(self, service: str, thing: pb.Thing, direction: Direction) -> Answer:
        """All pages, within reason."""
        found: list[pb.Link] = []
        subject, token = None, ""
        for _ in range(PAGES_MOST):
            page = await self._page(service, thing, direction, token)
            if page is None:
                return Answer(subject, found, is_away=service in self._away)
            if page.HasField("subject"):
                subject = page.subject
            found += page.links
            token = page.next_page_token
            if not token or len(found) > LINKS_MOST:
                return Answer(subject, found)
        self._gap(thing, "was not looked at to the end: what is older is missing")
        return Answer(subject, found)

    async def _page(
        self, service: str, thing: pb.Thing, direction: Direction, token: str
    ) -> pb.ListLinksResponse | None:
        if service in self._away:
            return None
        named = pb.Thing(kind=thing.kind, id=thing.id)
        try:
            async with self._slots:
                return await self._lineage.links(service, named, direction, page_size=200, page_token=token)
        except YardError as error:
            if error.code in _AWAY:
                self._away.add(service)
                who, what = _SPOKEN.get(service, service), _THROUGH[service]
                self.gaps[f"the {who} does not answer: links through {what} are missing"] = None
            elif error.code not in _UNKNOWN:
                raise
            return None

    def _gap(self, thing: pb.Thing, what: str) -> None:
        self.gaps[f"{thing.name or thing.id} {what}"] = None


def candidates(reference: str) -> list[pb.Thing]:
    """What a reference may mean, the likeliest first. Reads a file, packs a directory ("data/") that it names."""
    for kind, pattern in _REFERENCES:
        if pattern.fullmatch(reference):
            return [pb.Thing(kind=kind, id=reference.removeprefix("sha256:"))]
    found = []
    if _ALIAS.fullmatch(reference):
        found.append(pb.Thing(kind=pb.THING_KIND_ALIAS, id=reference))
    path = Path(reference).expanduser()
    # A directory has to be packed to be known: only where it looks like one.
    if reference and "\0" not in reference and (path.is_file() or ("/" in reference and path.is_dir())):
        digest = _directory_digest(path) if path.is_dir() else _file_digest(path)
        found.append(pb.Thing(kind=pb.THING_KIND_ARTIFACT, id=digest, name=path.name))
    if _MODEL.fullmatch(reference):
        found.append(pb.Thing(kind=pb.THING_KIND_MODEL_VERSION, id=reference))
    if reference and len(reference) <= 200 and "/" not in reference:
        found.append(pb.Thing(kind=pb.THING_KIND_DEPLOYMENT, id=reference))
        if ":" not in reference:
            found.append(pb.Thing(kind=pb.THING_KIND_FRAMEWORK, id=reference))
    return found


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _directory_digest(path: Path) -> str:
    """As it is packed for a task."""
    packed, digest = artifacts.pack_directory(path)
    packed.unlink()
    return digest
