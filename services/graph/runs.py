"""How one run moves: what may start, what has ended, what is committed in the total order (S1.4–S1.10). Pure.

Nodes end in any order and are committed in O. What starts when is decided in two places only: `_admit` says whether a
node whose inputs are there waits for the order, `start` takes what may start off the heap, least rank first. A
completion costs its out-degree, however large the run is.
"""

import heapq
from typing import Any

import msgspec

from services.chassis.errors import ServiceError
from services.graph import parameters, results
from services.graph.effects import (
    CancelTasks,
    CommitNode,
    DropCached,
    DropOutputs,
    Effects,
    FetchCached,
    KeepArtifacts,
    Prepare,
    PutCached,
    RecordRunState,
    TouchCached,
)
from services.graph.model import CachePolicy, InputEdge, OnError, Order, PlannedNode, Trigger
from services.graph.state import CacheEntry, Detail, End, Failure, NodeState, Run, RunState, Start, State

CAUSE_TIMEOUT, CAUSE_ERROR, CAUSE_SETUP, CAUSE_CANCELLED = 5, 6, 7, 9
"""Of modelyard.v1.TaskCause."""
_ENTRY_BYTES = 200


class Step:
    """One run within one step of the machine: the state, what is wanted, the time."""

    __slots__ = ("effects", "met", "now", "run", "state", "submitted", "values")

    def __init__(self, state: State, run: Run, effects: Effects, now: int) -> None:
        self.state = state
        self.run = run
        self.effects = effects
        self.now = now
        self.met: list[int] = []
        """Ranks whose inputs have come, to be looked at."""
        self.submitted: list[int] = []
        self.values: dict[str, Any] | None = None

    def open(self) -> None:
        """A run begins, or goes on after a restart: everything without open predecessors is looked at."""
        self.met += [rank for rank, node in enumerate(self.run.nodes) if not node.unmet]
        self.met += [rank for rank, node in enumerate(self.run.nodes) if node.unmet and self._has_any(rank)]
        self.move()

    def end(self, rank: int, end: End) -> None:
        """A node has ended; once only."""
        run, node = self.run, self.run.nodes[rank]
        if node.end is not None:
            return
        node.end = _complete(node, end, self.now)
        run.running.discard(rank)
        run.held.discard(rank)
        run.tasks.pop(node.task, None)
        run.open_by_level[run.graph.nodes[rank].gradient] -= 1
        if end.detail.is_error and run.fatal[rank] and rank < run.barrier:
            self._raise_barrier(rank)
        self._tell_successors(rank)
        self._open_order()

    def move(self) -> None:
        """Everything that follows: skips, starts, commits, the end of the run."""
        while True:
            while self.met:
                self._on_inputs(self.met.pop())
            self._start()
            if not self.met:
                break
        self._commit()
        if self.submitted:
            self.effects.starts.setdefault(self.run.spec.number, []).extend(self.submitted)

    def touch(self, rank: int) -> None:
        """Something of the node may be told."""
        self.state.revision += 1
        self.run.nodes[rank].revision = self.state.revision
        self.run.changes.append((self.state.revision, rank))
        self.effects.changed.add(self.run.spec.number)

    def touch_run(self) -> None:
        self.state.revision += 1
        self.run.revision = self.state.revision
        self.effects.changed.add(self.run.spec.number)

    def set_state(self, state: RunState) -> None:
        """Paused, or running again."""
        self.run.state = state
        self.touch_run()
        self.effects.rows.append(RecordRunState(self.run.spec.number, state, self.run.revision))

    def cancel(self, message: str) -> None:
        """Ends the run at once: what has not ended is cancelled."""
        run = self.run
        run.state = RunState.CANCELLED
        tasks = tuple(run.tasks)
        if tasks:
            self.effects.wishes.append(CancelTasks(run.spec.account, tasks))
        failure = Failure(CAUSE_CANCELLED, message)
        for rank in range(run.committed, len(run.nodes)):
            node = run.nodes[rank]
            if node.end is None:
                node.end = _complete(node, End(Detail.CANCELLED, failure=failure), self.now)
        run.running.clear()
        run.ready.clear()
        self._commit()

    # What waits

    def _tell_successors(self, rank: int) -> None:
        run = self.run
        for successor in run.graph.nodes[rank].successors:
            node = run.nodes[successor]
            node.unmet -= 1
            if not node.unmet or self._has_any(successor):
                self.met.append(successor)

    def _has_any(self, rank: int) -> bool:
        return (
            self.run.graph.nodes[rank].trigger is Trigger.ANY_DONE
            and results.first_done(self.run, rank) is not None
        )

    def _on_inputs(self, rank: int) -> None:
        """All that it waits for has ended: it is skipped, or may start when the order lets it."""
        node = self.run.nodes[rank]
        if node.end is not None or node.ready_ms >= 0 or rank in self.run.running:
            return
        node.ready_ms = self.now
        if self._is_skipped(rank):
            self.end(rank, End(Detail.SKIPPED))
        else:
            self._admit(rank)

    def _is_skipped(self, rank: int) -> bool:
        """Whether an edge, the trigger, or the lack of anything that flows to it keeps the node from running."""
        run, planned = self.run, self.run.graph.nodes[rank]
        ends = {source: run.nodes[source].end for source in run.predecessors[rank]}
        if planned.trigger is Trigger.ANY_DONE:
            return bool(ends) and not any(end is not None and end.detail.has_results for end in ends.values())
        if planned.trigger is Trigger.ALL_DONE and not all(
            end is not None and end.detail.has_results for end in ends.values()
        ):
            return True
        data = [edge for edge in planned.inputs if not edge.is_order]
        if any(edge.on_error is OnError.SKIP and _failed(ends[edge.source]) for edge in planned.inputs):
            return True
        return bool(data) and all(_is_dead(ends[edge.source], edge) for edge in data)

    def _admit(self, rank: int) -> None:
        """Onto the heap, unless the order holds it back."""
        run, planned = self.run, self.run.graph.nodes[rank]
        is_held = (
            run.spec.start is Start.STRICT and run.spec.order is Order.LEVELS and planned.gradient > run.level
        ) or (planned.has_effects and rank != run.effects[run.next_effect])
        if is_held:
            run.held.add(rank)
            return
        if rank in run.held:
            run.held.discard(rank)
            run.nodes[rank].wait_ms = self.now - run.nodes[rank].ready_ms
        run.nodes[rank].detail = Detail.READY
        heapq.heappush(run.ready, rank)

    def _open_order(self) -> None:
        """Levels and the turn of effects move on with what has ended."""
        run, count = self.run, len(self.run.nodes)
        while run.first_open < count and run.nodes[run.first_open].end is not None:
            run.first_open += 1
        level = run.level
        while run.level < len(run.open_by_level) and not run.open_by_level[run.level]:
            run.level += 1
        if run.level != level and run.spec.start is Start.STRICT and run.spec.order is Order.LEVELS:
            for rank in sorted(run.held):
                self._admit(rank)
        turn = run.next_effect
        while run.next_effect < len(run.effects) and run.nodes[run.effects[run.next_effect]].end is not None:
            run.next_effect += 1
        if run.next_effect != turn and run.next_effect < len(run.effects):
            rank = run.effects[run.next_effect]
            if rank in run.held:
                self._admit(rank)

    def _raise_barrier(self, rank: int) -> None:
        """The run fails at this node: what stands behind it in the order is ended."""
        run = self.run
        run.barrier = rank
        behind = [other for other in run.running if other > rank]
        tasks = tuple(run.nodes[other].task for other in behind if run.nodes[other].task)
        if tasks:
            self.effects.wishes.append(CancelTasks(run.spec.account, tasks))
        for other in behind:
            run.running.discard(other)

    # What starts

    def _start(self) -> None:
        run = self.run
        if run.state is not RunState.RUNNING:
            return
        most = run.spec.max_parallel or len(run.nodes)
        one_by_one = run.spec.start is Start.STRICT and run.spec.order is Order.BRANCHES
        while run.ready and len(run.running) < most and run.ready[0] < run.barrier:
            rank = run.ready[0]
            if one_by_one and (run.running or rank != run.first_open):
                return
            heapq.heappop(run.ready)
            node = run.nodes[rank]
            if node.end is not None:
                continue
            if one_by_one:
                node.wait_ms = self.now - node.ready_ms
            run.order_wait_ms += node.wait_ms
            self._launch(rank)
            if self.met:
                return

    def _launch(self, rank: int) -> None:
        """Prepared, kept, cached, or off to an agent."""
        run, node, planned = self.run, self.run.nodes[rank], self.run.graph.nodes[rank]
        node.start_ms = self.now
        node.detail = Detail.RUNNING
        if node.params is None:
            try:
                if self._prepare(rank, planned, node):
                    run.running.add(rank)
                    self.touch(rank)
                    return
            except ServiceError as error:
                self.end(rank, failed(CAUSE_SETUP, error.message, error.next_step))
                return
        node.key = results.key_of(planned, node.params or "{}", results.inputs_of(run, rank))
        kept = run.kept.get(rank)
        if kept is not None and kept.end.key == node.key:
            node.reason = f"kept from r-{kept.run}"
            self.end(rank, msgspec.structs.replace(kept.end, reason=node.reason))
            return
        run.running.add(rank)
        self.touch(rank)
        node.reason = _no_cache(run, planned)
        key = (run.spec.account, node.key)
        if not node.reason and self.state.cache.has(key, run.spec.number):
            self.state.cache.touch(key)
            self.effects.wishes.append(FetchCached(run.spec.number, rank, *key))
            return
        node.reason = node.reason or "nothing is known of this operator with these parameters and inputs"
        self.submitted.append(rank)

    def _prepare(self, rank: int, planned: PlannedNode, node: NodeState) -> bool:
        """Resolves the parameters; True: something has to be read for it first. Raises ServiceError leaves."""
        run = self.run
        text = planned.initial_params
        if parameters.PARAM in text or planned.parameter_address:
            if self.values is None:
                self.values = parameters.decode_object(run.spec.params, "params_json")
            text = parameters.resolve(text, self.values)
            address = parameters.parse_address(planned.parameter_address)
            if address is not None and address.kind == "run":
                text = parameters.laid_over(text, parameters.at_run(address.name, self.values))
            elif address is not None and address.kind in ("artifact", "project", "env"):
                self.effects.wishes.append(Prepare(run.spec.number, rank))
                return True
        node.params = parameters.laid_over(text, node.changed)
        return False

    def prepared(self, rank: int, params: str, failure: Failure | None) -> None:
        """What its parameter address names is here."""
        run, node = self.run, self.run.nodes[rank]
        if rank not in run.running or node.params is not None:
            return
        if failure is not None:
            self.end(rank, End(Detail.FAILED, failure=failure))
            return
        if self.values is None:
            self.values = parameters.decode_object(run.spec.params, "params_json")
        try:
            text = parameters.resolve(run.graph.nodes[rank].initial_params, self.values)
            node.params = parameters.laid_over(parameters.laid_over(text, params), node.changed)
        except ServiceError as error:
            self.end(rank, failed(CAUSE_SETUP, error.message, error.next_step))
            return
        run.running.discard(rank)
        self._launch(rank)

    def uploaded(self, rank: int) -> None:
        """Its inputs lie in the store: it is submitted after all."""
        if rank in self.run.running and not self.run.nodes[rank].task:
            self.submitted.append(rank)

    def cache_answered(self, rank: int, found: End | None) -> None:
        """The cache had it, or it goes to an agent after all."""
        run, node = self.run, self.run.nodes[rank]
        if rank not in run.running or node.task:
            return
        if found is not None:
            self.effects.rows.append(TouchCached(run.spec.account, node.key, self.now))
            node.reason = found.reason
            self.end(rank, found)
            return
        self.state.cache.remove((run.spec.account, node.key))
        node.reason = "the cache has let go of it"
        self.submitted.append(rank)

    # What is committed

    def _commit(self) -> None:
        run, nodes = self.run, self.run.nodes
        while run.committed < len(nodes):
            rank = run.committed
            if rank > run.barrier:
                nodes[rank].end = self._ended_by_barrier(nodes[rank])
            end = nodes[rank].end
            if end is None:
                return
            run.committed += 1
            self._commit_node(rank, end)
        self._finish()

    def _ended_by_barrier(self, node: NodeState) -> End:
        """The same whether it had begun or not: the log does not depend on who was quicker."""
        at = self.run.graph.nodes[self.run.barrier].id
        return End(
            Detail.CANCELLED, failure=Failure(CAUSE_CANCELLED, f"the run failed at {at}"), end_ms=self.now
        )

    def _commit_node(self, rank: int, end: End) -> None:
        run, node, planned = self.run, self.run.nodes[rank], self.run.graph.nodes[rank]
        node.detail = end.detail
        node.progress = None
        self.touch(rank)
        number = run.spec.number
        self.effects.rows.append(CommitNode(number, rank, rank + 1, node.revision, end))
        if end.detail.is_error:
            run.counts["error"] += 1
            if run.first_failure is None and end.failure is not None:
                run.first_failure = (rank, end.failure)
        else:
            run.counts["done"] += 1
            run.counts["cached"] += end.detail is Detail.CACHED
            self._release_inputs(rank)
        digests = tuple(output.digest for output in end.outputs if output.digest)
        if digests and (planned.record or not run.consumers[rank]):
            self.effects.wishes.append(KeepArtifacts(run.spec.account, f"run:r-{number}", digests))
        if end.detail is Detail.COMPUTED and planned.identity and end.outputs:
            self._put_cached(rank, end, planned, digests)

    def _release_inputs(self, rank: int) -> None:
        """What it was the last to need is dropped, unless it is recorded (S1.7)."""
        run = self.run
        for source in run.feeding[rank]:
            run.consumers[source] -= 1
            end = run.nodes[source].end
            if run.consumers[source] or run.graph.nodes[source].record or end is None or not end.outputs:
                continue
            outputs = results.stripped(end.outputs)
            run.nodes[source].end = msgspec.structs.replace(end, outputs=outputs)
            self.effects.rows.append(DropOutputs(run.spec.number, source, outputs))

    def _put_cached(self, rank: int, end: End, planned: PlannedNode, digests: tuple[str, ...]) -> None:
        if planned.cache is CachePolicy.OFF or planned.has_effects or any(o.is_dropped for o in end.outputs):
            return
        account = self.run.spec.account
        size = _ENTRY_BYTES + sum(len(output.value) for output in end.outputs)
        number = self.run.spec.number
        self.effects.rows.append(PutCached(account, end.key, number, planned.id, end.outputs, size, self.now))
        if digests:
            self.effects.wishes.append(KeepArtifacts(account, f"cache:{end.key.hex()}", digests))
        entry = CacheEntry(number, size, bool(digests))
        for (gone_account, gone), found in self.state.cache.put((account, end.key), entry):
            self.effects.rows.append(DropCached(gone_account, gone))
            if found.has_artifacts:
                self.effects.wishes.append(KeepArtifacts(gone_account, f"cache:{gone.hex()}", ()))

    def _finish(self) -> None:
        """The last node is committed."""
        run = self.run
        if run.state is not RunState.CANCELLED:
            run.state = RunState.FAILED if run.counts["error"] else RunState.SUCCEEDED
        self.touch_run()
        self.effects.rows.append(
            RecordRunState(
                run.spec.number, run.state, run.revision, self.now, run.counts["done"], run.counts["error"],
                run.counts["cached"], run.order_wait_ms, run.first_failure[1] if run.first_failure else None,
            )
        )  # fmt: skip
        self.state.runs.pop(run.spec.number, None)


def failed(cause: int, message: str, next_step: str = "") -> End:
    """A node that could not be begun."""
    return End(Detail.FAILED, failure=Failure(cause, message, next_step))


def _complete(node: NodeState, end: End, now: int) -> End:
    """The end with what only the state knows."""
    return msgspec.structs.replace(
        end,
        params=node.params or "",
        key=node.key or end.key,
        reason=end.reason or node.reason,
        ready_ms=max(0, node.ready_ms),
        start_ms=end.start_ms or node.start_ms,
        end_ms=now,
    )


def _failed(end: End | None) -> bool:
    return end is not None and end.detail.is_error


def _is_dead(end: End | None, edge: InputEdge) -> bool:
    """Nothing will ever flow here, and nothing failed: the source was skipped, or a branch took another port."""
    if end is None or end.detail.is_error:
        return False
    if end.detail is Detail.SKIPPED:
        return True
    return bool(edge.source_port) and results.output_at(end, edge.source_port) is None and bool(end.outputs)


def _no_cache(run: Run, planned: PlannedNode) -> str:
    """Why the cache is not asked; "": it is."""
    if planned.has_effects:
        return "it has effects beside its results"
    if planned.cache is CachePolicy.OFF:
        return "its cache policy is off"
    if run.spec.refresh or planned.cache is CachePolicy.REFRESH:
        return "a refresh was asked for"
    if not planned.identity:
        return "what computes it is not known here"
    return ""
