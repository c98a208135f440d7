"""How a run is told of: from an errand to a message in the scheduler's outbox, once for each event (S1.6)."""

from collections.abc import Sequence

import msgspec

from modelyard.errors import YardError
from modelyard.v1 import contact_pb2, task_pb2
from services.chassis.errands import Carrier, Errand, is_final, refused
from services.chassis.passing import passed_on
from services.graph.convert.notice import EVENTS, Gate, end_request, gate_request
from services.graph.convert.run import STATES, notification_of
from services.graph.history import History
from services.graph.model import ProjectNotFound
from services.graph.owing import Notice
from services.graph.peers import Scheduler
from services.graph.projects import Projects, number_of
from services.graph.store import RunRow, RunStore

_NOTICE = msgspec.msgpack.Decoder(Notice)


class Notices(Carrier):
    """The scheduler has the contacts and knows whom it tells; an event that it was told of it does not tell again."""

    def __init__(self, scheduler: Scheduler, store: RunStore, history: History, projects: Projects) -> None:
        self._scheduler = scheduler
        self._store = store
        self._history = history
        self._projects = projects

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        for errand in errands:
            try:
                await self._tell(account, _NOTICE.decode(errand.content))
            except YardError as error:
                if not is_final(error):
                    raise
                refused(errand, error)

    async def _tell(self, account: str, notice: Notice) -> None:
        row = await self._store.run(notice.run)
        if row is None or (notice.gate and row.state.has_ended):
            return
        # Most accounts have nobody to tell: nothing is read and put into words for them.
        event = task_pb2.NOTIFICATION_EVENT_GATE_WAITING if notice.gate else EVENTS[STATES[row.state]]
        asked = contact_pb2.NotifyRequest(
            notification=notification_of(row.spec), event=event, validate_only=True
        )
        if await self._scheduler.notify(account, asked):
            await self._scheduler.notify(account, await self._request(row, notice))

    async def _request(self, row: RunRow, notice: Notice) -> contact_pb2.NotifyRequest:
        try:
            project = (await self._projects.get(number_of(row.spec.project))).name
        except ProjectNotFound:
            project = ""
        run = await self._history.view(row)
        if notice.gate:
            return gate_request(run, project, Gate(notice.gate, notice.asks))
        return end_request(run, project, notice.failed_node)


async def check(scheduler: Scheduler, account: str, notification: task_pb2.Notification) -> None:
    """Whether those that a run names can be told. Raises as a submission of a task would; asks nobody where none is."""
    if notification == task_pb2.Notification():
        return
    try:
        await scheduler.notify(
            account, contact_pb2.NotifyRequest(notification=notification, validate_only=True)
        )
    except YardError as error:
        raise passed_on(error) from error
