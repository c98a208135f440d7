"""What leaves for the scheduler and what comes back: batches of tasks, and outcomes as ends of nodes (the edge).

Nodes that share settings and inputs share a specification; parameters travel with the items.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from modelyard.v1 import task_pb2 as pb
from services.graph.model import PlannedNode
from services.graph.runs import results
from services.graph.runs.parameters import variable_of
from services.graph.runs.places import Place, node_at
from services.graph.runs.state import Run
from services.graph.runs.values import CAUSE_ERROR, CAUSE_TIMEOUT, Detail, End, Failure, Piece, PortInput

ITEMS_MOST = 2_000
MESSAGE_BYTES_MOST = 2 << 20
INLINE_BYTES_MOST = 64 << 10
"""Of one input, as the scheduler takes it."""
SPEC_BYTES_MOST = 900 << 10
"""Of all inline inputs of a node; beyond it they go through the store."""

Uploaded = dict[tuple[int, Place], dict[str, str]]
"""By run and place: digests of what had to be put into the store, by input name."""
Known = Mapping[tuple[int, Place], Sequence[PortInput]]
"""By run and place: what nodes get, where that was put together already."""


def messages(
    run: Run, places: Sequence[Place], uploaded: Uploaded, inputs_known: Known
) -> Iterator[tuple[tuple[Place, ...], pb.SubmitTasksRequest]]:
    """The nodes as requests without ids, each with its places; as few as their sizes allow."""
    request, taken, size = pb.SubmitTasksRequest(), list[Place](), 0
    indexes: dict[object, int] = {}
    number = run.spec.number
    for place in places:
        scope, rank = run.scope_at(place), place[-1]
        assert scope is not None
        node = scope.shape.graph.nodes[rank]
        inputs = tuple(inputs_known.get((number, place)) or results.inputs_of(scope, rank))
        extra = uploaded.get((number, place), {})
        base, params = _params(run, place, node, scope.nodes[rank].params or "")
        key = (node.body, inputs, base, tuple(sorted(extra.items())))
        index = indexes.get(key)
        if index is None:
            index = indexes[key] = len(request.specs)
            _fill(request.specs.add(params_json=base), run, node.body, inputs, extra)
            size += request.specs[index].ByteSize()
        request.items.add(spec_index=index, params_json=params)
        taken.append(place)
        size += len(params) + 16
        if size > MESSAGE_BYTES_MOST or len(taken) >= ITEMS_MOST:
            yield tuple(taken), request
            request, taken, size = pb.SubmitTasksRequest(), [], 0
            indexes.clear()
    if taken:
        yield tuple(taken), request


def _params(run: Run, place: Place, node: PlannedNode, params: str) -> tuple[str, str]:
    """Parameters for the specification and for the item. What an agent's environment gives lies between the two: over
    the node's own (S1.4), below what was changed by hand before it started."""
    params = "" if params == "{}" else params
    return (params, run.changed.get(place, "")) if variable_of(node.parameter_address) else ("", params)


def _fill(
    spec: pb.TaskSpec, run: Run, body: bytes, inputs: Sequence[PortInput], extra: dict[str, str]
) -> None:
    spec.MergeFromString(body)
    spec.labels["run"] = f"r-{run.spec.number}"
    # What is told of is the run, not each of its nodes.
    spec.notification.silent = True
    for name, data, digest, is_value in _named(inputs):
        given = spec.inputs[name]
        if name in extra:
            given.digest = extra[name]
        elif digest:
            given.digest = digest
        else:
            given.data = data
        given.is_value = is_value


def _named(inputs: Sequence[PortInput]) -> Iterator[tuple[str, bytes, str, bool]]:
    """Name, bytes or digest of each input, and whether it is the JSON of a value of which its taker may want the text.
    Small values of one port are one JSON list; with an artefact among them each is an input of its own, "port.0",
    "port.1" …, which the worker makes a list of. Empty bytes: the empty set."""
    for port_input in inputs:
        if not port_input.is_list:
            [piece] = port_input.pieces
            yield (port_input.port, *_given(port_input.takes, piece))
            continue
        text = results.joined(port_input.pieces)
        if text is not None:
            yield port_input.port, text.encode(), "", False
            continue
        for place, piece in enumerate(port_input.pieces):
            yield (f"{port_input.port}.{place}", *_given(port_input.takes, piece))


def _given(takes: str, piece: Piece) -> tuple[bytes, str, bool]:
    """Where it is not known here what the port takes, or its list is put together elsewhere, the worker knows."""
    if piece.digest:
        return b"", piece.digest, piece.is_value
    return results.plain(takes, piece.value), "", bool(piece.value) and takes not in results.PLAIN


def too_large(run: Run, place: Place) -> dict[str, bytes]:
    """Inline inputs that the scheduler would not take as they are, by name."""
    scope = run.scope_at(place)
    assert scope is not None
    found, total = {}, 0
    for name, data, digest, _ in _named(results.inputs_of(scope, place[-1])):
        if digest:
            continue
        total += len(data)
        if len(data) > INLINE_BYTES_MOST or total > SPEC_BYTES_MOST:
            found[name] = data
    return found


def is_large(run: Run, place: Place) -> bool:
    """Whether `too_large` has to be asked; costs next to nothing for most nodes."""
    scope, rank = run.scope_at(place), place[-1]
    assert scope is not None
    if rank in scope.shape.fed:
        return True
    edges = scope.shape.graph.nodes[rank].inputs
    if len(edges) < 2:
        return False
    total = 0
    for edge in edges:
        end = scope.nodes[edge.source].end
        if end is not None:
            total += sum(len(output.value) for output in end.outputs)
    return total > INLINE_BYTES_MOST - 2 * len(edges)


def forgotten(task: str, run: int) -> End:
    """The scheduler does not know the task: it ended while nobody followed it, and is not kept any more."""
    message = f"how it ended is not known: the scheduler does not keep the task {task} any more"
    failure = Failure(pb.TASK_CAUSE_NODE_LOST, message, f"yard graph continue r-{run}")
    return End(Detail.FAILED, (), failure, task)


def end_of(run: Run, place: Place, outcome: pb.TaskOutcome) -> End:
    """How the node ended, from how its task did."""
    if outcome.state == pb.TASK_STATE_SUCCEEDED:
        result = outcome.result
        files = [(file.name, file.digest, file.size_bytes, file.is_value) for file in result.outputs]
        node = node_at(run.graph, place)
        lacking = _not_written(node.files, {file.name for file in result.outputs})
        if lacking is not None:
            return End(Detail.FAILED, (), lacking, outcome.task_id, outcome.attempt, outcome.node)
        outputs = results.outputs_of(node, result.value_json, result.value_digest, files)
        ran = End(Detail.COMPUTED, outputs, None, outcome.task_id, outcome.attempt, outcome.node)
        return msgspec.structs.replace(ran, run_ms=outcome.run_time_ms, note=results.note_of(node, outputs))
    error = outcome.error
    failure = Failure(
        error.cause, error.message, error.next_step, error.exit_code, error.signal, error.traceback
    )
    detail = Detail.TIMED_OUT if error.cause == CAUSE_TIMEOUT else Detail.FAILED
    if outcome.state == pb.TASK_STATE_CANCELLED:
        detail = Detail.CANCELLED
    return End(detail, (), failure, outcome.task_id, outcome.attempt, outcome.node)


def _not_written(files: Sequence[tuple[str, str]], found: Collection[str]) -> Failure | None:
    """Why a command that ended well has failed after all: a file that it was to write (path, port) is not there."""
    for path, port in files:
        if path in found:
            continue
        is_folder = any(name.startswith(f"{path}/") for name in found)
        what = "is a directory, not a file" if is_folder else "was not written"
        step = "pack it into one file" if is_folder else "correct the path in its outputs, or the command"
        return Failure(CAUSE_ERROR, f"the command ended well, but its output {port!r}, {path}, {what}", step)
    return None
