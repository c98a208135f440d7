"""`client.sweeps`: one training job many times, each with other values of what is searched for."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import cached_property
from typing import Any

from modelyard.client.connection import Connection, new_request_id
from modelyard.client.specs import notification
from modelyard.v1 import sweep_pb2, sweep_pb2_grpc

ENDED = frozenset(
    {sweep_pb2.SWEEP_STATE_SUCCEEDED, sweep_pb2.SWEEP_STATE_FAILED, sweep_pb2.SWEEP_STATE_STOPPED}
)
PAGE = 500


class Sweeps:
    """Sweeps. One that was taken goes on, whoever watches."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def _stub(self) -> sweep_pb2_grpc.SweepServiceAsyncStub:
        return sweep_pb2_grpc.SweepServiceStub(self._connection.trainer())

    async def create(
        self,
        text: str,
        *,
        name: str = "",
        queue: str = "",
        parallel: int = 0,
        bundle_digest: str = "",
        contact: str = "",
        notify: str = "",
        silent: bool = False,
        validate_only: bool = False,
        request_id: str = "",
    ) -> sweep_pb2.Sweep:
        """Begins a sweep file; the answer means that it is on disk. ``parallel``: trials at a time, 0: the file's."""
        request = sweep_pb2.CreateSweepRequest(
            request_id=request_id or new_request_id(), text=text, name=name, queue=queue, parallel_count=parallel,
            bundle_digest=bundle_digest, validate_only=validate_only,
            notification=notification(contact, notify, silent=silent),
        )  # fmt: skip
        return (await self._connection.unary(self._stub.CreateSweep, request)).sweep

    async def get(self, sweep: str) -> sweep_pb2.Sweep:
        """A sweep as it is now, with its document and the best trial's command."""
        request = sweep_pb2.GetSweepRequest(sweep_id=sweep)
        return (await self._connection.unary(self._stub.GetSweep, request)).sweep

    async def list(
        self, page_size: int = 0, page_token: str = "", **wanted: Any
    ) -> sweep_pb2.ListSweepsResponse:
        """Sweeps, newest first; see SweepFilter for what may be wanted."""
        request = sweep_pb2.ListSweepsRequest(
            page_size=page_size, page_token=page_token, filter=sweep_pb2.SweepFilter(**wanted)
        )
        return await self._connection.unary(self._stub.ListSweeps, request)

    async def trials(self, sweep: str, *, best_first: bool = True) -> Sequence[sweep_pb2.Trial]:
        """All trials that have begun, the best first or by number."""
        found: deque[sweep_pb2.Trial] = deque()
        order = sweep_pb2.TRIAL_ORDER_BEST if best_first else sweep_pb2.TRIAL_ORDER_UNSPECIFIED
        request = sweep_pb2.ListTrialsRequest(sweep_id=sweep, page_size=PAGE, order=order)
        while True:
            answer = await self._connection.unary(self._stub.ListTrials, request)
            found += answer.trials
            request.page_token = answer.next_page_token
            if not request.page_token:
                return tuple(found)

    async def watch(self, sweep: str, revision: int = 0) -> AsyncIterator[sweep_pb2.WatchSweepResponse]:
        """Every change until the sweep has ended, over restarts of the trainer too."""
        position = revision

        def begin() -> Any:
            return self._stub.WatchSweep(sweep_pb2.WatchSweepRequest(sweep_id=sweep, revision=position))

        async for response in self._connection.stream(begin):
            position = response.revision
            yield response

    async def suspend(self, sweep: str, comment: str = "") -> sweep_pb2.Sweep:
        """No trial begins, and those that go on give back what they hold, until it is resumed."""
        request = sweep_pb2.SuspendSweepRequest(request_id=new_request_id(), sweep_id=sweep, comment=comment)
        return (await self._connection.unary(self._stub.SuspendSweep, request)).sweep

    async def resume(self, sweep: str) -> sweep_pb2.Sweep:
        """Its trials wait for their turn again, and others begin."""
        request = sweep_pb2.ResumeSweepRequest(request_id=new_request_id(), sweep_id=sweep)
        return (await self._connection.unary(self._stub.ResumeSweep, request)).sweep

    async def stop(self, sweep: str, comment: str = "") -> sweep_pb2.Sweep:
        """Its trials are stopped, no others begin. A sweep that has ended stays as it is."""
        request = sweep_pb2.StopSweepRequest(request_id=new_request_id(), sweep_id=sweep, comment=comment)
        return (await self._connection.unary(self._stub.StopSweep, request)).sweep
