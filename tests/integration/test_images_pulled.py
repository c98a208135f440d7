"""Images from a real registry: pulled before the task starts, once for all who wait, with what `docker login` left."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelyard.enclosure.engine import Engine
from modelyard.enclosure.image import ImageMissing, fetch, resolve
from modelyard.enclosure.order import Image, Trouble
from modelyard.enclosure.pull import HASTY, Patience, Pull, PullCancelled, PullFailed
from modelyard.enclosure.registries import header
from modelyard.enclosure.telling import SAID, Telling, is_coming
from modelyard.v1 import task_pb2
from tests.support.agent_process import command, running_agent
from tests.support.enclosed_frames import need
from tests.support.fake_scheduler import FakeScheduler
from tests.support.ports import free_port
from tests.support.registry import answering, forget, gate, logged_in, publish, running_registry

NOBODY = {"HOME": "/nonexistent"}


@pytest.fixture(scope="module")
def engine() -> Engine:
    need("container")
    return Engine.find(os.environ)


@pytest.fixture(scope="module")
def registry(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@contextmanager
def published(engine: Engine, registry: str, name: str, auth: str = "e30=") -> Iterator[tuple[str, str]]:
    """NAME:TAG and NAME@DIGEST; of neither is anything here, afterwards either."""
    image = f"{registry}/{name}:1"
    source = publish(engine, image, auth)
    try:
        yield image, source
    finally:
        forget(engine, image)
        forget(engine, source)


def shell(image: str, script: str = "echo $((6 * 7))", start_timeout_s: int = 0) -> task_pb2.TaskSpec:
    spec = command("/bin/sh", "-c", script, environment=task_pb2.Environment(image=image))
    spec.timeouts.run_timeout.FromSeconds(60)
    spec.timeouts.start_timeout.FromSeconds(start_timeout_s)
    return spec


def words(scheduler: FakeScheduler, task_id: str) -> list[str]:
    """What was told of it as progress."""
    return [
        event.progress.message
        for event in scheduler.events
        if event.task_id == task_id and event.WhichOneof("event") == "progress"
    ]


def test_image_is_pulled_by_tag_and_by_digest(engine: Engine, registry: str) -> None:
    with published(engine, registry, "team/sh") as (image, source):
        for name in (image, source):
            forget(engine, name)
            found = fetch(engine, name, Pull(engine, name, NOBODY))
            assert (found.name, found.source, bool(found.digest)) == (name, source, True)


def test_image_that_cannot_be_had_is_told_with_what_to_do(engine: Engine, registry: str) -> None:
    for image, why, step in (
        (f"{registry}/team/none:1", "manifest unknown", "name a tag that its registry has"),
        ("127.0.0.1:9/team/none:1", "connection refused", "see that the node reaches 127.0.0.1:9"),
        (f"{registry}/Team:1", "must be lowercase", "in small letters"),
    ):
        with pytest.raises(ImageMissing, match=why) as missing:
            fetch(engine, image, Pull(engine, image, NOBODY), patience=HASTY)
        assert image in str(missing.value) and step in missing.value.next_step


def test_registry_that_wants_a_password_gets_what_docker_login_left(engine: Engine, tmp_path: Path) -> None:
    with running_registry(tmp_path / "registry", is_locked=True) as registry:
        known = {"DOCKER_CONFIG": str(logged_in(tmp_path / "known", registry))}
        wrong = {"DOCKER_CONFIG": str(logged_in(tmp_path / "wrong", registry, "no"))}
        with published(engine, registry, "sh", header(f"{registry}/sh", known)) as (image, _):
            with pytest.raises(PullFailed) as refused:
                Pull(engine, image, NOBODY).run()
            assert f"docker login {registry} on the node" in refused.value.next_step
            with pytest.raises(PullFailed, match="unauthorized") as refused:
                Pull(engine, image, wrong).run()
            assert "is not accepted" in refused.value.next_step
            Pull(engine, image, known).run()
            assert engine.image_id(image)


def test_registry_that_says_nothing_is_given_up_and_one_that_nobody_waits_for_too(engine: Engine) -> None:
    with gate("") as (silent, _):
        with pytest.raises(PullFailed, match=f"{silent}, or the engine, has said nothing"):
            Pull(engine, f"{silent}/sh:1", NOBODY, silent_s=0.3).run()
        pull = Pull(engine, f"{silent}/sh:1", NOBODY)
        with pytest.raises(PullCancelled):
            pull.run(lambda _: threading.Timer(0.2, pull.cancel).start())


class Waits:
    """How long a pull wanted to wait; it never does."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def wait(self, cancelled: threading.Event, seconds: float) -> bool:
        self.seconds.append(seconds)
        return cancelled.is_set()

    def patience(self, chance: float) -> Patience:
        return Patience(chance=lambda: chance, wait=self.wait)


@pytest.mark.parametrize(
    ("status", "way"), [(503, "Service Unavailable"), (429, "HTTP 429"), (0, "EOF|connection reset")]
)
def test_registry_that_is_away_is_tried_a_few_times_within_a_minute_and_then_given_up(
    engine: Engine, status: int, way: str
) -> None:
    with answering(status) as (away, _):
        waits, told, image = Waits(), list[str](), f"{away}/sh:1"
        with pytest.raises(ImageMissing, match=r"tried 6 times") as missing:
            fetch(engine, image, Pull(engine, image, NOBODY), told.append, waits.patience(1))
        assert f"see that the node reaches {away}" in missing.value.next_step
        assert waits.seconds == [2, 4, 8, 16, 30] and sum(waits.seconds) <= 60
        waited = [words for words in told if words]
        assert len(waited) == 5
        assert re.fullmatch(rf"its registry {away} is away \(({way})\); try 2 of 6 in 2 s", waited[0])
        with pytest.raises(PullFailed):
            Pull(engine, image, NOBODY).run(patience=waits.patience(0))
        assert waits.seconds[5:] == [1, 2, 4, 8, 15], "chance makes them shorter, to the half"


def test_registry_that_refuses_is_asked_once(engine: Engine, registry: str) -> None:
    waits = Waits()
    with pytest.raises(PullFailed, match="manifest unknown"):
        Pull(engine, f"{registry}/team/none:1", NOBODY).run(patience=waits.patience(1))
    with answering(404) as (nothing, _), pytest.raises(PullFailed):
        Pull(engine, f"{nothing}/sh:1", NOBODY).run(patience=waits.patience(1))
    with answering(403) as (closed, _), pytest.raises(PullFailed):
        Pull(engine, f"{closed}/sh:1", NOBODY).run(patience=waits.patience(1))
    gone = Engine("/nonexistent/docker.sock")
    with pytest.raises(PullFailed, match="the container engine at"):
        Pull(gone, f"{registry}/sh:1", NOBODY).run(patience=waits.patience(1))
    assert not waits.seconds


def test_pull_that_waits_for_a_registry_ends_at_once_when_it_is_cancelled(engine: Engine) -> None:
    with answering(503) as (away, asked):
        pull = Pull(engine, f"{away}/sh:1", NOBODY)
        tried: list[int] = []

        def hear(words: str) -> None:
            if "is away" in words:
                tried.append(len(asked))
                threading.Timer(0.05, pull.cancel).start()

        with pytest.raises(PullCancelled):
            pull.run(hear, Patience(pauses_s=(3600,)))
        assert tried == [len(asked)], "it is not asked again"


@pytest.mark.asyncio
async def test_task_waits_for_a_registry_that_is_started_anew_and_says_so(
    engine: Engine, tmp_path: Path
) -> None:
    port = free_port()
    with running_registry(tmp_path / "registry", port=port) as registry:
        image = f"{registry}/moment:1"
        publish(engine, image)
    async with running_agent(tmp_path / "y") as (scheduler, _):
        scheduler.start_tasks(shell(image), ["t-1"])
        away = (
            f"pulling the image {image}: its registry {registry} is away (connection refused); try 2 of 6 in "
        )
        await scheduler.until(lambda: any(said.startswith(away) for said in words(scheduler, "t-1")))
        with running_registry(tmp_path / "registry", port=port):
            (end,) = await scheduler.exited("t-1")
            assert not end.HasField("error"), end
            await scheduler.until(lambda: words(scheduler, "t-1")[-1] == "")
    forget(engine, image)


@pytest.mark.asyncio
async def test_task_that_waits_for_a_registry_is_cancelled_at_once(tmp_path: Path) -> None:
    need("container")
    with answering(503) as (away, _):
        async with running_agent(tmp_path / "y") as (scheduler, agent):
            scheduler.start_tasks(shell(f"{away}/sh:1"), ["t-1"])
            await scheduler.until(lambda: any("is away" in said for said in words(scheduler, "t-1")))
            scheduler.stop_task("t-1", grace_ms=0)
            (end,) = await scheduler.exited("t-1")
            assert end.error.cause == task_pb2.TASK_CAUSE_CANCELLED
            await scheduler.until(lambda: "image_pulled" in agent.text(), "the pull is given up")


def test_frames_image_is_pulled_and_pulled_again_as_the_one_that_it_was_tried_in(
    engine: Engine, registry: str, capfd: pytest.CaptureFixture[str]
) -> None:  # S2.4
    with published(engine, registry, "frame") as (image, source):
        telling = Telling(image)
        tried = resolve(engine, image, Image(), NOBODY, telling.take)
        telling.end()
        coming, here = capfd.readouterr().err.splitlines()
        assert re.match(SAID, coming) and is_coming(coming)
        assert re.match(SAID, here) and not is_coming(here)
        forget(engine, image)
        assert resolve(engine, image, tried, NOBODY) == Image(tried.digest, tried.digest, source)
    missing = f"{registry}/none:1"
    with pytest.raises(Trouble, match="name a tag that its registry has") as refused:
        resolve(engine, missing, Image(), NOBODY)
    assert refused.value.field == "runtime.image"


@pytest.mark.asyncio
async def test_tasks_wait_for_one_pull_are_told_of_it_and_their_run_begins_after_it(
    engine: Engine, registry: str, tmp_path: Path
) -> None:
    with gate(registry) as (address, opened):
        source = publish(engine, f"{registry}/shared:1").rpartition("@")[2]
        image = f"{address}/shared@{source}"
        async with running_agent(tmp_path / "y") as (scheduler, agent):
            scheduler.start_tasks(shell(image), ["t-1", "t-2"])
            told = f"pulling the image {image}"
            await scheduler.until(lambda: all(told in words(scheduler, one) for one in ("t-1", "t-2")))
            assert not {"started", "exited"} & {*scheduler.kinds("t-1"), *scheduler.kinds("t-2")}
            opened.set()
            for end in await scheduler.exited("t-1", "t-2"):
                assert not end.HasField("error"), end
            await scheduler.until(lambda: scheduler.log("t-1") == scheduler.log("t-2") == b"42\n")
            await scheduler.until(lambda: all(words(scheduler, one)[-1] == "" for one in ("t-1", "t-2")))
            assert agent.text().count("image_pulled") == 1
        forget(engine, image)


@pytest.mark.asyncio
async def test_pull_ends_with_the_last_task_that_waits_for_it_and_a_start_timeout_holds(
    tmp_path: Path,
) -> None:
    need("container")
    with gate("") as (silent, _):
        async with running_agent(tmp_path / "y") as (scheduler, agent):
            image = f"{silent}/sh:1"
            scheduler.start_tasks(shell(image), ["t-1"])
            scheduler.start_tasks(shell(image, start_timeout_s=1), ["t-2"])
            (late,) = await scheduler.exited("t-2")
            assert late.error.cause == task_pb2.TASK_CAUSE_TIMEOUT and "start_timeout" in late.error.message
            assert "image_pulled" not in agent.text()
            scheduler.stop_task("t-1", grace_ms=0)
            (end,) = await scheduler.exited("t-1")
            assert end.error.cause == task_pb2.TASK_CAUSE_CANCELLED
            await scheduler.until(lambda: "image_pulled" in agent.text(), "the pull is given up")


@pytest.mark.asyncio
async def test_agent_shows_what_docker_login_left(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_registry(tmp_path / "registry", is_locked=True) as registry:
        folder = logged_in(tmp_path / "known", registry)
        auth = header(f"{registry}/sh", {"DOCKER_CONFIG": str(folder)})
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nothing"))
        with published(engine, registry, "sh", auth) as (image, _):
            async with running_agent(tmp_path / "y") as (scheduler, _):
                scheduler.start_tasks(shell(image), ["t-1"])
                (end,) = await scheduler.exited("t-1")
                assert end.error.cause == task_pb2.TASK_CAUSE_SETUP
                assert f"docker login {registry}" in end.error.next_step
                # Logged in while the agent runs: nothing has to be started anew.
                folder.rename(tmp_path / "nothing")
                scheduler.start_tasks(shell(image), ["t-2"])
                (end,) = await scheduler.exited("t-2")
                assert not end.HasField("error"), end
