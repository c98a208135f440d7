"""Modelyard: scheduler, store, graph service and one agent, all durable; chains are runs of a canvas."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from pathlib import Path

from driver import System, check, drive

from modelyard.client import Client
from modelyard.errors import YardError
from modelyard.v1 import run_pb2, task_pb2


class Own(System):
    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.state = place / "state"
        base = int(os.environ["YARD_BENCH_PORT_BASE"])
        yard = Path(sys.executable).with_name("yard")
        self.parts = {
            "yard": [str(yard), "up", "--state", str(self.state), "--port-base", str(base), "--cpu", "2"],
        }
        self.loop = asyncio.new_event_loop()
        self.projects: dict[int, str] = {}

    def connect(self) -> None:
        if not (self.state / "run" / "agent-node-1.json").exists():
            raise OSError("not up yet")
        try:
            self.client = self.loop.run_until_complete(self._client())
        except (YardError, FileNotFoundError) as error:
            raise OSError(str(error)) from error

    async def _client(self) -> Client:
        return await Client(state=self.state).__aenter__()

    def call(self) -> None:
        try:
            check(self.loop.run_until_complete(self.client.call("echo", value=1)), 1)
        except YardError as error:
            raise RuntimeError(str(error)) from error

    def many(self, count: int) -> None:
        values = [{"value": i} for i in range(count)]
        check(self.loop.run_until_complete(self.client.map("echo", values)), list(range(count)))

    def chain(self, count: int) -> None:
        self.loop.run_until_complete(self._chain(count))

    async def _chain(self, count: int) -> None:
        if count not in self.projects:
            made = await self.client.projects.create(uuid.uuid4().hex)
            await self.client.projects.save(made.id, chain_of(count), must_be_valid=True)
            self.projects[count] = made.id
        run = await self.client.runs.start(self.projects[count], refresh=True)
        check((await self.client.runs.wait(run.id)).state, run_pb2.RUN_STATE_SUCCEEDED)

    def hand_in(self, count: int, seconds: float, path: Path) -> None:
        self.handed = self.loop.run_until_complete(self._hand_in(count, seconds, path))

    async def _hand_in(self, count: int, seconds: float, path: Path) -> list[str]:
        bundle = await self.client.artifacts.bundle(Path(__file__).parent)
        specs = [
            task_pb2.TaskSpec(
                operator=task_pb2.OperatorWork(operator="driver:wait_and_note"), bundle_digest=bundle,
                params_json=json.dumps({"number": i, "seconds": seconds, "path": str(path)}),
            )
            for i in range(count)
        ]  # fmt: skip
        return await self.client.tasks.submit(*specs)

    def results(self, timeout_s: float) -> int:
        return self.loop.run_until_complete(self._results(timeout_s))

    async def _results(self, timeout_s: float) -> int:
        waits = [asyncio.ensure_future(self.client.tasks.wait(task)) for task in self.handed]
        done, late = await asyncio.wait(waits, timeout=timeout_s)
        for one in late:
            one.cancel()
        return sum(one.exception() is None for one in done)

    def victim(self, name: str) -> int:
        ready = {"scheduler": "scheduler", "agent": "agent-node-1"}[name]
        return int(json.loads((self.state / "run" / f"{ready}.json").read_text())["pid"])

    def again(self, name: str) -> None:
        """`yard up` has begun it anew."""


def chain_of(count: int) -> str:
    nodes = [{"id": "n0", "operator": "echo", "initial_params": {"value": "1"}}]
    nodes += [
        {"id": f"n{i}", "operator": "text.replace", "initial_params": {"find": "x"}} for i in range(1, count)
    ]
    edges = [{"source": f"n{i}", "target": f"n{i + 1}"} for i in range(count - 1)]
    return json.dumps({"format": "canvas/1", "nodes": nodes, "edges": edges})


if __name__ == "__main__":
    drive(Own)
