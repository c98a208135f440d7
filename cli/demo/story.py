"""The story of `yard demo`, told on a running yard of two nodes."""

from __future__ import annotations

import json
import shlex
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from cli import exit_codes
from cli.errors import CommandError
from cli.following import Follower
from cli.output.busyness import write_occupancy
from modelyard.client.outcomes import SUCCEEDED, TaskFailed
from modelyard.client.specs import command_spec, encode_params, operator_spec
from modelyard.v1 import task_pb2

if TYPE_CHECKING:
    from cli.invocation import Invocation
    from modelyard.client.aio import Client

SCRIPT = Path(__file__).parent / "train"
BUSY_S = 20.0
DIGITS = 30
_WAITING = (task_pb2.TASK_STATE_QUEUED, task_pb2.TASK_STATE_ASSIGNED, task_pb2.TASK_STATE_HELD)


class Story:
    """Each step says what it does, does it, and shows what came of it."""

    def __init__(self, yard: Invocation, client: Client, target: Path) -> None:
        self._yard = yard
        self._client = client
        self._target = target

    async def tell(self) -> None:
        """All of it. Raises CommandError when the yard has no nodes, TaskFailed when the work fails."""
        nodes = sorted(node.id for node in (await self._client.nodes.list()).nodes)
        if not nodes:
            raise CommandError(
                "no node is connected", code=exit_codes.CANNOT_BE_PLACED, next_step="yard nodes token"
            )
        self._title(f"1. The nodes side by side, with {nodes[0]} made busy on purpose")
        busy = (await self._busy(nodes[0])) if len(nodes) > 1 else None
        await self._show_occupancy()
        self._title("2. A training script goes to the less occupied node")
        task = await self._train()
        self._title("3. What it kept")
        await self._download(task)
        await self._show_occupancy()
        self._title("4. An operator is called; its result is JSON")
        await self._call()
        self._title("5. The same call without any of our code")
        self._show_grpcurl()
        if busy is not None:
            await self._client.tasks.cancel(busy)

    async def _busy(self, node: str) -> str:
        spec = operator_spec("sleep", {"node": node, "name": "demo-busy"})
        spec.params_json = encode_params({"seconds": BUSY_S})
        [task_id] = await self._client.tasks.submit(spec)
        task = await self._client.tasks.get(task_id)
        async with aclosing(self._client.tasks.watch(task_id, revision=task.revision)) as changes:
            while task.state in _WAITING:
                task = await anext(changes)
        return task_id

    async def _show_occupancy(self) -> None:
        write_occupancy(await self._client.nodes.occupancy())

    async def _train(self) -> task_pb2.Task:
        spec = command_spec(
            ["python", "train.py"], {"name": "demo-train", "outputs": ["model.joblib", "plot.png"]}
        )
        await self._client.attach(spec, directory=SCRIPT)
        [task_id] = await self._client.tasks.submit(spec)
        task = await Follower(self._yard, self._client, task_id).follow()
        if task.state != SUCCEEDED:
            raise TaskFailed(task)
        self._yard.say(f"{task_id} ran on {task.node}")
        return task

    async def _download(self, task: task_pb2.Task) -> None:
        self._target.mkdir(parents=True, exist_ok=True)
        for output in task.result.outputs:
            path = await self._client.artifacts.get(output.digest, self._target / Path(output.name).name)
            self._yard.say(f"{path}  sha256:{output.digest[:12]}…")

    async def _call(self) -> None:
        value = await self._client.call("pi", digits=DIGITS)
        self._yard.say(f"$ yard call pi --param digits={DIGITS}")
        print(json.dumps(value), flush=True)

    def _show_grpcurl(self) -> None:
        settings = self._yard.settings
        body = {"specs": [{"operator": {"operator": "pi"}, "paramsJson": json.dumps({"digits": DIGITS})}]}
        security = f"-cacert {shlex.quote(settings['ca_file'])}" if settings["ca_file"] else "-plaintext"
        token = f'-H "authorization: Bearer $(cat {shlex.quote(settings["token_file"])})"'
        call = f"{settings.endpoint} modelyard.v1.TaskService/SubmitTasks"
        print(f"grpcurl {security} {token} -d {shlex.quote(json.dumps(body))} {call}", flush=True)

    def _title(self, text: str) -> None:
        self._yard.say(f"\n{text}")
