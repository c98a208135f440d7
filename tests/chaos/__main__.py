"""`python -m tests.chaos --seconds 120 --seed 7`: a whole yard under a mixed load while everything in it fails.

Tasks, runs of canvases, training jobs and calls of a model go on while services and agents are killed, stopped, cut off
and have no room to write. Afterwards: what was acknowledged has ended, once, as it may; what was answered is right.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from modelyard.client.aio import Client
from modelyard.client.specs import command_spec
from modelyard.errors import YardError
from modelyard.v1 import job_pb2, run_pb2
from tests.chaos.faults import Faults, Keeper
from tests.e2e.history import Call, History
from tests.e2e.tcp_proxy import Proxy
from tests.e2e.training_history import ENDED, Run, TrainingHistory
from tests.e2e.training_load import Load
from tests.support.processes import Processes
from tests.support.yard import Yard, new_yard

AFTERWARDS_S = 240.0
CALL_S = 30.0
ADDER = "class Adder:\n    def predict(self, x: int) -> int:\n        return x + 5\n"
JOB = """
kind: Job
framework: plain
name: trained
argv: [sh, -c, 'sleep 0.5; echo 7 > m.json']
resources: {cpu: 0.2}
roles:
  worker: {clean: {keep: [m.json]}, restart: {when: [exit, signal, setup, node_lost, hang], max: 9, backoff: [100ms]}}
"""
NODES = [
    {"id": "a", "operator": "echo", "cache": "off", "initial_params": {"value": 1}},
    {"id": "b", "operator": "echo", "cache": "off", "record": True, "initial_params": {"value": 7}},
    {"id": "train", "operator": "train.run", "cache": "off", "initial_params": {"job": JOB, "keep": "worker-0/m.json"}},
    {"id": "read", "operator": "files.read", "cache": "off", "record": True},
]  # fmt: skip
EDGES = [
    {"id": "e", "source": "a", "target": "b", "kind": "order"},
    {"id": "f", "source": "b", "target": "train", "kind": "order"},
    {"id": "g", "source": "train", "source_port": "file", "target": "read"},
]
PLAIN = json.dumps({"nodes": NODES[:2], "edges": EDGES[:1]})
TRAINS = json.dumps({"nodes": NODES, "edges": EDGES})


class Mixed:
    """The load, and what was told of it."""

    def __init__(self, client: Client, room: Path, dice: random.Random) -> None:
        self._client, self._dice = client, dice
        self.tasks = History(room / "tokens")
        self.jobs = TrainingHistory(room / "jobs")
        self._load = Load(self.jobs.begin(), dice)
        self.runs: list[str] = []
        self._projects: dict[str, str] = {}
        self.counted: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def prepare(self, room: Path) -> None:
        """A model that is deployed, a canvas that is saved."""
        file = room / "adder.py"
        file.write_text(ADDER)
        made = await self._client.models.push(file, name="adder")
        await self._client.models.settled("adder", made.version.version)
        await self._client.deployments.deploy(["adder"], name="adder")
        for name, canvas in (("plain", PLAIN), ("trains", TRAINS)):
            project = self._projects[name] = (await self._client.projects.create(name)).id
            saved = await self._client.projects.save(project, canvas)
            assert not saved.problems, saved.problems

    async def run(self, kind: Callable[[], Awaitable[None]], until: asyncio.Event) -> None:
        """One of the load's kinds over and over. What is asked is asked again under its id until it is answered."""
        while not until.is_set():
            await kind()
            await asyncio.sleep(self._dice.uniform(0, 0.3))

    async def _answered(self, ask: Callable[[], Awaitable[object]]) -> object:
        """Its answer; errors that it may be told meanwhile are counted by their codes."""
        while True:
            try:
                return await ask()
            except YardError as error:
                self.counted[f"told {error.code}"] += 1
                if error.code in ("INTERNAL", "UNKNOWN"):
                    self.wrong.append(f"{error.code}: {error}")
                await asyncio.sleep(0.2)

    async def task(self) -> None:
        token, request_id = f"t-{uuid.uuid4()}", str(uuid.uuid4())
        line = f"sleep {self._dice.uniform(0, 0.5):.2f}; echo {token} >> {self.tasks.tokens}"
        spec = command_spec(["sh", "-c", line], {"cpu": 0.2})
        [task_id] = await self._answered(lambda: self._client.tasks.submit(spec, request_id=request_id))  # type: ignore[misc]
        call = Call("task", task_id, token)
        self.tasks.calls.append(call)
        outcome = await self._answered(lambda: self._client.tasks.wait(task_id))
        call.told.append(outcome.state)  # type: ignore[attr-defined]
        self.counted["tasks"] += 1

    async def run_of_canvas(self) -> None:
        request_id, project = str(uuid.uuid4()), self._projects[self._dice.choice([*self._projects])]
        made = await self._answered(lambda: self._client.runs.start(project, request_id=request_id))
        run: str = made.id  # type: ignore[attr-defined]
        self.runs.append(run)
        await self._answered(lambda: self._client.runs.wait(run))
        self.counted["runs"] += 1

    async def job(self) -> None:
        kind = self._dice.choice(("gang", "loners", "chain"))
        text, request_id = getattr(self._load, kind)(), str(uuid.uuid4())
        made = await self._answered(
            lambda: self._client.jobs.create(text, silent=True, request_id=request_id)
        )
        run = Run(kind, made.id, (job_pb2.JOB_STATE_SUCCEEDED,))  # type: ignore[attr-defined]
        self.jobs.runs.append(run)

        async def end() -> int:
            async for told in self._client.jobs.watch(run.job):
                if told.HasField("job") and told.job.state in ENDED:
                    return told.job.state
            return (await self._client.jobs.get(run.job)).state

        run.told.append(await self._answered(end))  # type: ignore[arg-type]
        self.counted["jobs"] += 1

    async def model_call(self) -> None:
        """Right, or a typed error; never another number."""
        value = self._dice.randrange(10**6)
        try:
            got = await asyncio.wait_for(self._client.models.call("adder", {"x": [value]}), CALL_S)
        except YardError as error:
            self.counted[f"told {error.code}"] += 1
        except TimeoutError:
            self.wrong.append(f"a call of adder was not answered within {CALL_S} s")
        else:
            self.counted["model calls"] += 1
            [number] = next(iter(got.outputs.values())).value
            if number != value + 5:
                self.wrong.append(f"adder({value}) is {number}")

    async def end(self) -> None:
        """Nothing is kept warm any more."""
        await self._answered(lambda: self._client.deployments.undeploy("adder"))
        await self._answered(lambda: self._client.deployments.unload("adder"))

    async def check(self) -> list[str]:
        """What is not as promised."""
        wrong = [*self.wrong, *(await self.tasks.check(self._client))]
        for run in self.jobs.runs:
            job, instances = await self._client.jobs.get(run.job), await self._client.jobs.instances(run.job)
            wrong += self.jobs.check(run, job, instances)
            wrong += [f"{run.job}: process {pid} lives" for pid in self.jobs.alive(run.job)]
        for one in self.runs:
            found = await self._client.runs.get(one)
            values = {each.node_id: each.outputs[0].value_json for each in found.results if each.outputs}
            is_right = json.loads(values.get("b", b"0")) == 7 and "7" in str(values.get("read", "7"))
            if found.state != run_pb2.RUN_STATE_SUCCEEDED or not is_right:
                wrong.append(f"run {one}: state {found.state}, {values}, {found.error}")
        return wrong


async def tell(seconds: float, seed: int, table: Path | None) -> int:
    """The whole story; 0: every promise held."""
    dice, begun = random.Random(seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="yard-chaos-") as folder, new_yard(is_up=False, agents=2) as yard:
        room, line = Path(folder), Proxy(yard.port)
        await line.start()
        # Agents would look for the others beside the proxy.
        beside = ("--graph", yard.graph, "--trainer", yard.trainer, "--models", yard.models)
        more = {"agent": ("--scheduler", f"127.0.0.1:{line.port}", *beside)}
        processes = await asyncio.to_thread(Processes, yard, trainer=True, models=True, more=more)
        keeper = Keeper(processes)
        try:
            async with yard.client() as client:
                load = Mixed(client, room, dice)
                await load.prepare(room)
                keeper.start()
                faults = Faults(processes, line, dice)
                wrong = await _storm(load, faults, seconds) or await load.check()
                await load.end()
                wrong += await _left_over(yard)
        finally:
            await keeper.stop()
            await asyncio.to_thread(processes.stop)
            await line.stop()
    text = _table(load, faults, wrong, seed, seconds, time.monotonic() - begun)
    print(text, *wrong[:20], sep="\n")
    if table is not None and not wrong:
        table.write_text(text)
    return 1 if wrong else 0


async def _storm(load: Mixed, faults: Faults, seconds: float) -> list[str]:
    """Faults while the load goes on; then all of it has to end. What still waits, or has failed."""
    over = asyncio.Event()
    kinds = [
        load.task,
        load.task,
        load.run_of_canvas,
        load.run_of_canvas,
        load.job,
        load.job,
        load.model_call,
    ]
    clients = [asyncio.ensure_future(load.run(kind, over)) for kind in kinds]
    await faults.run(seconds)
    over.set()
    done, late = await asyncio.wait(clients, timeout=AFTERWARDS_S)
    for one in late:
        one.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    waiting = [f"{kinds[clients.index(one)].__name__} still waits" for one in late]
    return waiting + [repr(one.exception()) for one in done if one.exception() is not None]


async def _left_over(yard: Yard) -> list[str]:
    """Nothing of what has ended is there 10 s later."""
    for _ in range(20):
        found = yard.task_leavings()
        if not found:
            return []
        await asyncio.sleep(0.5)
    return found


def _table(load: Mixed, faults: Faults, wrong: list[str], seed: int, seconds: float, took_s: float) -> str:
    told = sum(count for kind, count in load.counted.items() if kind.startswith("told"))
    rows = [f"| {kind} | {count} |" for kind, count in sorted(faults.done.items())]
    rows += [f"| {kind} ended | {load.counted[kind]} |" for kind in ("tasks", "runs", "jobs", "model calls")]
    rows += [f"| answers that said to ask again | {told} |", f"| promises broken | {len(wrong)} |"]
    head = f"seed {seed}, {seconds:.0f} s of faults, {took_s:.0f} s in all"
    return "\n".join([f"| what was survived ({head}) | |", "|---|---:|", *rows, ""])


def main() -> int:
    """Told by --seconds and --seed; --table FILE keeps the table of a run in which every promise held."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--table", type=Path)
    asked = parser.parse_args()
    return asyncio.run(tell(asked.seconds, asked.seed, asked.table))


if __name__ == "__main__":
    sys.exit(main())
