"""The light mixed load of a soak: one of everything, over and over, each kind at its own pace.

What is wrong is remembered in words. Nothing here keeps what has ended, so that the client may be measured as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from modelyard.client.aio import Client
from modelyard.client.outcomes import SUCCEEDED
from modelyard.client.specs import command_spec
from modelyard.client.triggers import cron
from modelyard.errors import YardError
from modelyard.v1 import job_pb2, run_pb2
from tests.e2e.training_history import ENDED

MODEL = "class Adder:\n    def predict(self, x: int) -> int:\n        return x + {more}\n"
JOB = """
kind: Job
framework: plain
name: soaked
argv: [sh, -c, 'echo working; echo 7 > m.json']
resources: {cpu: 0.2}
roles:
  worker: {count: 2, clean: {keep: [m.json]}}
"""
CANVAS = {
    "nodes": [
        {"id": "a", "operator": "echo", "cache": "off", "initial_params": {"value": 1}},
        {"id": "b", "command": {"argv": ["sh", "-c", "echo soaked; echo 7 > f"], "outputs": {"out": "f"}}},
        {"id": "c", "operator": "files.read", "cache": "off", "record": True},
    ],
    "edges": [
        {"id": "e", "source": "a", "target": "b", "kind": "order"},
        {"id": "f", "source": "b", "source_port": "out", "target": "c"},
    ],
}
KEPT_VERSIONS = 3


class Light:
    """Its kinds are methods; `done` counts them, `wrong` says what was not as it should be."""

    def __init__(self, client: Client, room: Path, dice: random.Random) -> None:
        self._client, self._room, self._dice = client, room, dice
        self._numbers = itertools.count(1)
        self._project = ""
        self._trigger = ""
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def prepare(self) -> None:
        """A model that is deployed, a canvas that is saved, a trigger for each minute."""
        await self._push("adder", 5)
        await self._client.deployments.deploy(["adder"], name="adder")
        self._project = (await self._client.projects.create("soak")).id
        saved = await self._client.projects.save(self._project, json.dumps(CANVAS))
        assert not saved.problems, saved.problems
        made = await self._client.triggers.create("each-minute", self._project, cron("* * * * *"))
        self._trigger = made.trigger.id

    async def run(self, until: asyncio.Event) -> None:
        """Every kind at its pace, seconds apart."""
        paces: dict[str, tuple[float, Callable[[], Awaitable[None]]]] = {
            "operators called": (1.0, self._operator), "models called": (1.0, self._model),
            "commands": (3.0, self._command), "logs followed": (10.0, self._logs), "runs": (6.0, self._run),
            "artefacts put and removed": (7.0, self._artefact), "jobs": (20.0, self._job),
            "versions pushed and deleted": (60.0, self._version), "triggers fired": (30.0, self._fire),
        }  # fmt: skip
        await asyncio.gather(*(self._kind(name, pace, act, until) for name, (pace, act) in paces.items()))

    async def _kind(
        self, name: str, pace_s: float, act: Callable[[], Awaitable[None]], until: asyncio.Event
    ) -> None:
        while not until.is_set():
            try:
                await act()
                self.done[name] += 1
            except YardError as error:
                self.wrong.append(f"{name}: {error.code} {error}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._dice.uniform(0.5, 1.5) * pace_s):
                    await until.wait()

    def _expect(self, is_right: bool, words: str) -> None:
        if not is_right:
            self.wrong.append(words)

    async def _operator(self) -> None:
        value = next(self._numbers)
        got = await self._client.call("echo", value=value)
        self._expect(got == value, f"echo({value}) is {got!r}")

    async def _model(self) -> None:
        value = next(self._numbers)
        got = await self._client.models.call("adder", {"x": [value]})
        [number] = next(iter(got.outputs.values())).value
        self._expect(number == value + 5, f"adder({value}) is {number}")

    async def _command(self) -> None:
        [task] = await self._client.tasks.submit(command_spec(["sh", "-c", "echo $$"], {"cpu": 0.2}))
        ended = await self._client.tasks.wait(task)
        self._expect(ended.state == SUCCEEDED, f"{task}: state {ended.state}")

    async def _logs(self) -> None:
        line = f"line {next(self._numbers)}"
        argv = ["sh", "-c", f"for i in 1 2 3; do echo {line}; sleep 0.2; done"]
        [task] = await self._client.tasks.submit(command_spec(argv, {"cpu": 0.1}))
        text = b"".join([chunk.data async for chunk in self._client.tasks.logs(task, follow=True)])
        self._expect(text.count(line.encode()) == 3, f"{task} wrote {text!r}")

    async def _run(self) -> None:
        run = await self._client.runs.start(self._project)
        ended = await self._client.runs.wait(run.id)
        self._expect(ended.state == run_pb2.RUN_STATE_SUCCEEDED, f"{run.id}: {ended.state} {ended.error}")

    async def _job(self) -> None:
        job = (await self._client.jobs.create(JOB)).id
        async for told in self._client.jobs.watch(job):
            if told.HasField("job") and told.job.state in ENDED:
                break
        ended = await self._client.jobs.get(job)
        self._expect(ended.state == job_pb2.JOB_STATE_SUCCEEDED, f"{job}: state {ended.state}")

    async def _artefact(self) -> None:
        made = await self._client.artifacts.put(self._dice.randbytes(50_000))
        await self._client.artifacts.remove(made.digest)

    async def _push(self, name: str, more: int) -> int:
        file = self._room / f"{name}.py"
        file.write_text(MODEL.format(more=more))
        made = await self._client.models.push(file, name=name)
        await self._client.models.settled(name, made.version.version)
        return made.version.version

    async def _version(self) -> None:
        """A few versions are there at any time."""
        version = await self._push("passing", next(self._numbers))
        if version > KEPT_VERSIONS:
            await self._client.models.remove("passing", version - KEPT_VERSIONS)

    async def _fire(self) -> None:
        await self._client.triggers.fire(self._trigger)
