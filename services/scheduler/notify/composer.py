"""From a row of the outbox to what the sender is asked: reads the message, or the task and the files that go along."""

import base64
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import grpc
import grpc.aio

from modelyard.v1 import artifact_pb2, artifact_pb2_grpc, task_pb2
from services.chassis.logs import get_logger
from services.chassis.security import ADMIN, Principal
from services.scheduler.model import parse_task_id
from services.scheduler.notify import content
from services.scheduler.notify.messages import Messages
from services.scheduler.notify.model import Delivery
from services.scheduler.notify.schemes import WEBHOOKS
from services.scheduler.reading.tasks import Tasks

_READER = Principal(role=ADMIN)
_FETCH_S = 10.0
_log = get_logger("scheduler.notify")


class Composer:
    """Peer: the store, for kept files. Without it a message goes out without them."""

    def __init__(self, tasks: Tasks, messages: Messages, store: grpc.aio.Channel) -> None:
        self._tasks = tasks
        self._messages = messages
        self._store = artifact_pb2_grpc.ArtifactServiceStub(store)

    async def compose(self, delivery: Delivery, url: str, secret: str) -> dict[str, Any]:
        """The request to a sender. Raises `TaskNotFound` where the task is no longer kept."""
        task, text, facts = None, content.TEST_TEXT, ""
        outputs: Sequence[task_pb2.Output] = ()
        if delivery.message:
            text, facts, outputs = await self._messages.said(delivery.message)
        elif not delivery.is_test:
            task = await self._tasks.get(parse_task_id(delivery.subject), _READER)
            outputs = task.result.outputs
        request: dict[str, Any] = {
            "op": "send",
            "url": url,
            "event_id": delivery.event_id,
            "title": delivery.title,
        }
        if url.partition("://")[0].lower() in WEBHOOKS:
            body = (
                content.document(delivery, task) if task is not None else content.told(delivery, text, facts)
            )
            return {**request, "secret": secret, "body": body}
        text = text if task is None else content.text(task)
        request["body"] = f"{text}\n\nevent {delivery.event_id}"
        if outputs:
            request["attachments"] = await self._attachments(delivery.account, outputs)
        return request

    async def _attachments(self, account: str, outputs: Sequence[task_pb2.Output]) -> list[dict[str, str]]:
        found = []
        for output in content.chosen(list(outputs)):
            data = await self._fetch(account, output.digest)
            if data is not None:
                name, kind = content.file_of(PurePosixPath(output.name).name or "output", data)
                found.append({"name": name, "type": kind, "data": base64.b64encode(data).decode()})
        return found

    async def _fetch(self, account: str, digest: str) -> bytes | None:
        """None: it is not there any more, or the store does not answer; the message says where it was."""
        request = artifact_pb2.GetArtifactRequest(account=account, digest=digest)
        data = bytearray()
        try:
            async for part in self._store.GetArtifact(request, timeout=_FETCH_S):
                data += part.chunk
        except grpc.aio.AioRpcError as error:
            _log.warning("attachment_missing", digest=digest, code=error.code().name)
            return None
        return bytes(data)
