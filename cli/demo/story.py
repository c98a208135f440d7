"""The story of `yard demo`, told on a running yard: from a canvas to a served model that a stock client calls."""

from __future__ import annotations

import asyncio
import io
import json
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import exit_codes
from cli.demo.canvas import DEPLOYMENT, FRAMEWORKS, MODEL, document
from cli.errors import CommandError
from cli.following.runs import followed
from cli.following.tasks import Follower
from cli.output.busyness import write_occupancy
from cli.output.render import show_list
from cli.output.runs import PLANNED_COLUMNS
from modelyard.client.outcomes import SUCCEEDED, TaskFailed
from modelyard.client.specs import command_spec
from modelyard.v1 import canvas_pb2, run_pb2

if TYPE_CHECKING:
    from cli.invocation import Invocation
    from modelyard.client.aio import Client

PROGRAMS = Path(__file__).parent / "programs"
PROJECT = "demo"


class Story:
    """Each step says what it does, does it, and shows what came of it."""

    def __init__(self, yard: Invocation, client: Client, target: Path, *, stays: bool) -> None:
        """`stays`: the yard is there afterwards."""
        self._yard = yard
        self._stays = stays
        self._client = client
        self._target = target
        self._begun_s = time.monotonic()

    async def tell(self) -> None:
        """All of it. Raises CommandError without nodes and for a run that fails, TaskFailed for the report."""
        nodes = sorted(node.id for node in (await self._client.nodes.list()).nodes)
        if not nodes:
            raise CommandError(
                "no node is connected", code=exit_codes.CANNOT_BE_PLACED, next_step="yard nodes token"
            )
        self._title("1. The nodes side by side")
        write_occupancy(await self._client.nodes.occupancy())
        self._title(
            "2. A canvas: data prepared on two nodes, two frameworks train, the better model is served"
        )
        project = await self._canvas(nodes)
        self._title("3. It runs; what can go at the same time does")
        run = await self._run(project)
        found = {node.node_id: node for node in await self._client.runs.nodes(run)}
        verdict = json.loads(_output(found["compare"], "verdict").value_json)
        self._say_verdict(verdict)
        self._title(f"4. A client that has never heard of this yard calls {DEPLOYMENT}")
        called = await self._call(_output(found["join"], "data").digest)
        self._title("5. What it mistakes for what, and the whole story on one page")
        told = {"model": DEPLOYMENT, "accuracy": verdict["accuracy"], **called}
        told |= {"nodes": _rows(found.values()), "losses": await self._losses()}
        await self._report(told, _output(found["compare"], "plot").digest)
        self._title(
            f"What just happened, in {time.monotonic() - self._begun_s:.0f} s, on the machines of this yard alone"
        )
        self._explain(run)

    async def _canvas(self, nodes: list[str]) -> str:
        bundle = await self._client.artifacts.bundle(PROGRAMS)
        project = await self._client.projects.find(PROJECT) or await self._client.projects.create(PROJECT)
        saved = await self._client.projects.save(project.id, document(bundle, (nodes[0], nodes[-1])))
        if saved.problems:
            raise CommandError(f"the canvas is wrong: {saved.problems[0].message}", code=exit_codes.USAGE)
        plan = await self._client.runs.explain(project.id)
        show_list("table", plan, plan.nodes, PLANNED_COLUMNS, lambda node: node.node_id)
        return project.id

    async def _run(self, project: str) -> str:
        begun = await self._client.runs.start(project)
        ended = await followed(self._client, begun, with_nodes=True)
        if ended.state != run_pb2.RUN_STATE_SUCCEEDED:
            raise CommandError(
                f"{ended.id}: {ended.error.message}",
                code=exit_codes.WORK_FAILED,
                next_step=ended.error.next_step or f"yard graph show {ended.id}",
            )
        return ended.id

    def _say_verdict(self, verdict: Mapping[str, Any]) -> None:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in verdict["accuracy"].items())
        self._yard.say(
            f"told right of the pictures that neither has seen: {shares}; {verdict['winner']} is served"
        )

    async def _call(self, digest: str) -> dict[str, Any]:
        """Every picture for testing, one by one, by a process of its own."""
        import numpy as np

        data = np.load(io.BytesIO(await self._client.artifacts.read(digest)))
        settings = self._yard.settings
        words = [
            sys.executable, str(PROGRAMS / "stock_client.py"), settings.models, DEPLOYMENT, settings["token_file"],
            *([settings["ca_file"]] if settings["ca_file"] else []),
        ]  # fmt: skip
        given = io.BytesIO()
        np.save(given, data["test_x"])
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        answer, said = await process.communicate(given.getvalue())
        text = said.decode(errors="replace").strip()
        self._yard.say(text)
        if process.returncode:
            raise CommandError(
                f"the client failed with {process.returncode}",
                code=exit_codes.WORK_FAILED,
                next_step=f"yard model why {DEPLOYMENT}",
            )
        guesses = np.load(io.BytesIO(answer))
        return {
            "calls": len(guesses), "said": text.splitlines()[-1], "guesses": guesses.tolist(),
            "labels": data["test_y"].tolist(),
        }  # fmt: skip

    async def _losses(self) -> dict[str, list[list[float]]]:
        """Rounds and losses of the latest job of each framework."""
        losses: dict[str, list[list[float]]] = {}
        for job in (await self._client.jobs.list(page_size=50)).jobs:
            name = job.name.removeprefix("digits-")
            if name in FRAMEWORKS and name not in losses:
                series = await self._client.jobs.metrics(job.id, names=["loss"])
                losses[name] = [[point.step, point.value] for point in series[0].points] if series else []
        return losses

    async def _report(self, story: Mapping[str, Any], plot: str) -> None:
        spec = command_spec(
            ["python", "report.py"], {"name": "demo-report", "outputs": ["confusion.png", "report.html"]}
        )
        inputs = {"story": json.dumps(story), "plot": f"sha256:{plot}"}
        await self._client.attach(spec, inputs=inputs, directory=PROGRAMS)
        [task_id] = await self._client.tasks.submit(spec)
        task = await Follower(self._yard, self._client, task_id).follow()
        if task.state != SUCCEEDED:
            raise TaskFailed(task)
        await self._download({one.name: one.digest for one in task.result.outputs} | {"comparison.png": plot})

    async def _download(self, kept: Mapping[str, str]) -> None:
        self._target.mkdir(parents=True, exist_ok=True)
        for name, digest in kept.items():
            path = await self._client.artifacts.get(digest, self._target / Path(name).name)
            self._yard.say(f"{path}  sha256:{digest[:12]}…")

    def _explain(self, run: str) -> None:
        tries = (
            (f"yard graph show {run}", "what became of each node, and where"),
            (
                f"yard graph logs {run} train-xgboost",
                "what the instances of a job wrote; yard train ls has both jobs",
            ),
            (
                f"yard lineage {MODEL}:champion --up",
                "where the model comes from, back to the data and the programs",
            ),
            (f"yard model get {MODEL}:champion", "what was found out about it, and how"),
            ("yard tasks ls", "everything that ran; yard tasks explain TASK says why there"),
            (f"yard graph run {PROJECT}", "once more: the data from the cache, what has effects anew"),
        )
        lines = "\n".join(f"  {command:<38}  {what}" for command, what in tries)
        place = f"  export YARD_STATE={shlex.quote(str(self._yard.settings.state))}\n" if self._stays else ""
        self._yard.say(
            f"""Every step was on disk before it was acknowledged: kill -9 any process of it, and it goes on.
The run is {run}, its jobs and tasks have logs, its model knows what it was made of. {self._invitation()}

{place}{lines}"""
        )
        if self._stays:
            self._show_grpcurl()

    def _invitation(self) -> str:
        return (
            "Try next:" if self._stays else "This yard ends now; `yard demo --keep` leaves it there to try:"
        )

    def _show_grpcurl(self) -> None:
        settings = self._yard.settings
        security = f"-cacert {shlex.quote(settings['ca_file'])}" if settings["ca_file"] else "-plaintext"
        token = f'-H "authorization: Bearer $(cat {shlex.quote(settings["token_file"])})"'
        body = shlex.quote(json.dumps({"name": DEPLOYMENT}))
        call = f"{settings.models} inference.GRPCInferenceService/ModelMetadata"
        print(f"  grpcurl {security} {token} -d {body} {call}", flush=True)

    def _title(self, text: str) -> None:
        self._yard.say(f"\n{text}")


def _output(node: canvas_pb2.ExecutionNode, port: str) -> canvas_pb2.NodeOutput:
    return next(one for one in node.outputs if one.port == port)


def _rows(nodes: Any) -> list[list[str]]:
    """What was done where, in the order of the run."""
    rows = []
    for node in sorted(nodes, key=lambda one: one.commit_sequence):
        took = (
            node.end_time.ToMilliseconds() - node.start_time.ToMilliseconds()
            if node.HasField("start_time")
            else 0
        )
        rows.append(
            [
                node.node_id,
                canvas_pb2.ExecutionDetail.Name(node.detail).removeprefix("EXECUTION_DETAIL_").lower(),
                node.node,
                f"{took / 1000:.2f} s",
            ]
        )
    return rows
