"""Triggers with a real database, HTTP and scheduler: who signs is taken once, who needs agents waits for them."""

from __future__ import annotations

import dataclasses
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from modelyard.v1 import trigger_pb2 as pb
from services.graph.service import GraphService
from services.graph.triggers.deliveries import Deliveries
from services.graph.triggers.listener import WebhooksNeedTls, listener_of
from services.graph.triggers.signature import WINDOW_S, sign, sign_body
from tests.support.graph_repeats import saved
from tests.support.graph_yard import OPERATORS, GraphYard, graph_yard
from tests.support.ports import free_port
from tests.support.scheduler_service import refusal, scheduler_yard
from tests.support.scripted_agent import connected, ignore
from tests.support.wait import wait_until

pytestmark = pytest.mark.asyncio
HOUR = "0 0 1 1 *"


@pytest_asyncio.fixture
async def yard(tmp_path: Path) -> AsyncIterator[GraphYard]:
    async with graph_yard(tmp_path) as made:
        yield made


async def created(yard: GraphYard, **source: Any) -> pb.CreateTriggerResponse:
    wanted = pb.RunTrigger(name="nightly", project_id=await saved(yard), **source)
    return await yard.admin.triggers.CreateTrigger(pb.CreateTriggerRequest(trigger=wanted))


async def firings(yard: GraphYard, trigger: str) -> list[pb.Firing]:
    return list((await yard.admin.triggers.ListFirings(pb.ListFiringsRequest(trigger=trigger))).firings)


class Sender:
    """Delivers by HTTP, as the specification of Standard Webhooks says."""

    def __init__(self, url: str, secret: str, trusted: ssl.SSLContext | bool = True) -> None:
        self.url, self.secret, self.trusted = url, secret, trusted

    async def send(
        self,
        body: bytes = b"{}",
        *,
        delivery: str = "d-1",
        age_s: int = 0,
        secret: str = "",
        trigger: str = "",
    ) -> tuple[int, dict[str, Any]]:
        stamp = str(int(time.time()) - age_s)
        headers = {
            "webhook-id": delivery, "webhook-timestamp": stamp,
            "webhook-signature": sign(secret or self.secret, delivery, stamp, body),
        }  # fmt: skip
        url = self.url.rpartition("/")[0] + f"/{trigger}" if trigger else self.url
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers, ssl=self.trusted) as answer,
        ):
            return answer.status, await answer.json()


@pytest_asyncio.fixture
async def webhooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GraphYard]:
    made = GraphService.__init__

    def listening(self: GraphService, config: Any, loops: Any) -> None:
        made(self, dataclasses.replace(config, webhook_port=free_port()), loops)

    monkeypatch.setattr(GraphService, "__init__", listening)
    async with graph_yard(tmp_path) as yard:
        yield yard


async def test_delivery_that_is_signed_is_a_firing_once(webhooks: GraphYard) -> None:
    answer = await created(webhooks, webhook=pb.WebhookSource())
    sender = Sender(answer.trigger.webhook.url, answer.secret)
    status, told = await sender.send(b'{"ref": "main"}')
    assert status == 202, told
    again, repeated = await sender.send(b'{"ref": "main"}')
    assert (again, repeated["firing"]) == (202, told["firing"])
    [one] = await firings(webhooks, answer.trigger.id)
    assert one.id == told["firing"]
    assert '"main"' in one.event_json
    assert (await sender.send(delivery="d-2"))[0] == 202
    assert len(await firings(webhooks, answer.trigger.id)) == 2


async def test_delivery_that_is_not_right_fires_nothing_and_learns_nothing(webhooks: GraphYard) -> None:
    answer = await created(webhooks, webhook=pb.WebhookSource())
    sender = Sender(answer.trigger.webhook.url, answer.secret)
    stranger = "whsec_" + "QUJD" * 10
    refused = [
        await sender.send(secret=stranger),
        await sender.send(age_s=WINDOW_S + 60),
        await sender.send(age_s=-WINDOW_S - 60),
        await sender.send(trigger="tr-999"),
        await sender.send(trigger="tr-999", secret=stranger),
    ]
    assert {status for status, _ in refused} == {401}
    assert len({str(told) for _, told in refused}) == 1
    assert (await sender.send(b"no json"))[0] == 400
    assert (await sender.send(b"[" * 100_000))[0] == 400
    assert (await sender.send(b"x" * (300 << 10)))[0] == 413
    assert not await firings(webhooks, answer.trigger.id)


async def test_secret_of_before_counts_for_a_while(webhooks: GraphYard) -> None:
    answer = await created(webhooks, webhook=pb.WebhookSource())
    request = pb.RotateTriggerSecretRequest(trigger=answer.trigger.id)
    new = (await webhooks.admin.triggers.RotateTriggerSecret(request)).secret
    assert new != answer.secret
    for number, secret in enumerate((answer.secret, new)):
        sender = Sender(answer.trigger.webhook.url, secret)
        assert (await sender.send(delivery=f"d-{number}"))[0] == 202


async def sent_as_github(
    url: str, secret: str, body: bytes = b'{"ref": "main"}', **headers: str
) -> tuple[int, dict[str, Any]]:
    """As its documents say: the signature is of the body alone, under the secret's text."""
    given = {
        "X-GitHub-Delivery": "g-1",
        "X-GitHub-Event": "push",
        "X-Hub-Signature-256": sign_body(secret, body),
    }
    given |= {name.replace("_", "-"): text for name, text in headers.items()}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=given) as answer:
        return answer.status, await answer.json()


async def test_delivery_as_github_signs_it_is_a_firing_once(webhooks: GraphYard) -> None:
    answer = await created(webhooks, webhook=pb.WebhookSource(form=pb.WEBHOOK_FORM_GITHUB))
    url, secret = answer.trigger.webhook.url, answer.secret
    assert (await sent_as_github(url, secret, X_GitHub_Event="ping"))[0] == 200
    status, told = await sent_as_github(url, secret)
    assert status == 202, told
    assert (await sent_as_github(url, secret))[1]["firing"] == told["firing"]
    [one] = await firings(webhooks, answer.trigger.id)
    assert (one.id, one.key) == (told["firing"], "delivery:g-1")
    assert '"push"' in one.event_json and '"main"' in one.event_json
    assert (await sent_as_github(url, secret, X_GitHub_Delivery="g-2"))[0] == 202
    refused = [
        await sent_as_github(url, "whsec_" + "QUJD" * 10),
        await sent_as_github(url, secret, X_GitHub_Delivery=""),
        await sent_as_github(url, secret, X_GitHub_Delivery="x" * 201),
        await sent_as_github(url, secret, X_Hub_Signature_256="sha1=00"),
        await sent_as_github(url, secret, X_Hub_Signature_256="sha256=\udcff"),
        await Sender(url, secret).send(),
        await sent_as_github(url.rpartition("/")[0] + "/tr-999", secret),
    ]
    assert {status for status, _ in refused} == {401}
    assert len({str(told) for _, told in refused}) == 1
    assert len(await firings(webhooks, answer.trigger.id)) == 2


async def test_deliveries_beyond_loopback_come_over_tls(webhooks: GraphYard) -> None:
    answer = await created(webhooks, webhook=pb.WebhookSource())
    service = webhooks.service
    open_to_all = dataclasses.replace(service._config, webhook_host="0.0.0.0", webhook_port=1)
    deliveries = Deliveries(service._firings, service._sealing, service._clock)
    with pytest.raises(WebhooksNeedTls):
        listener_of(open_to_all, deliveries)
    listener = listener_of(dataclasses.replace(open_to_all, tls=True), deliveries)
    assert listener is not None
    listener._port = 0
    await listener.open()
    try:
        place = f"127.0.0.1:{listener.url.rpartition(':')[2]}/triggers/{answer.trigger.id}"
        trusted = ssl.create_default_context(cafile=service._config.state_dir / "tls" / "ca.pem")
        assert listener.url.startswith("https://")
        assert (await Sender(f"https://{place}", answer.secret, trusted).send())[0] == 202
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await Sender(f"https://{place}", answer.secret).send()
        with pytest.raises(aiohttp.ClientError):
            await Sender(f"http://{place}", answer.secret).send()
    finally:
        await listener.close()
    assert len(await firings(webhooks, answer.trigger.id)) == 1


async def test_webhook_changes_its_form_and_nothing_else(webhooks: GraphYard) -> None:
    answer = await created(webhooks, webhook=pb.WebhookSource())
    url, secret = answer.trigger.webhook.url, answer.secret
    assert answer.trigger.webhook.form == pb.WEBHOOK_FORM_STANDARD
    assert (await sent_as_github(url, secret))[0] == 401
    changes = pb.RunTrigger(webhook=pb.WebhookSource(form=pb.WEBHOOK_FORM_GITHUB))
    request = pb.UpdateTriggerRequest(trigger="nightly", changes=changes)
    await webhooks.admin.triggers.UpdateTrigger(request)
    assert (await sent_as_github(url, secret))[0] == 202
    assert (await Sender(url, secret).send())[0] == 401


async def test_backfills_are_listed_page_by_page_with_their_progress(yard: GraphYard) -> None:
    trigger = (await created(yard, cron=pb.CronSource(expression=HOUR))).trigger.id
    made = []
    for year in (2017, 2018, 2019):
        request = pb.CreateBackfillRequest(trigger=trigger)
        request.from_time.FromJsonString(f"{year}-06-01T00:00:00Z")
        request.to_time.FromJsonString(f"{year + 1}-06-01T00:00:00Z")
        made.append((await yard.admin.triggers.CreateBackfill(request)).backfill.id)
    listed: list[pb.Backfill] = []
    token = ""
    while True:
        asked = pb.ListBackfillsRequest(trigger="nightly", page_size=2, page_token=token)
        page = await yard.admin.triggers.ListBackfills(asked)
        listed += page.backfills
        token = page.next_page_token
        if not token:
            break
    assert [one.id for one in listed] == made[::-1]
    for one in listed:
        ended = one.succeeded_count + one.failed_count + one.left_count
        assert one.waiting_count + one.running_count + ended == 1
    everything = await yard.admin.triggers.ListBackfills(pb.ListBackfillsRequest())
    assert [one.id for one in everything.backfills] == made[::-1]
    found = await refusal(yard.admin.triggers.ListBackfills(pb.ListBackfillsRequest(trigger="tr-999")))
    assert found.reason == "TRIGGER_NOT_FOUND"


async def test_firing_waits_for_agents_that_are_on_their_way(tmp_path: Path) -> None:
    async with scheduler_yard(tmp_path) as scheduler:
        yard = GraphYard(scheduler, tmp_path)
        async with connected(scheduler, "n0", ignore, described=list(OPERATORS)):
            await yard.start()
            trigger = (await created(yard, cron=pb.CronSource(expression=HOUR))).trigger.id
        await yard.scheduler.restart()
        await yard.restart()
        try:
            await _wait_for_agents(yard, trigger)
        finally:
            await yard.stop()


async def _wait_for_agents(yard: GraphYard, trigger: str) -> None:
    backfill = pb.CreateBackfillRequest(trigger=trigger)
    backfill.from_time.FromJsonString("2019-06-01T00:00:00Z")
    backfill.to_time.FromJsonString("2020-06-01T00:00:00Z")
    await yard.admin.triggers.CreateBackfill(backfill)
    await wait_until(lambda: yard.service._firings._again_s > 0, "it was tried")
    [waiting] = await firings(yard, trigger)
    assert waiting.state == pb.FIRING_STATE_WAITING
    async with connected(yard.scheduler, "n1", ignore, described=list(OPERATORS)):

        async def has_run() -> bool:
            [one] = await firings(yard, trigger)
            return one.state == pb.FIRING_STATE_STARTED and bool(one.run_id)

        await wait_until(has_run, "it has its run", timeout_s=30)


async def test_trigger_of_a_wrong_time_is_refused_by_its_field(yard: GraphYard) -> None:
    project = await saved(yard)
    for cron, field in (
        ({"expression": "61 * * * *"}, "expression"),
        ({"expression": HOUR, "time_zone": "Mars"}, "zone"),
    ):
        wanted = pb.RunTrigger(name="nightly", project_id=project, cron=pb.CronSource(**cron))
        found = await refusal(yard.admin.triggers.CreateTrigger(pb.CreateTriggerRequest(trigger=wanted)))
        assert field in found.field and found.message
