"""The mixed load of the chaos: tasks, runs of canvases, training jobs, calls of a model that is changed meanwhile.

Owns what was asked and what was told of it, and says what of it is not as promised.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard.client.aio import Client
from modelyard.client.outcomes import SUCCEEDED
from modelyard.client.specs import command_spec
from modelyard.errors import YardError
from modelyard.v1 import job_pb2, run_pb2, task_pb2
from tests.e2e.history import Call, History
from tests.e2e.training_history import ENDED, Run, TrainingHistory
from tests.e2e.training_load import Load

CALL_S, ANSWERED_S = 30.0, 120.0
LOST = (task_pb2.TASK_CAUSE_NODE_LOST, task_pb2.TASK_CAUSE_DRAINED)
"""Why what may be started once has not ended well."""
ADDER = "class Adder:\n    def predict(self, x: int) -> int:\n        return x + {more}\n"
MORE = {"1": 5, "2": 1005}
"""What each version of the model adds."""
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
_RETRY = {"max_attempts": 30, "backoff": "0.2s"}
_ASKED = {"id": "asked", "operator": "echo", "cache": "off", "initial_params": {"value": {"x": [3]}}}
_CALL = {
    "id": "call", "operator": "model.call", "record": True, "retry": _RETRY, "initial_params": {"model": "adder"}
}  # fmt: skip
CANVASES = {
    "plain": {"nodes": NODES[:2], "edges": EDGES[:1]},
    "trains": {"nodes": NODES, "edges": EDGES},
    "asks": {
        "nodes": [_ASKED, _CALL],
        "edges": [{"source": "asked", "target": "call", "target_port": "inputs"}],
    },
}


@dataclass(frozen=True)
class Acknowledged:
    """What clients knew at one moment."""

    tasks: Sequence[str]
    once: Mapping[str, str]
    """Tasks that may be started once, and what they write; those that had written it by then."""
    runs: Sequence[str]
    jobs: Sequence[str]


class Mixed:
    """The load, and what was told of it."""

    def __init__(self, client: Client, room: Path, dice: random.Random) -> None:
        self._client, self._dice = client, dice
        self.tasks = History(room / "tokens")
        self.jobs = TrainingHistory(room / "jobs")
        self._load = Load(self.jobs.begin(), dice)
        self.once_tokens = room / "once"
        self.asked_once: dict[str, str] = {}
        self.runs: list[str] = []
        self._projects: dict[str, str] = {}
        self.counted: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def prepare(self, room: Path) -> None:
        """A model that is deployed, a canvas that is saved."""
        file = room / "adder.py"
        for more in MORE.values():
            file.write_text(ADDER.format(more=more))
            made = await self._client.models.push(file, name="adder")
            await self._client.models.settled("adder", made.version.version)
        await self._client.deployments.deploy(["adder:1"], name="adder")
        for name, canvas in CANVASES.items():
            project = self._projects[name] = (await self._client.projects.create(name)).id
            saved = await self._client.projects.save(project, json.dumps(canvas))
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

    async def once(self) -> None:
        """Begun at most once: it writes first, then works."""
        token, request_id = f"o-{uuid.uuid4()}", str(uuid.uuid4())
        line = f"echo {token} >> {self.once_tokens}; sleep {self._dice.uniform(0, 0.7):.2f}"
        spec = command_spec(["sh", "-c", line], {"cpu": 0.2, "at_most_once": True})
        [task_id] = await self._answered(lambda: self._client.tasks.submit(spec, request_id=request_id))  # type: ignore[misc]
        self.asked_once[task_id] = token
        await self._answered(lambda: self._client.tasks.wait(task_id))
        self.counted["tasks at most once"] += 1

    async def change_of_deployment(self) -> None:
        """To the other version and back. Once it is acknowledged that it is taken back, the first one answers."""
        there, back = str(uuid.uuid4()), str(uuid.uuid4())
        deployments = self._client.deployments
        await self._answered(lambda: deployments.modify("adder", routes=["adder:2"], request_id=there))
        await asyncio.sleep(self._dice.uniform(0.5, 3.0))
        await self._answered(lambda: deployments.roll_back("adder", request_id=back))
        answer = await self._answered(lambda: self._client.models.call("adder", {"x": [1]}))
        if answer.version != "1":  # type: ignore[attr-defined]
            found = await self._answered(lambda: deployments.get("adder"))
            self.wrong.append(f"adder:{answer.version} answered after it was taken back: {found}")  # type: ignore[attr-defined]
        self.counted["deployments changed and taken back"] += 1

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
            asked = self._client.models.call("adder", {"x": [value]}, timeout_s=CALL_S)
            got = await asyncio.wait_for(asked, ANSWERED_S)
        except YardError as error:
            self.counted[f"told {error.code}"] += 1
        except TimeoutError:
            self.wrong.append(f"a call of adder that has {CALL_S} s was not answered within {ANSWERED_S} s")
        else:
            self.counted["model calls"] += 1
            [number] = next(iter(got.outputs.values())).value
            if number != value + MORE[got.version]:
                self.wrong.append(f"adder:{got.version}({value}) is {number}")

    async def end(self) -> None:
        """Nothing is kept warm any more."""
        await self._answered(lambda: self._client.deployments.undeploy("adder"))
        await self._answered(lambda: self._client.deployments.unload("adder"))

    def acknowledged(self) -> Acknowledged:
        """By now."""
        lines = self.begun_once()
        once = {task: token for task, token in self.asked_once.items() if token in lines}
        tasks = [call.task_id for call in self.tasks.calls]
        return Acknowledged(tasks, once, list(self.runs), [run.job for run in self.jobs.runs])

    def begun_once(self) -> Counter[str]:
        """How often each of those that may begin once did."""
        return Counter(self.once_tokens.read_text().split() if self.once_tokens.exists() else [])

    async def check(self) -> list[str]:
        """What is not as promised."""
        wrong = [*self.wrong, *(await self.tasks.check(self._client)), *(await self._check_once())]
        for run in self.jobs.runs:
            job, instances = await self._client.jobs.get(run.job), await self._client.jobs.instances(run.job)
            wrong += self.jobs.check(run, job, instances)
            wrong += [f"{run.job}: process {pid} lives" for pid in self.jobs.alive(run.job)]
        return wrong + await wrong_runs(self._client, self.runs)

    async def _check_once(self) -> list[str]:
        """Whoever succeeded began once; whoever failed may have begun, once, and was not blamed for it."""
        wrong, lines = [], self.begun_once()
        for task_id, token in self.asked_once.items():
            task, begun = await self._client.tasks.get(task_id), lines[token]
            is_lost = task.state == task_pb2.TASK_STATE_FAILED and task.error.cause in LOST
            self.counted["at most once, lost"] += is_lost
            if not (is_lost and begun <= 1) and not (task.state == SUCCEEDED and begun == 1):
                wrong.append(
                    f"{task_id}: at most once, begun {begun} times, state {task.state}: {task.error}"
                )
        return wrong


async def wrong_runs(client: Client, runs: Sequence[str]) -> list[str]:
    """Those that did not end with what their canvas gives."""
    wrong = []
    for one in runs:
        found = await client.runs.get(one)
        values = {each.node_id: each.outputs[0].value_json for each in found.results if each.outputs}
        is_right = json.loads(values.get("b", b"7")) == 7 and "7" in str(values.get("read", "7"))
        if "call" in values:
            [number] = next(iter(json.loads(values["call"]).values()))
            is_right = number in {3 + more for more in MORE.values()}
        if found.state != run_pb2.RUN_STATE_SUCCEEDED or not values or not is_right:
            wrong.append(f"run {one}: state {found.state}, {values}, {found.error}")
    return wrong
