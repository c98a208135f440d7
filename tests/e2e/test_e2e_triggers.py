"""Triggers as people set them up, on a yard whose graph service is killed around what fires: each moment, delivery,
artefact, version and move of an alias starts one run, and none is lost (issue 7, point 1)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelyard.client import SyncClient
from modelyard.v1 import run_pb2
from modelyard.v1 import trigger_pb2 as pb
from services.graph.triggers.signature import sign, sign_body
from tests.support.processes import Processes
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard, new_yard

pytestmark = pytest.mark.timeout(180)

CANVAS = {
    "nodes": [
        {"id": "told", "operator": "echo", "record": True, "initial_params": {"value": {"$param": "about"}}}
    ],
    "params": {"about": {"default": "nothing"}},
}
NEW_YEAR = "0 0 1 1 *"
MODEL = "class Adder:\n    def predict(self, x: int) -> int:\n        return x + {}\n"
TOOLS = [name for name in ("bash", "curl", "openssl", "base64", "od") if shutil.which(name) is None]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: services live longer than one, and `place` looks at the end."""


class Place:
    """A yard that takes webhooks, with a project whose runs give back what they were told."""

    def __init__(self, yard: Yard, processes: Processes, client: SyncClient) -> None:
        self.yard, self.processes, self.client = yard, processes, client
        canvas = yard.state / "canvas.json"
        canvas.write_text(json.dumps(CANVAS))
        self.said("graph", "save", "told", str(canvas))

    def said(self, *words: str) -> str:
        """What a person reads, on both outputs."""
        result = self.yard.cli(*words)
        assert result.code == 0, f"yard {' '.join(words)}: {result.stderr}"
        return result.stdout + result.stderr

    def trigger(self, name: str, *words: str) -> dict[str, Any]:
        """A new one; with a webhook's secret."""
        made: dict[str, Any] = self.yard.json("trigger", "create", name, "told", *words)
        return made

    def firings(self, name: str) -> list[pb.Firing]:
        """The oldest first; of a trigger or a back-fill."""
        named = {"backfill": name} if name.startswith("b-") else {"trigger": name}
        return list(reversed(self.client.triggers.firings(**named).firings))

    def ended(self, name: str, count: int) -> list[pb.Firing]:
        """That many firings, whose runs have succeeded, each its own."""

        def are_there() -> bool:
            states = [one.run_state for one in self.firings(name)]
            return len(states) >= count and set(states) == {run_pb2.RUN_STATE_SUCCEEDED}

        wait_until_sync(are_there, f"{count} firings of {name} have run", timeout_s=90, state=self.yard.logs)
        found = self.firings(name)
        assert len(found) == count, found
        assert len({one.run_id for one in found}) == count, found
        return found

    def told(self, firing: pb.Firing) -> Any:
        """What its run was told."""
        [result] = self.client.runs.get(firing.run_id).results
        return json.loads(result.outputs[0].value_json)

    def kill(self) -> None:
        """The graph service, by SIGKILL; it is started again, and serves."""
        self.processes.kill("graph")
        self.start()

    def start(self, wish: str = "") -> None:
        self.processes.start("graph", wish)
        if not wish:
            self.yard.wait_for("graph")

    def put_back(self, name: str, since: datetime) -> None:
        """As if the service had been away since then. It must not run."""
        since_ms = int(since.timestamp() * 1000)
        with sqlite3.connect(self.yard.state / "graph" / "graph.db") as database:
            changed = database.execute(
                "UPDATE run_trigger SET cursor = ?, next_ms = ? WHERE name = ?",
                (since_ms, since_ms + 1, name),
            )
            assert changed.rowcount == 1
        database.close()


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with new_yard(is_up=False, agents=1) as yard:
        port = yard.port + 7
        processes = Processes(yard, models=True, more={"graph": ("--webhook-port", str(port))})
        with SyncClient(state=yard.state) as client:
            yield Place(yard, processes, client)
        processes.stop()
        assert not yard.left_over()


def sent(url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
    """What is answered to a delivery."""
    request = urllib.request.Request(url, data=body, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def standard(secret: str, delivery: str, body: bytes) -> dict[str, str]:
    stamp = str(int(time.time()))
    return {
        "webhook-id": delivery, "webhook-timestamp": stamp, "webhook-signature": sign(secret, delivery, stamp, body)
    }  # fmt: skip


def github(secret: str, delivery: str, body: bytes) -> dict[str, str]:
    return {
        "X-GitHub-Delivery": delivery, "X-GitHub-Event": "push", "X-Hub-Signature-256": sign_body(secret, body)
    }  # fmt: skip


FORMS = {"standard": standard, "github": github}


def test_times_that_were_missed_fire_as_declared_and_once_whoever_dies(place: Place) -> None:
    for name in ("all", "last", "none"):
        words = ("--cron", NEW_YEAR, "--catch-up", name, "--from-event", "about=date")
        assert place.trigger(f"years-{name}", *words)["nextTimes"]
    place.processes.kill("graph")
    for name in ("all", "last", "none"):
        place.put_back(f"years-{name}", datetime(2022, 6, 1, tzinfo=UTC))
    years = [f"{year}-01-01" for year in range(2023, datetime.now(UTC).year + 1)]
    for point in ("before", "after"):
        place.start(f"graph.{point}_firing:kill")
        place.processes.wait("graph")
    place.start()
    found = place.ended("years-all", len(years))
    assert [one.logical_time.ToJsonString() for one in found] == [f"{day}T00:00:00Z" for day in years]
    assert [place.told(one) for one in found] == years
    [last] = place.ended("years-last", 1)
    assert place.told(last) == years[-1]
    assert not place.firings("years-none")
    # What was left out is told, with what makes it good.
    assert "yard trigger backfill" in place.said("trigger", "get", "years-none")
    assert "missed" not in place.said("trigger", "get", "years-all")


@pytest.mark.parametrize("form", FORMS)
def test_delivery_that_was_answered_runs_once_whoever_dies(place: Place, form: str) -> None:
    name = f"pushed-{form}"
    made = place.trigger(name, "--webhook", "--form", form, "--from-event", "about=body.ref")
    url, secret = made["trigger"]["webhook"]["url"], made["secret"]
    answers = []
    for number in range(2):
        delivery, body = str(uuid.uuid4()), json.dumps({"ref": f"v{number}"}).encode()
        status, told = sent(url, FORMS[form](secret, delivery, body), body)
        assert status == 202, told
        place.kill()
        assert sent(url, FORMS[form](secret, delivery, body), body) == (202, told)
        answers.append(told["firing"])
    assert sent(url, FORMS[form]("whsec_" + "QUJD" * 10, "d", b"{}"), b"{}")[0] == 401
    found = place.ended(name, len(answers))
    assert [one.id for one in found] == answers
    assert [place.told(one) for one in found] == ["v0", "v1"]


@pytest.mark.skipif(bool(TOOLS), reason=f"this machine has no {', '.join(TOOLS)}")
@pytest.mark.parametrize("form", FORMS)
def test_lines_that_try_a_webhook_do_as_they_stand(place: Place, form: str) -> None:
    said = place.said("trigger", "create", f"tried-{form}", "told", "--webhook", "--form", form)
    lines = said.partition("to try it:\n")[2]
    done = subprocess.run(["bash", "-euc", lines], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    [one] = place.ended(f"tried-{form}", 1)
    assert json.loads(done.stdout) == {"firing": one.id}
    assert "whsec_…" in place.said("trigger", "get", f"tried-{form}")


def test_new_artefact_runs_once_also_one_that_came_while_the_service_was_away(place: Place) -> None:
    place.trigger("arrived", "--artifact", "data/", "--from-event", "about=name")
    page = place.yard.state / "page.txt"
    place.processes.kill("graph")
    for number in range(2):
        page.write_text(f"page {number}")
        place.said("artifacts", "put", str(page), "--name", f"data/{number}.txt")
    place.start()
    place.ended("arrived", 2)
    page.write_text("another")
    place.said("artifacts", "put", str(page), "--name", "elsewhere.txt")
    page.write_text("page 2")
    place.said("artifacts", "put", str(page), "--name", "data/2.txt")
    place.kill()
    found = place.ended("arrived", 3)
    assert {place.told(one) for one in found} == {"data/0.txt", "data/1.txt", "data/2.txt"}


def test_version_and_move_of_an_alias_run_once_whoever_dies(place: Place) -> None:
    file = place.yard.state / "adder.py"
    file.write_text(MODEL.format(1))
    place.said("model", "push", str(file), "--name", "adder")
    place.trigger("versions", "--model", "adder", "--from-event", "about=version")
    place.trigger("moves", "--model", "adder", "--alias", "champion", "--from-event", "about=version")
    file.write_text(MODEL.format(2))
    place.processes.kill("graph")
    place.said("model", "push", str(file), "--name", "adder", "--alias", "champion")
    place.start()
    for name in ("versions", "moves"):
        [one] = place.ended(name, 1)
        assert place.told(one) == 2
    place.kill()
    assert len(place.firings("versions")) == len(place.firings("moves")) == 1


def test_backfill_that_is_killed_in_the_middle_goes_on(place: Place) -> None:
    place.trigger("filled", "--cron", NEW_YEAR, "--from-event", "about=date")
    words = ("--from", "2008-01-01", "--to", "2020-01-01", "--max-running", "2")
    backfill = place.said("trigger", "backfill", "filled", *words, "--detach", "-o", "name").split()[0]

    def some() -> bool:
        return any(one.run_state == run_pb2.RUN_STATE_SUCCEEDED for one in place.firings(backfill))

    wait_until_sync(some, "some of it has run", timeout_s=60, state=place.yard.logs)
    os.kill(place.processes.pid("graph"), signal.SIGKILL)
    place.processes.wait("graph")
    place.start()
    followed = place.said("trigger", "backfill", backfill)
    assert "12 of 12 done" in followed
    found = place.ended(backfill, 12)
    assert sorted(one.logical_time.ToJsonString()[:4] for one in found) == [
        str(year) for year in range(2008, 2020)
    ]
    listed = place.said("trigger", "backfill", "list")
    assert backfill in listed and "12 of 12 done" in listed


def test_files_of_the_yard_hold_no_secret_of_a_webhook(place: Place) -> None:
    secret = place.trigger("silent", "--webhook")["secret"]
    for path in Path(place.yard.state).rglob("*"):
        if path.is_file() and ("graph" in path.parts or "logs" in path.parts):
            assert secret.encode() not in path.read_bytes(), path
