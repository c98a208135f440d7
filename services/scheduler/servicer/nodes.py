"""NodeService: the machines, what they are busy with, and what people do with them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from modelyard.v1 import node_pb2 as pb
from modelyard.v1 import node_pb2_grpc
from services.chassis.clock import Clock
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import make_secret, principal
from services.scheduler.access.accounts import Accounts
from services.scheduler.access.credentials import JOIN_TTL_MS
from services.scheduler.engine import Engine
from services.scheduler.intake.answers import Answers
from services.scheduler.intake.quotes import Quotes
from services.scheduler.intake.specs import NAME
from services.scheduler.intake.submission import check_request_id
from services.scheduler.placement.occupancy import PLACEMENT_WINDOW_S, WINDOWS_S
from services.scheduler.reading import busyness, views
from services.scheduler.refusals import InvalidRequest, NodeNotFound
from services.scheduler.state.events import NodeCordoned, NodeDrainRequested, NodeForgotten, NodeLabelled

DRAIN_MS = 600_000
MOST_DRAIN_MS = 30 * 24 * 3_600_000
MOST_JOIN_TTL_MS = 24 * 3_600_000


class NodeServicer(node_pb2_grpc.NodeServiceServicer):
    """Everybody sees nodes; administrators move them. ``join_command`` makes a token the line to paste."""

    def __init__(
        self,
        engine: Engine,
        accounts: Accounts,
        answers: Answers,
        clock: Clock,
        join_address: str,
        ca_hash: str,
    ) -> None:
        self._engine = engine
        self._answers = answers
        self._quotes = Quotes(engine)
        self._accounts = accounts
        self._clock = clock
        self._join_address = join_address
        self._ca_hash = ca_hash

    def _node(self, node_id: str) -> pb.Node:
        found = self._engine.state.cluster.nodes.get(node_id)
        if found is None:
            raise NodeNotFound(f"there is no node {node_id[:80]!r}", field="node", next_step="yard nodes ls")
        return views.node(found)

    async def ListNodes(self, request: pb.ListNodesRequest, context: Any) -> pb.ListNodesResponse:
        size = page_size(request.page_size)
        filter_key = request.SerializeToString(deterministic=True) if request.labels else b""
        after = decode_token(request.page_token, filter_key)
        wanted = dict(request.labels)
        nodes = self._engine.state.cluster.nodes
        ids = sorted(n.id for n in nodes.values() if n.id > after and wanted.items() <= n.labels.items())
        token = encode_token(ids[size - 1], filter_key) if len(ids) > size else ""
        return pb.ListNodesResponse(nodes=[views.node(nodes[i]) for i in ids[:size]], next_page_token=token)

    async def GetNode(self, request: pb.GetNodeRequest, context: Any) -> pb.GetNodeResponse:
        return pb.GetNodeResponse(node=self._node(request.node))

    async def WatchNodes(
        self, request: pb.WatchNodesRequest, context: Any
    ) -> AsyncIterator[pb.WatchNodesResponse]:
        shown: dict[str, bytes] = {}
        with self._engine.watch(nodes=True) as changed:
            while True:
                changed.clear()
                views_now = [views.node(node) for node in self._engine.state.cluster.nodes.values()]
                fresh = [v for v in views_now if shown.get(v.id) != v.SerializeToString(deterministic=True)]
                shown |= {v.id: v.SerializeToString(deterministic=True) for v in fresh}
                gone = sorted(shown.keys() - {view.id for view in views_now})
                for name in gone:
                    del shown[name]
                if fresh or gone:
                    yield pb.WatchNodesResponse(nodes=fresh, deleted_nodes=gone)
                await changed.wait()
                # Many changes at once make one message.
                await asyncio.sleep(0.1)

    async def GetOccupancy(self, request: pb.GetOccupancyRequest, context: Any) -> pb.GetOccupancyResponse:
        window_s = request.window_s or PLACEMENT_WINDOW_S
        if window_s not in WINDOWS_S:
            raise InvalidRequest(f"window_s: {window_s} is not one of {WINDOWS_S}", field="window_s")
        state = self._engine.state
        for name in request.nodes:
            self._node(name)
        nodes = busyness.all_nodes(state, frozenset(request.nodes), window_s, principal())
        return pb.GetOccupancyResponse(nodes=nodes)

    async def CreateQuote(self, request: pb.CreateQuoteRequest, context: Any) -> pb.CreateQuoteResponse:
        answer = await self._quotes.create(request, principal().account)
        return pb.CreateQuoteResponse(quote=views.quote(answer.quote))

    async def RenewQuote(self, request: pb.RenewQuoteRequest, context: Any) -> pb.RenewQuoteResponse:
        answer = await self._quotes.renew(request, principal().account)
        return pb.RenewQuoteResponse(quote=views.quote(answer.quote))

    async def DeleteQuote(self, request: pb.DeleteQuoteRequest, context: Any) -> pb.DeleteQuoteResponse:
        await self._quotes.delete(request, principal().account)
        return pb.DeleteQuoteResponse()

    async def _cordon(self, request_id: str, node: str, *, is_cordoned: bool) -> pb.Node:
        check_request_id(request_id)
        reply, answer = self._engine.new_reply()
        self._engine.post(NodeCordoned(reply, node, is_cordoned))
        await answer
        return self._node(node)

    async def CordonNode(self, request: pb.CordonNodeRequest, context: Any) -> pb.CordonNodeResponse:
        return pb.CordonNodeResponse(
            node=await self._cordon(request.request_id, request.node, is_cordoned=True)
        )

    async def UncordonNode(self, request: pb.UncordonNodeRequest, context: Any) -> pb.UncordonNodeResponse:
        return pb.UncordonNodeResponse(
            node=await self._cordon(request.request_id, request.node, is_cordoned=False)
        )

    async def DrainNode(self, request: pb.DrainNodeRequest, context: Any) -> pb.DrainNodeResponse:
        check_request_id(request.request_id)
        timeout_ms = request.drain_timeout.ToMilliseconds() if request.HasField("drain_timeout") else DRAIN_MS
        if not 0 <= timeout_ms <= MOST_DRAIN_MS:
            raise InvalidRequest("drain_timeout is not within 0 s and 30 days", field="drain_timeout")
        reply, answer = self._engine.new_reply()
        self._engine.post(NodeDrainRequested(reply, request.node, timeout_ms))
        await answer
        return pb.DrainNodeResponse(node=self._node(request.node))

    async def UpdateNodeLabels(
        self, request: pb.UpdateNodeLabelsRequest, context: Any
    ) -> pb.UpdateNodeLabelsResponse:
        check_request_id(request.request_id)
        for name in (*request.set_labels, *request.remove_labels):
            if not NAME.fullmatch(name):
                raise InvalidRequest(f"{name[:80]!r} is not a label's name", field="set_labels")
        reply, answer = self._engine.new_reply()
        self._engine.post(
            NodeLabelled(reply, request.node, dict(request.set_labels), tuple(request.remove_labels))
        )
        await answer
        return pb.UpdateNodeLabelsResponse(node=self._node(request.node))

    async def DeleteNode(self, request: pb.DeleteNodeRequest, context: Any) -> pb.DeleteNodeResponse:
        reply, answer = self._engine.new_reply()
        self._engine.post(NodeForgotten(reply, request.node))
        await answer
        self._accounts.forget_tokens()
        return pb.DeleteNodeResponse()

    async def CreateJoinToken(
        self, request: pb.CreateJoinTokenRequest, context: Any
    ) -> pb.CreateJoinTokenResponse:
        check_request_id(request.request_id)
        ttl_ms = request.ttl.ToMilliseconds() if request.HasField("ttl") else JOIN_TTL_MS
        if not 0 < ttl_ms <= MOST_JOIN_TTL_MS:
            raise InvalidRequest("ttl is not within 24 hours", field="ttl")
        if request.node and not NAME.fullmatch(request.node):
            raise InvalidRequest(f"{request.node[:80]!r} is not a node's name", field="node")
        secret = make_secret("join") + (f".{self._ca_hash}" if self._ca_hash else "")
        expire_ms = self._clock.now_ms() + ttl_ms
        response = pb.CreateJoinTokenResponse(
            join_token=secret, join_command=f"yard agent join {secret}@{self._join_address}"
        )
        response.expire_time.FromMilliseconds(expire_ms)
        kept = self._answers.keep(lambda _: response)
        await self._accounts.put_join_token(secret, request.node, expire_ms, kept=kept)
        return response
