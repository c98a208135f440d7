"""How quotes get from their messages to the machine (S0.5): checked here, decided there."""

import secrets

from google.protobuf.duration_pb2 import Duration

from modelyard.v1 import node_pb2, task_pb2
from services.scheduler.engine import Engine
from services.scheduler.intake import specs
from services.scheduler.intake.submission import check_request_id
from services.scheduler.placement import fitting
from services.scheduler.refusals import InvalidRequest
from services.scheduler.state.effects import Answer
from services.scheduler.state.events import QuoteDeleted, QuoteRenewed, QuoteRequested, QuoteWish

MOST_ITEMS = 64
MOST_TTL_MS = 30_000


class Quotes:
    """Holds capacity for an account, whole or not at all."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, request: node_pb2.CreateQuoteRequest, account: str) -> Answer:
        """Its answer has the quote."""
        check_request_id(request.request_id)
        if not 0 < len(request.items) <= MOST_ITEMS:
            raise InvalidRequest(
                f"items: {len(request.items)} items; give 1 to {MOST_ITEMS}", field="items",
                next_step="say what to hold; one item may stand for many tasks by its count",
            )  # fmt: skip
        wishes = tuple(self._wish(item, account, f"items[{i}]") for i, item in enumerate(request.items))
        reply, answer = self._engine.new_reply()
        ttl_ms = _ttl_ms(request.ttl) if request.HasField("ttl") else MOST_TTL_MS
        quote_id = f"q-{secrets.token_hex(8)}"
        self._engine.post(QuoteRequested(reply, account, quote_id, wishes, ttl_ms))
        return await answer

    def _wish(self, item: node_pb2.QuoteItem, account: str, field: str) -> QuoteWish:
        """The item as placement would see a task of its kind: the same checks, the same words."""
        if item.count < 0:
            raise InvalidRequest(f"{field}.count: {item.count} is negative", field=f"{field}.count")
        if item.placement.quote:
            path = f"{field}.placement.quote"
            raise InvalidRequest(f"{path}: a quote cannot be made of another", field=path)
        kind = task_pb2.TaskSpec(
            command=task_pb2.CommandWork(argv=["true"]), resources=item.resources, placement=item.placement
        )
        if item.placement.distinct_nodes:
            kind.array_size = max(item.count, 1)
        shape = specs.convert(kind, account, field).shape
        fitting.check_placeable(shape, self._engine.state.cluster, field)
        return QuoteWish(shape, item.count or 1, item.placement.distinct_nodes)

    async def renew(self, request: node_pb2.RenewQuoteRequest, account: str) -> Answer:
        check_request_id(request.request_id)
        reply, answer = self._engine.new_reply()
        ttl_ms = _ttl_ms(request.ttl) if request.HasField("ttl") else MOST_TTL_MS
        self._engine.post(QuoteRenewed(reply, account, request.quote_id, ttl_ms))
        return await answer

    async def delete(self, request: node_pb2.DeleteQuoteRequest, account: str) -> None:
        check_request_id(request.request_id)
        reply, answer = self._engine.new_reply()
        self._engine.post(QuoteDeleted(reply, account, request.quote_id))
        await answer


def _ttl_ms(ttl: Duration) -> int:
    milliseconds = ttl.ToMilliseconds()
    if not 0 < milliseconds <= MOST_TTL_MS:
        raise InvalidRequest(
            f"ttl: {milliseconds / 1000:g} s is not within {MOST_TTL_MS // 1000} s", field="ttl",
            next_step="renew the quote before its time is over: RenewQuote",
        )  # fmt: skip
    return milliseconds
