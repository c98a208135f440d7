"""`client.nodes`: list, get, watch, occupancy, quote, cordon, uncordon, drain, label, delete, token."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import cached_property

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.specs import Options, duration, place
from modelyard.v1 import node_pb2, node_pb2_grpc


class Nodes:
    """The machines that run agents."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> node_pb2_grpc.NodeServiceAsyncStub:
        return node_pb2_grpc.NodeServiceStub(self._connection.scheduler())

    async def list(
        self, labels: Mapping[str, str] | None = None, *, page_size: int = 0, page_token: str = ""
    ) -> node_pb2.ListNodesResponse:
        """One page of nodes that carry all of these labels."""
        request = node_pb2.ListNodesRequest(page_size=page_size, page_token=page_token, labels=labels or {})
        return await self._connection.unary(self._stub.ListNodes, request)

    async def get(self, node: str) -> node_pb2.Node:
        """One node."""
        return (await self._connection.unary(self._stub.GetNode, node_pb2.GetNodeRequest(node=node))).node

    async def watch(self) -> AsyncGenerator[node_pb2.Node, None]:
        """All nodes first, then every change; all again after a lost connection."""
        begin = lambda: self._stub.WatchNodes(node_pb2.WatchNodesRequest())  # noqa: E731
        async for response in self._connection.stream(begin):
            for node in response.nodes:
                yield node

    async def occupancy(
        self, window_s: int = 0, *, nodes: Sequence[str] = ()
    ) -> Sequence[node_pb2.NodeOccupancy]:
        """Every node, or these, side by side with what runs there (S0.4, S0.5). Every resource has all windows; the
        ratios are of the window of 1, 10 or 60 s, 0: the one that placement uses."""
        request = node_pb2.GetOccupancyRequest(window_s=window_s, nodes=nodes)
        return (await self._connection.unary(self._stub.GetOccupancy, request)).nodes

    async def quote(
        self,
        *items: node_pb2.QuoteItem,
        options: Options | None = None,
        count: int = 1,
        ttl: float | str | None = None,
    ) -> node_pb2.Quote:
        """Holds capacity for up to 30 s (S0.5): room for ``count`` tasks of these options, or for all of these items.

        A submission with the option ``quote`` is guaranteed to start there, or is refused with the reason.
        """
        if not items:
            item = node_pb2.QuoteItem(count=count)
            place(item.resources, item.placement, options or {})
            items = (item,)
        request = node_pb2.CreateQuoteRequest(request_id=new_request_id(), items=items)
        if ttl is not None:
            request.ttl.CopyFrom(duration(ttl, "ttl"))
        return (await self._connection.unary(self._stub.CreateQuote, request)).quote

    async def renew_quote(self, quote: str, ttl: float | str | None = None) -> node_pb2.Quote:
        """Holds it for so long from now on; 30 s unless less is asked for."""
        request = node_pb2.RenewQuoteRequest(request_id=new_request_id(), quote_id=quote)
        if ttl is not None:
            request.ttl.CopyFrom(duration(ttl, "ttl"))
        return (await self._connection.unary(self._stub.RenewQuote, request)).quote

    async def delete_quote(self, quote: str) -> None:
        """Gives it back before its time; again changes nothing."""
        request = node_pb2.DeleteQuoteRequest(request_id=new_request_id(), quote_id=quote)
        await self._connection.unary(self._stub.DeleteQuote, request)

    async def cordon(self, node: str) -> node_pb2.Node:
        """New tasks stay away; running ones go on."""
        request = node_pb2.CordonNodeRequest(request_id=new_request_id(), node=node)
        return (await self._connection.unary(self._stub.CordonNode, request)).node

    async def uncordon(self, node: str) -> node_pb2.Node:
        """New tasks may come again."""
        request = node_pb2.UncordonNodeRequest(request_id=new_request_id(), node=node)
        return (await self._connection.unary(self._stub.UncordonNode, request)).node

    async def drain(self, node: str, timeout: float | str | None = None) -> node_pb2.Node:
        """Cordons, lets running tasks end until the timeout, then moves them elsewhere."""
        request = node_pb2.DrainNodeRequest(request_id=new_request_id(), node=node)
        if timeout is not None:
            request.drain_timeout.CopyFrom(duration(timeout, "drain_timeout"))
        return (await self._connection.unary(self._stub.DrainNode, request)).node

    async def label(
        self, node: str, labels: Mapping[str, str] | None = None, remove: Sequence[str] = ()
    ) -> node_pb2.Node:
        """Sets and removes labels."""
        request = node_pb2.UpdateNodeLabelsRequest(
            request_id=new_request_id(), node=node, set_labels=labels or {}, remove_labels=remove
        )
        return (await self._connection.unary(self._stub.UpdateNodeLabels, request)).node

    async def delete(self, node: str) -> None:
        """Forgets a lost node that has no tasks; its credentials end."""
        request = node_pb2.DeleteNodeRequest(request_id=new_request_id(), node=node)
        await self._connection.unary(self._stub.DeleteNode, request)

    async def token(self, node: str = "", ttl: float | str | None = None) -> node_pb2.CreateJoinTokenResponse:
        """A token that lets one new machine in, once."""
        request = node_pb2.CreateJoinTokenRequest(request_id=new_request_id(), node=node)
        if ttl is not None:
            request.ttl.CopyFrom(duration(ttl, "ttl"))
        return await self._connection.unary(self._stub.CreateJoinToken, request)
