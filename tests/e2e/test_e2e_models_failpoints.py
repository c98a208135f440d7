"""The models service dies by kill -9 at every point of its step, twice; a version is READY all the same (S2)."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from modelyard.v1 import deployment_pb2
from modelyard.v1 import model_pb2 as pb
from tests.support.processes import Processes
from tests.support.yard import Yard, new_yard

T = TypeVar("T")
POINTS = (
    "models.before_commit",
    "models.after_commit",
    "models.before_submit",
    "models.after_submit",
    "models.before_read",
    "models.before_errand",
    "models.after_errand",
)
FRAME_POINTS = (
    "models.before_frames",
    "models.after_frames",
    "models.before_seat",
    "models.after_seat",
    "models.after_release",
    "models.before_commands",
    "models.before_ack",
)
LIVING = (
    deployment_pb2.FRAME_STATE_PENDING,
    deployment_pb2.FRAME_STATE_LOADING,
    deployment_pb2.FRAME_STATE_READY,
    deployment_pb2.FRAME_STATE_DRAINING,
)
GREETER = """class Greeter:
    def predict(self, name: str) -> str:
        return "hello " + name
"""


def occasions(point: str) -> tuple[int, ...]:
    """How often the point is passed for one version; one errand is owed for it."""
    return (1,) if "errand" in point else (1, 2)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: services live longer than one."""


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[Yard, Processes]]:
    with new_yard(is_up=False, agents=1) as yard:
        made = Processes(yard, models=True)
        yield yard, made
        made.stop()


class Watch:
    """Starts the service again whenever it has died; at its second life too it dies at the point."""

    def __init__(self, made: Processes, wish: str) -> None:
        self._made = made
        self._wish = wish
        self.deaths = 0

    async def until(self, ask: Callable[[], Awaitable[T | None]]) -> T:
        """Its answer, once there is one; what is asked may be asked again."""
        async with asyncio.timeout(100):
            while True:
                if self._made.ended("models") is not None:
                    self.deaths += 1
                    self._made.start("models", self._wish if self.deaths < 2 else "")
                with contextlib.suppress(Exception):
                    found = await asyncio.wait_for(ask(), 1)
                    if found is not None:
                        return found
                await asyncio.sleep(0.05)


@pytest.mark.asyncio
@pytest.mark.timeout(150)
@pytest.mark.parametrize(("point", "nth"), [(point, nth) for point in POINTS for nth in occasions(point)])
async def test_version_outlives_a_service_that_is_killed_at(
    point: str, nth: int, processes: tuple[Yard, Processes]
) -> None:
    yard, made = processes
    name, wish, request_id = f"m-{uuid.uuid4().hex[:8]}", f"{point}:kill@{nth}", str(uuid.uuid4())
    await asyncio.to_thread(made.restart, "models", wish)
    watch = Watch(made, wish)
    with tempfile.TemporaryDirectory(prefix="yard-component-") as folder:
        file = Path(folder) / "greeter.py"
        file.write_text(GREETER + f"# {name}\n")
        async with yard.client() as client:
            push = lambda: client.models.push(file, name=name, request_id=request_id)  # noqa: E731
            assert (await watch.until(push)).version.version == 1

            async def ended() -> pb.ModelVersion | None:
                found = await client.models.version(name)
                return (
                    found
                    if found.state in (pb.MODEL_VERSION_STATE_READY, pb.MODEL_VERSION_STATE_FAILED)
                    else None
                )

            found = await watch.until(ended)
            assert found.state == pb.MODEL_VERSION_STATE_READY, found.message

            async def has_died() -> bool | None:
                """What is owed after the end is owed to the death as well."""
                return bool(watch.deaths) or None

            await watch.until(has_died)
            await asyncio.to_thread(made.restart, "models", "")
            assert [one.version for one in await client.models.versions(name)] == [1]
            config = await client.models.config(name)
            assert (config.state, bool(config.golden_digest)) == (pb.MODEL_VERSION_STATE_READY, True)

            async def is_held() -> bool | None:
                kept = await client.artifacts.stat(found.component.files[0].digest)
                return kept.reference_count >= 1 or None

            await watch.until(is_held)
    with contextlib.closing(sqlite3.connect(yard.state / "models" / "models.db")) as database:
        assert database.execute("SELECT count(*) FROM step").fetchone() == (0,), (
            "work that nobody waits for is gone"
        )


@pytest.fixture(scope="module")
def greeter(processes: tuple[Yard, Processes]) -> str:
    """A model that is READY."""
    yard, made = processes
    made.restart("models", "")
    with tempfile.TemporaryDirectory(prefix="yard-component-") as folder:
        file = Path(folder) / "greeter.py"
        file.write_text(GREETER)
        done = yard.cli("model", "push", str(file), "--name", "loaded")
        assert done.code == 0, done.stderr
    return "loaded"


@pytest.mark.asyncio
@pytest.mark.timeout(150)
@pytest.mark.parametrize("point", FRAME_POINTS)
async def test_frame_is_loaded_once_though_the_service_is_killed_at(
    point: str, processes: tuple[Yard, Processes], greeter: str
) -> None:  # S2.5
    yard, made = processes
    wish = f"{point}:kill@1"
    await asyncio.to_thread(made.restart, "models", wish)
    watch = Watch(made, "")
    async with yard.client() as client:

        async def loaded() -> bool | None:
            frame = await client.deployments.load(greeter, timeout_s=1)
            return (frame.state == deployment_pb2.FRAME_STATE_READY and watch.deaths > 0) or None

        try:
            assert await watch.until(loaded), "it has died at the point, and the frame is there"
        except TimeoutError:
            raise AssertionError(
                f"{watch.deaths} deaths; {await client.deployments.frames(model=greeter)}"
            ) from None
        answer = await client.models.call(greeter, {"name": "Ada"})
        assert answer.outputs["result"].text == "hello Ada"
        living = [
            one for one in (await client.deployments.frames(model=greeter)).frames if one.state in LIVING
        ]
        assert len(living) == 1, living
        await client.deployments.unload(greeter)

        async def is_gone() -> bool | None:
            return (
                not [
                    one
                    for one in (await client.deployments.frames(model=greeter)).frames
                    if one.state in LIVING
                ]
                or None
            )

        await watch.until(is_gone)
