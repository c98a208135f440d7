"""How a run is told of: from an errand to a message in the scheduler's outbox, once for each event (S1.6)."""

from collections.abc import Sequence

import msgspec

from modelyard.v1 import contact_pb2, task_pb2
from services.chassis.peers.contacts import Contacts
from services.chassis.steps.errands import Carrier, Errand, one_by_one
from services.graph.convert.notice import EVENTS, Gate, end_request, gate_request
from services.graph.convert.run import STATES, notification_of
from services.graph.model import ProjectNotFound
from services.graph.records.owing import Notice
from services.graph.records.projects import Projects, number_of
from services.graph.records.store import RunRow, RunStore
from services.graph.telling.history import History

_NOTICE = msgspec.msgpack.Decoder(Notice)


class Notices(Carrier):
    """The scheduler has the contacts and knows whom it tells; an event that it was told of it does not tell again."""

    def __init__(self, contacts: Contacts, store: RunStore, history: History, projects: Projects) -> None:
        self._contacts = contacts
        self._store = store
        self._history = history
        self._projects = projects

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        await one_by_one(errands, lambda one: self._tell(account, _NOTICE.decode(one.content)))

    async def _tell(self, account: str, notice: Notice) -> None:
        row = await self._store.run(notice.run)
        if row is None or (notice.gate and row.state.has_ended):
            return
        event = task_pb2.NOTIFICATION_EVENT_GATE_WAITING if notice.gate else EVENTS[STATES[row.state]]
        told = notification_of(row.spec)
        await self._contacts.tell(account, told, event, lambda: self._request(row, notice))

    async def _request(self, row: RunRow, notice: Notice) -> contact_pb2.NotifyRequest:
        try:
            project = (await self._projects.get(number_of(row.spec.project))).name
        except ProjectNotFound:
            project = ""
        run = await self._history.view(row)
        if notice.gate:
            return gate_request(run, project, Gate(notice.gate, notice.asks))
        return end_request(run, project, notice.failed_node)
