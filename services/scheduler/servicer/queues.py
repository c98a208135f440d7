"""QueueService: in which order accounts share the machines."""

from typing import Any

from modelyard.v1 import queue_pb2 as pb
from modelyard.v1 import queue_pb2_grpc
from services.chassis.requests.paging import decode_token, encode_token, page_size
from services.chassis.security import principal
from services.scheduler.access.accounts import Accounts
from services.scheduler.engine import Engine
from services.scheduler.intake.submission import check_request_id
from services.scheduler.queues.tenants import Queue
from services.scheduler.refusals import InvalidRequest
from services.scheduler.requests.sharing import merged
from services.scheduler.scheduling.entry import queue_not_found
from services.scheduler.servicer import terms
from services.scheduler.state.events import Event, QueueChanged, QueueCreated, QueueDeleted


class QueueServicer(queue_pb2_grpc.QueueServiceServicer):
    """Administrators set queues; everybody sees them."""

    def __init__(self, engine: Engine, accounts: Accounts) -> None:
        self._engine = engine
        self._accounts = accounts

    def _queue(self, name: str, field: str) -> Queue:
        tenancy = self._engine.state.waiting.tenancy
        found = tenancy.queues.get(name)
        if found is None:
            raise queue_not_found(tenancy, name, field)
        return found

    def _view(self, name: str, field: str = "name") -> pb.Queue:
        return terms.queue_view(self._engine.state, self._queue(name, field), principal())

    async def CreateQueue(self, request: pb.CreateQueueRequest, context: Any) -> pb.CreateQueueResponse:
        check_request_id(request.request_id)
        terms.check_name(request.queue.name, "queue.name")
        settings = terms.queue_settings(request.queue)
        terms.check_quota(settings.quota, "queue.quota")
        await self._check_accounts(settings.accounts)
        reply, answer = self._engine.new_reply()
        await self._decide(QueueCreated(reply, request.queue.name, settings), answer)
        return pb.CreateQueueResponse(queue=self._view(request.queue.name))

    async def GetQueue(self, request: pb.GetQueueRequest, context: Any) -> pb.GetQueueResponse:
        return pb.GetQueueResponse(queue=self._view(request.name))

    async def ListQueues(self, request: pb.ListQueuesRequest, context: Any) -> pb.ListQueuesResponse:
        size = page_size(request.page_size)
        after = decode_token(request.page_token, b"queues")
        names = sorted(name for name in self._engine.state.waiting.tenancy.queues if name > after)
        token = encode_token(names[size - 1], b"queues") if len(names) > size else ""
        return pb.ListQueuesResponse(
            queues=[self._view(name) for name in names[:size]], next_page_token=token
        )

    async def UpdateQueue(self, request: pb.UpdateQueueRequest, context: Any) -> pb.UpdateQueueResponse:
        check_request_id(request.request_id)
        name = request.queue.name
        queue = self._queue(name, "queue.name")
        wanted = terms.queue_settings(request.queue)
        meant = terms.meant_paths(request.queue, request.update_mask, terms.QUEUE_PATHS)
        paths = terms.setting_paths(meant)
        terms.check_quota(merged(queue.settings, wanted, paths).quota, "queue.quota")
        if "accounts" in paths:
            await self._check_accounts(wanted.accounts)
        reply, answer = self._engine.new_reply()
        await self._decide(QueueChanged(reply, name, paths, wanted), answer)
        return pb.UpdateQueueResponse(queue=self._view(name))

    async def DeleteQueue(self, request: pb.DeleteQueueRequest, context: Any) -> pb.DeleteQueueResponse:
        check_request_id(request.request_id)
        reply, answer = self._engine.new_reply()
        await self._decide(QueueDeleted(reply, request.name), answer)
        return pb.DeleteQueueResponse()

    async def _decide(self, event: Event, answer: Any) -> None:
        self._engine.post(event)
        await answer

    async def _check_accounts(self, names: tuple[str, ...]) -> None:
        if any(not name for name in names):
            raise InvalidRequest("queue.accounts: a name is empty", field="queue.accounts")
        for name in names:
            await self._accounts.require(name, "queue.accounts")
