"""A project on a real yard, with operators that leave a mark each time that they run."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from modelyard.v1 import run_pb2
from tests.support.graph_documents import bundle, node
from tests.support.yard import Yard


class Bench:
    """One project, and the marks that its operators leave."""

    def __init__(self, yard: Yard) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=yard.state))
        self.marks = self.folder / "marks"
        self.client = yard.client()

    async def __aenter__(self) -> Bench:
        await self.client.__aenter__()
        self.digest = await bundle(self.client)
        self.project = (await self.client.projects.create(self.folder.name)).id
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self.client.__aexit__(*reason)

    def node(self, name: str, function: str, **fields: object) -> dict[str, object]:
        return node(name, function, self.marks, self.digest, **fields)

    async def save(self, text: str, parent: int = 0) -> None:
        answer = await self.client.projects.save(self.project, text, parent=parent)
        assert not answer.problems, answer.problems

    async def run(self, **options: object) -> run_pb2.Run:
        begun = await self.client.runs.start(self.project, **options)  # type: ignore[arg-type]
        async with asyncio.timeout(60):
            return await self.client.runs.wait(begun.id)

    def marked(self) -> list[str]:
        """What has run since the last look."""
        found = self.marks.read_text().split() if self.marks.exists() else []
        self.marks.unlink(missing_ok=True)
        return found


def values(run: run_pb2.Run) -> dict[str, object]:
    return {sink.node_id: json.loads(sink.outputs[0].value_json) for sink in run.results if sink.outputs}
