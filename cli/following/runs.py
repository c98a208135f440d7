"""Following a run to its end: what is committed, how far large maps are, which gates wait. Goes to stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from cli.output.controls import gate_lines, kind_of
from cli.output.levels import Board
from cli.output.progress import Progress
from cli.output.runs import counts_of, node_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelyard.client.aio import Client
    from modelyard.v1 import canvas_pb2, run_pb2

DRAW_S = 0.1
ASK_S = 0.2
"""Gates are asked for no oftener while something else goes on that will be told."""


async def followed(
    client: Client, run: run_pb2.Run, *, with_nodes: bool, bodies: bool = False
) -> run_pb2.Run:
    """The run once it has ended. A bar; `with_nodes` on a terminal the levels, else a line for each node as it is
    committed, in the order of the committed log; `bodies`: those of maps and loops too."""
    from modelyard.client.runs import ENDED

    is_drawn = with_nodes and not bodies and Board.is_wanted()
    screen: _Lines | _Drawing = _Drawing(run.id) if is_drawn else _Lines(run.id, bodies)
    gates, latest = Gates(client, run.id), run
    told = client.runs.watch(run.id, without_nodes=not with_nodes, without_bodies=not bodies)
    async for change in told:
        if change.HasField("run"):
            latest = change.run
        lines = await gates.news(latest)
        screen.show(latest, change.nodes, lines, is_last=latest.state in ENDED)
        if latest.state in ENDED:
            break
    return latest


class Gates:
    """Which gates of a run were told of."""

    def __init__(self, client: Client, run: str) -> None:
        self._client = client
        self._run = run
        self._known: set[str] = set()
        self._count = 0
        self._asked_s = 0.0

    async def news(self, run: run_pb2.Run) -> list[str]:
        """What is to be said of gates that have begun to wait since the last time."""
        now_s = time.monotonic()
        is_soon = now_s - self._asked_s < ASK_S and run.running_count > 0
        if not run.gated_count or (run.gated_count == self._count and is_soon):
            return []
        self._count, self._asked_s = run.gated_count, now_s
        waiting = await self._client.runs.gates(self._run)
        lines = [
            line for gate in waiting if gate.node_id not in self._known for line in gate_lines(run.id, gate)
        ]
        self._known |= {gate.node_id for gate in waiting}
        return lines


class _Lines:
    """For pipes, and for those who want every line."""

    def __init__(self, run: str, bodies: bool) -> None:
        self._run = run
        self._whole = Progress(run)
        self._bodies = bodies
        self._parts: dict[str, Progress] = {}

    def show(
        self, run: run_pb2.Run, nodes: Iterable[canvas_pb2.ExecutionNode], lines: list[str], *, is_last: bool
    ) -> None:
        for node in nodes:
            if node.commit_sequence:
                self._write(node_line(node))
            elif node.HasField("progress") and not self._bodies and (kind_of(node) or node.progress.message):
                self._part(node)
        for line in lines:
            self._write(line)
        ended = run.node_count - run.pending_count
        self._whole.update(ended / max(1, run.node_count), _going(run))
        if is_last:
            self._whole.clear()

    def _part(self, node: canvas_pb2.ExecutionNode) -> None:
        """How far a map, a loop, a job is; on a terminal the bar of the whole has the only line."""
        if Board.is_wanted():
            return
        known = self._parts.get(node.node_id) or Progress(f"{self._run} {node.node_id}", tells_words=True)
        self._parts[node.node_id] = known
        known.update(node.progress.ratio, node.progress.message)

    def _write(self, line: str) -> None:
        self._whole.clear()
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


class _Drawing:
    """For terminals: the levels, drawn again at most ten times a second."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._board = Board()
        self._next_s = 0.0

    def show(
        self, run: run_pb2.Run, nodes: Iterable[canvas_pb2.ExecutionNode], lines: list[str], *, is_last: bool
    ) -> None:
        self._board.learn(nodes)
        if lines:
            self._board.clear()
            sys.stderr.write("".join(line + "\n" for line in lines))
        if lines or is_last or time.monotonic() >= self._next_s:
            self._board.draw(f"{self._run}: {counts_of(run)}, {run.running_count} running")
            self._next_s = time.monotonic() + DRAW_S


def _going(run: run_pb2.Run) -> str:
    gated = f", {run.gated_count} waiting for approval" if run.gated_count else ""
    return f"{run.running_count} running{gated}"
