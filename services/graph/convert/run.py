"""Runs and their nodes as messages."""

from collections.abc import Mapping, Sequence

import msgspec

from modelyard.v1 import canvas_pb2, run_pb2, task_pb2
from services.graph.canvases.operators import Operator
from services.graph.convert.execution import planned_message
from services.graph.model import GateControl, Graph, Order
from services.graph.records.store import NodeRow, RunRow
from services.graph.runs.places import Place, body_at, id_at, node_at
from services.graph.runs.state import NodeState, Run, RunState, Spec, Start
from services.graph.runs.values import Detail, End, Failure, GateRecord, Output, Piece

VALUES_BYTES_MOST = 1 << 20
"""Of the results that a run shows; beyond it values are left out, GetNodeResult has them."""
SINKS_MOST = 5_000

STATES = {state: run_pb2.RunState.Value(f"RUN_STATE_{state.name}") for state in RunState}
ORDERS = {order: run_pb2.RunOrder.Value(f"RUN_ORDER_{order.name}") for order in Order}
STARTS = {start: run_pb2.RunStart.Value(f"RUN_START_{start.name}") for start in Start}
DETAILS = {detail: canvas_pb2.ExecutionDetail.Value(f"EXECUTION_DETAIL_{detail.name}") for detail in Detail}


def live_message(run: Run) -> run_pb2.Run:
    """A run that has not ended."""
    message = _head(run.spec, run.node_count, run.state, run.revision)
    message.done_count = run.counts["done"]
    message.error_count = run.counts["error"]
    message.cached_count = run.counts["cached"]
    message.running_count = len(run.running)
    message.pending_count = run.node_count - run.counts["done"] - run.counts["error"]
    message.gated_count = len(run.waiting_gates())
    message.order_wait_s = run.order_wait_ms / 1000
    if run.first_failure is not None:
        message.error.CopyFrom(error_message(run.first_failure))
    return message


def ended_message(row: RunRow, graph: Graph, sinks: Sequence[NodeRow]) -> run_pb2.Run:
    """A run that has ended, with the outputs of its sinks in the total order (S1.6)."""
    message = brief_message(row)
    left = VALUES_BYTES_MOST
    for sink in sinks:
        outputs = [output_message(output) for output in sink.end.outputs]
        for output in outputs:
            left -= len(output.value_json) + 100 * (1 + len(output.items))
            if left < 0:
                output.value_json = ""
                del output.items[:]
        message.results.add(node_id=id_at(graph, sink.place), outputs=outputs)
    return message


def brief_message(row: RunRow) -> run_pb2.Run:
    """A run that has ended, without results."""
    count = max(row.node_count, row.done + row.error)
    message = _head(row.spec, count, row.state, row.revision)
    message.done_count, message.error_count, message.cached_count = row.done, row.error, row.cached
    message.order_wait_s = row.order_wait_ms / 1000
    message.end_time.FromMilliseconds(row.end_ms)
    if row.failure is not None:
        message.error.CopyFrom(error_message(row.failure))
    return message


def _head(spec: Spec, count: int, state: RunState, revision: int) -> run_pb2.Run:
    message = run_pb2.Run(
        id=f"r-{spec.number}",
        project_id=spec.project,
        version=spec.version,
        account=spec.account,
        state=STATES[state],
        revision=revision,
        order=ORDERS[spec.order],
        start=STARTS[spec.start],
        params_json=spec.params,
        node_count=count,
        continued_from=f"r-{spec.continued_from}" if spec.continued_from else "",
        comment=spec.comment,
    )
    message.create_time.FromMilliseconds(spec.create_ms)
    told = notification_of(spec)
    if told != task_pb2.Notification():
        message.notification.CopyFrom(told)
    return message


def notification_of(spec: Spec) -> task_pb2.Notification:
    """Who is told of the run, as it was asked for."""
    events = [task_pb2.NotificationEvent.ValueType(event) for event in spec.tell_on]
    return task_pb2.Notification(contact=spec.contact, on=events, silent=spec.is_silent)


def telling(spec: Spec, notification: task_pb2.Notification) -> Spec:
    """The spec with whom it tells."""
    return msgspec.structs.replace(
        spec, contact=notification.contact, tell_on=tuple(notification.on), is_silent=notification.silent
    )


def node_message(
    graph: Graph, place: Place, operators: Mapping[str, Operator], gate: GateRecord | None = None
) -> canvas_pb2.ExecutionNode:
    """The node as it is planned; `fill_live` or `fill_end` say what became of it."""
    planned, prefix, own = node_at(graph, place), "", graph
    if len(place) > 1:
        body = body_at(node_at(graph, place[:-2]))
        assert body is not None
        prefix, own = f"{id_at(graph, place[:-1])}/", body.graph
    outputs = [
        canvas_pb2.TopologyEdge(
            node=prefix + own.nodes[successor].id,
            node_port=edge.port,
            port=edge.source_port,
            kind=canvas_pb2.EDGE_KIND_ORDER if edge.is_order else canvas_pb2.EDGE_KIND_DATA,
        )
        for successor in planned.successors
        for edge in own.nodes[successor].inputs
        if edge.source == planned.rank
    ]
    message = planned_message(planned, own, outputs, operators, prefix)
    if isinstance(planned.control, GateControl):
        _fill_gate(message.gate, planned.control, gate)
    return message


def _fill_gate(message: canvas_pb2.GateStatus, control: GateControl, gate: GateRecord | None) -> None:
    message.message = control.message
    message.approvers.extend(control.approvers)
    if gate is None or gate.is_approved is None:
        return
    approved, rejected = canvas_pb2.GATE_DECISION_APPROVED, canvas_pb2.GATE_DECISION_REJECTED
    message.decision = approved if gate.is_approved else rejected
    message.account, message.comment = gate.account, gate.comment
    message.decide_time.FromMilliseconds(gate.decide_ms)


def fill_live(message: canvas_pb2.ExecutionNode, node: NodeState, is_committed: bool) -> None:
    """What may be told of a node of a live run: its end only once it is committed."""
    if is_committed and node.end is not None:
        fill_end(message, node.end, node.sequence)
        return
    message.detail = DETAILS[node.detail]
    message.task = node.task
    if node.params:
        message.initial_params_json = node.params
    if node.ready_ms > 0:
        message.ready_time.FromMilliseconds(node.ready_ms)
    if node.start_ms:
        message.start_time.FromMilliseconds(node.start_ms)
    if node.progress is not None:
        message.progress.ratio, message.progress.message = node.progress


def fill_end(message: canvas_pb2.ExecutionNode, end: End, sequence: int) -> None:
    """How a committed node ended (S1.7)."""
    is_error = end.detail.is_error
    message.state = canvas_pb2.EXECUTION_STATE_ERROR if is_error else canvas_pb2.EXECUTION_STATE_DONE
    message.detail = DETAILS[end.detail]
    message.commit_sequence = sequence
    message.task, message.attempt, message.node = end.task, end.attempt, end.node
    message.cache_key, message.cache_reason = end.key.hex(), end.reason
    message.note = end.note
    if end.params:
        message.initial_params_json = end.params
    message.outputs.extend(output_message(output) for output in end.outputs)
    if end.failure is not None:
        message.error.CopyFrom(error_message(end.failure))
    for field, time_ms in (("ready", end.ready_ms), ("start", end.start_ms), ("end", end.end_ms)):
        if time_ms:
            getattr(message, f"{field}_time").FromMilliseconds(time_ms)


def output_message(output: Output) -> canvas_pb2.NodeOutput:
    return canvas_pb2.NodeOutput(
        port=output.port,
        value_json=output.value,
        digest=output.digest,
        size_bytes=output.size_bytes,
        items=[_piece_message(piece) for piece in output.items],
        is_value=output.is_value,
    )


def _piece_message(piece: Piece) -> canvas_pb2.NodeOutput:
    value = piece.value if piece.value or piece.digest else "null"
    return canvas_pb2.NodeOutput(value_json=value, digest=piece.digest, is_value=piece.is_value)


def error_message(failure: Failure) -> task_pb2.TaskError:
    return task_pb2.TaskError(
        cause=task_pb2.TaskCause.ValueType(failure.cause),
        message=failure.message,
        exit_code=failure.exit_code,
        signal=failure.signal,
        traceback=failure.traceback,
        next_step=failure.next_step,
    )
