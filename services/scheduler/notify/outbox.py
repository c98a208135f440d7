"""The delivery loop: takes what is due from the outbox, has it sent, and writes down what became of it.

One lane for each contact with something to send, so that nobody waits behind a contact that is dead. At least once: a
message is marked after it was taken, so a crash between the two sends it again, under the same event id.
"""

import asyncio
import random
from collections.abc import Iterable

from services.chassis.clock import Clock
from services.chassis.errors import NotFound, ServiceError
from services.chassis.failpoints import failpoint
from services.chassis.logs import get_logger
from services.scheduler.notify.backoff import delay_ms
from services.scheduler.notify.composer import Composer
from services.scheduler.notify.contacts import Contacts
from services.scheduler.notify.deliveries import Deliveries
from services.scheduler.notify.model import Contact, Delivery, DeliveryState
from services.scheduler.notify.pool import SenderPool, Sent
from services.scheduler.notify.seal import SealBroken

# After a database or a store that did not answer.
TROUBLE_S = 2.0
TRIM_S = 30.0
DRAIN_S = 3.0
_log = get_logger("scheduler.notify")


class Outbox:
    """`run` is a loop that the service starts."""

    def __init__(
        self,
        contacts: Contacts,
        deliveries: Deliveries,
        composer: Composer,
        pool: SenderPool,
        clock: Clock,
        backoff_s: float,
    ) -> None:
        self._contacts = contacts
        self._deliveries = deliveries
        self._composer = composer
        self._pool = pool
        self._clock = clock
        self._backoff_s = backoff_s
        # When something is due at a contact; wall clock.
        self._due: dict[str, int] = {}
        self._lanes: set[str] = set()
        # Their last message was not taken.
        self._suspects: set[str] = set()
        self._wake = asyncio.Event()
        self._awaited: dict[str, list[asyncio.Event]] = {}
        self._is_draining = False
        # Messages that were taken, attempts that were not, and messages that were given up.
        self.delivered_count = self.failed_count = self.dead_count = 0

    def wake(self, contacts: Iterable[str]) -> None:
        """These contacts have something new."""
        for contact_id in contacts:
            self._due[contact_id] = 0
        self._wake.set()

    async def attempt(self, event_id: str, contact_id: str, timeout_s: float) -> None:
        """Wakes a contact and returns when an attempt of this message of it is over, or the time is."""
        over = asyncio.Event()
        self._awaited.setdefault(event_id, []).append(over)
        self.wake((contact_id,))
        try:
            async with asyncio.timeout(timeout_s):
                await over.wait()
        except TimeoutError:
            return
        finally:
            self._awaited[event_id].remove(over)
            if not self._awaited[event_id]:
                del self._awaited[event_id]

    async def drain(self) -> None:
        """Begins nothing more, and waits a little for what is being sent: else it would be sent again later."""
        self._is_draining = True
        try:
            async with asyncio.timeout(DRAIN_S):
                while self._lanes:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            return

    async def run(self) -> None:
        """For ever. Begins with what an earlier process left."""
        for contact_id, due_ms in (await self._deliveries.pending()).items():
            self._due.setdefault(contact_id, due_ms)
        async with asyncio.TaskGroup() as lanes:
            if await self._contacts.need_library():
                lanes.create_task(self._pool.warm())
            while not self._is_draining:
                self._wake.clear()
                now_ms = self._clock.now_ms()
                for contact_id in [
                    c for c, due in self._due.items() if due <= now_ms and c not in self._lanes
                ]:
                    del self._due[contact_id]
                    self._lanes.add(contact_id)
                    lanes.create_task(self._lane(contact_id))
                await self._sleep(now_ms)

    async def _sleep(self, now_ms: int) -> None:
        """Until something new comes, or something is due."""
        waiting = [due for contact_id, due in self._due.items() if contact_id not in self._lanes]
        delay_s = max(min(waiting, default=now_ms + 3_600_000) - now_ms, 1) / 1000
        try:
            async with asyncio.timeout(min(delay_s, TRIM_S)):
                await self._wake.wait()
        except TimeoutError:
            await self._pool.trim()

    async def _lane(self, contact_id: str) -> None:
        """Everything that is due at one contact, one after the other."""
        try:
            while not self._is_draining:
                try:
                    delivery = await self._deliveries.next(contact_id)
                    if delivery is None:
                        return
                    if delivery.next_ms > self._clock.now_ms():
                        self._due[contact_id] = min(
                            delivery.next_ms, self._due.get(contact_id, delivery.next_ms)
                        )
                        return
                    await self._deliver(delivery)
                except ServiceError as error:
                    _log.warning("delivery_postponed", reason=error.reason, message=error.message)
                    await self._clock.sleep(TROUBLE_S)
        finally:
            self._lanes.discard(contact_id)
            self._wake.set()

    async def _deliver(self, delivery: Delivery) -> None:
        contact = await self._contacts.by_id(delivery.contact_id)
        if contact is None or not (contact.verify_ms or delivery.is_test):
            self._suspects.discard(delivery.contact_id)
            await self._settle(delivery, Sent(False, "the contact was deleted"), is_final=True)
            return
        failpoint("scheduler.before_notify")
        try:
            url, secret = self._contacts.address_of(contact)
            sent = await self._pool.send(
                lambda: self._composer.compose(delivery, url, secret), is_suspect=contact.id in self._suspects
            )
        except SealBroken:
            why = "its address cannot be decrypted: secrets/contacts.key is another one"
            await self._settle(delivery, Sent(False, why), is_final=True)
            return
        except NotFound as error:
            await self._settle(delivery, Sent(False, error.message), is_final=True)
            return
        failpoint("scheduler.after_notify")
        (self._suspects.discard if sent.ok else self._suspects.add)(contact.id)
        await self._settle(delivery, sent, contact=contact, is_final=delivery.is_test)

    async def _settle(
        self, delivery: Delivery, sent: Sent, *, contact: Contact | None = None, is_final: bool
    ) -> None:
        """Writes down what became of an attempt; a database in trouble is waited for, the message is not sent anew."""
        delay = None if is_final else delay_ms(delivery.failures + 1, self._backoff_s, random.random())
        while True:
            try:
                if sent.ok:
                    if delivery.is_test and contact is not None:
                        await self._contacts.verify(contact)
                    await self._deliveries.mark_delivered(delivery)
                else:
                    await self._deliveries.mark_failed(delivery, sent.error, delay)
                break
            except ServiceError as error:
                _log.warning("delivery_not_marked", event_id=delivery.event_id, reason=error.reason)
                await self._clock.sleep(TROUBLE_S)
        failpoint("scheduler.after_notified")
        self._tell(delivery, sent, is_dead=not sent.ok and delay is None)

    def _tell(self, delivery: Delivery, sent: Sent, *, is_dead: bool) -> None:
        state = (
            DeliveryState.DELIVERED if sent.ok else DeliveryState.DEAD if is_dead else DeliveryState.PENDING
        )
        self.delivered_count += sent.ok
        self.failed_count += not sent.ok
        self.dead_count += is_dead
        _log.info(
            "notification", event_id=delivery.event_id, contact=delivery.contact, account=delivery.account,
            subject=delivery.subject, state=state.name, attempt=delivery.attempt_count + 1, error=sent.error,
        )  # fmt: skip
        for event in self._awaited.get(delivery.event_id, ()):
            event.set()
