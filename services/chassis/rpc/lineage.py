"""LineageService as every service serves it: of each kind of thing that it has facts of, one function says the links.

Owns pages and what a request may say; the facts are the services', who look at them for the caller.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from modelyard.v1 import lineage_pb2 as pb
from modelyard.v1 import lineage_pb2_grpc
from services.chassis.errors import InvalidArgument, NotFound
from services.chassis.requests.paging import PageTokenInvalid, decode_token, encode_token, page_size
from services.chassis.security import Principal, principal

UP, DOWN, BESIDE = pb.LINK_DIRECTION_UP, pb.LINK_DIRECTION_DOWN, pb.LINK_DIRECTION_BESIDE
ID_LENGTH = 500


class LineageSubjectInvalid(InvalidArgument):
    """The subject needs a kind and an id."""


class LinkDirectionUnknown(InvalidArgument):
    """There is no such direction."""


class Ask(msgspec.Struct, frozen=True):
    """What a source is asked."""

    caller: Principal
    id: str
    direction: int
    """0: all."""
    cursor: str
    """Empty: from the start."""
    most: int

    def wants(self, direction: int) -> bool:
        """Whoever walks goes along what lies beside."""
        return self.direction in (0, direction) or direction == BESIDE

    @property
    def offset(self) -> int:
        """The cursor as a number. Raises PageTokenInvalid."""
        if not self.cursor:
            return 0
        if not (self.cursor.isascii() and self.cursor.isdecimal() and len(self.cursor) <= 18):
            raise PageTokenInvalid(field="page_token")
        return int(self.cursor)


class Found(msgspec.Struct, frozen=True):
    """What a source knows: `subject` None: it is not this service's."""

    subject: pb.Thing | None = None
    links: Sequence[pb.Link] = ()
    cursor: str = ""
    """Where it goes on; empty: that is all."""


Source: TypeAlias = Callable[[Ask], Awaitable[Found]]
"""May raise NotFound: then nothing is known, whatever the reason."""


class LineageServicer(lineage_pb2_grpc.LineageServiceServicer):
    """Shows what one service knows. `sources` by kind; of other kinds it knows nothing."""

    def __init__(self, sources: Mapping[int, Source]) -> None:
        self._sources = sources

    async def ListLinks(self, request: pb.ListLinksRequest, context: Any) -> pb.ListLinksResponse:
        subject, size = request.subject, page_size(request.page_size)
        if not subject.kind or not subject.id or len(subject.id) > ID_LENGTH:
            raise LineageSubjectInvalid(field="subject", next_step="yard lineage REF names it for you")
        if request.direction not in (0, UP, DOWN, BESIDE):
            raise LinkDirectionUnknown(f"{request.direction} is no direction", field="direction")
        key = f"lineage {subject.kind} {request.direction} {subject.id}".encode()
        cursor = decode_token(request.page_token, key)
        source = self._sources.get(subject.kind)
        if source is None:
            return pb.ListLinksResponse()
        ask = Ask(principal(), subject.id, request.direction, cursor, size)
        try:
            found = await source(ask)
        except NotFound:
            # Another account's thing is as if it were not there.
            return pb.ListLinksResponse()
        links = [link for link in found.links if ask.wants(link.direction)]
        token = encode_token(found.cursor, key) if found.cursor else ""
        return pb.ListLinksResponse(subject=found.subject, links=links, next_page_token=token)


def add_lineage(server: Any, sources: Mapping[int, Source]) -> str:
    """Serves it; its full name."""
    lineage_pb2_grpc.add_LineageServiceServicer_to_server(LineageServicer(sources), server)
    return pb.DESCRIPTOR.services_by_name["LineageService"].full_name


def thing(
    kind: pb.ThingKind.ValueType,
    id: str,
    *,
    name: str = "",
    state: str = "",
    time_ms: int = 0,
    account: str = "",
) -> pb.Thing:
    """A thing as messages have it."""
    made = pb.Thing(kind=kind, id=id, name=name[:200], state=state, account=account)
    if time_ms > 0:
        made.time.FromMilliseconds(time_ms)
    return made


def hidden(kind: pb.ThingKind.ValueType) -> pb.Thing:
    """Another account's."""
    return pb.Thing(kind=kind, is_hidden=True)


def link(direction: pb.LinkDirection.ValueType, other: pb.Thing, relation: str) -> pb.Link:
    """From the subject to another thing."""
    return pb.Link(direction=direction, thing=other, relation=relation)


def paged(ask: Ask, subject: pb.Thing | None, links: Iterable[pb.Link]) -> Found:
    """A part of links that are at hand anyway; the cursor counts them."""
    wanted = [one for one in links if ask.wants(one.direction)]
    first, end = ask.offset, ask.offset + ask.most
    return Found(subject, wanted[first:end], str(end) if len(wanted) > end else "")
