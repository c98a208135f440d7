"""How a job's end is told: from an errand to a message in the scheduler's outbox, once for each job (S0.8)."""

from collections.abc import Sequence

import msgspec

from modelyard.v1 import contact_pb2, task_pb2
from services.chassis.errors import InvalidArgument
from services.chassis.peers.contacts import Contacts
from services.chassis.steps.errands import Errand, one_by_one
from services.trainer.convert.job import STATES
from services.trainer.convert.notice import EVENTS, end_request
from services.trainer.telling.jobs import Jobs


class NoticeInvalid(InvalidArgument):
    """Jobs have nothing of that kind to tell."""


_NUMBER = msgspec.msgpack.Decoder(int)


class Notices:
    """A carrier: the scheduler has the contacts, and knows whom it has told."""

    def __init__(self, contacts: Contacts, jobs: Jobs) -> None:
        self._contacts = contacts
        self._jobs = jobs

    async def carry(self, account: str, errands: Sequence[Errand]) -> None:
        """In the order of the ends."""
        await one_by_one(errands, lambda one: self._tell(account, _NUMBER.decode(one.content)))

    async def _tell(self, account: str, number: int) -> None:
        job, _, _ = await self._jobs.state_of(number)
        told = task_pb2.Notification.FromString(job.notification)
        await self._contacts.tell(account, told, EVENTS[STATES[job.state]], lambda: self._message(number))

    async def _message(self, number: int) -> contact_pb2.NotifyRequest:
        return end_request(
            await self._jobs.message(number, is_whole=True), await self._jobs.instances(number)
        )


async def check(contacts: Contacts, account: str, notification: task_pb2.Notification) -> None:
    """Whether those that a job names can be told. Raises as a submission of a task would."""
    if task_pb2.NOTIFICATION_EVENT_GATE_WAITING in notification.on:
        raise NoticeInvalid(
            "a job has no gates that wait", field="notification.on", next_step="success, failure or both"
        )
    await contacts.check(account, notification)
