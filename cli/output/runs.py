"""Runs and their nodes in words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from cli import exit_codes
from cli.output.controls import decision_of, is_gated
from cli.output.nouns import age
from cli.output.render import show_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.output.render import Columns
    from modelyard.v1 import canvas_pb2, run_pb2

VALUE_CHARACTERS = 100


def state_of(run: run_pb2.Run) -> str:
    """One word."""
    from modelyard.v1 import run_pb2

    return run_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_").lower()


def detail_of(node: canvas_pb2.ExecutionNode) -> str:
    """One word, finer than the state."""
    from modelyard.v1 import canvas_pb2

    return canvas_pb2.ExecutionDetail.Name(node.detail).removeprefix("EXECUTION_DETAIL_").lower()


def counts_of(run: run_pb2.Run) -> str:
    """What became of its nodes."""
    cached = f", {run.cached_count} cached" if run.cached_count else ""
    gated = f", {run.gated_count} waiting for approval" if run.gated_count else ""
    return f"{run.done_count} done{cached}, {run.error_count} error, {run.pending_count} pending{gated}"


def gate_of(node: canvas_pb2.ExecutionNode) -> str:
    """What a gate asks, or what was decided over it."""
    if is_gated(node):
        return f"waits for approval: {node.gate.message}".removesuffix(": ")
    return decision_of(node)


def far_of(node: canvas_pb2.ExecutionNode) -> str:
    """How far one is that goes on: 30%, and what it says."""
    if node.commit_sequence or not node.HasField("progress"):
        return ""
    return f"{node.progress.ratio:.0%} {node.progress.message}".strip()


def _told(run: run_pb2.Run) -> str:
    """Who is told of it; empty: the account's default contacts."""
    return "nobody" if run.notification.silent else run.notification.contact


RUN_COLUMNS: Columns = (
    ("RUN", lambda run: run.id),
    ("PROJECT", lambda run: f"{run.project_id}/{run.version}"),
    ("STATE", state_of),
    ("NODES", lambda run: str(run.node_count)),
    ("DONE", lambda run: str(run.done_count)),
    ("ERROR", lambda run: str(run.error_count)),
    ("AGE", lambda run: age(run.create_time)),
    ("COMMENT", lambda run: run.comment),
)
RUN_FIELDS: Columns = (
    *((title.lower(), cell) for title, cell in RUN_COLUMNS),
    ("counts", counts_of),
    ("error", lambda run: run.error.message),
    ("tells", _told),
    ("continued from", lambda run: run.continued_from),
)
NODE_FIELDS: Columns = (
    ("node", lambda node: node.node_id),
    ("state", detail_of),
    ("task", lambda node: node.task),
    ("on", lambda node: node.node),
    ("progress", far_of),
    ("parameters", lambda node: node.initial_params_json),
    ("parameters at", lambda node: node.parameter_address),
    ("outputs", lambda node: "\n".join(_output(output) for output in node.outputs)),
    ("note", lambda node: node.note),
    ("gate", gate_of),
    ("error", lambda node: node.error.message),
    ("next", lambda node: node.error.next_step),
    ("cache", lambda node: node.cache_reason),
)


def _output(output: canvas_pb2.NodeOutput) -> str:
    if output.items:
        return f"{output.port}: a list of {len(output.items):,}"
    value = output.value_json or output.digest or "dropped: nobody needed it any more"
    return f"{output.port}: {value[:VALUE_CHARACTERS]}{'…' if len(value) > VALUE_CHARACTERS else ''}"


def node_line(node: canvas_pb2.ExecutionNode) -> str:
    """What became of a node, on one line."""
    where = f" on {node.node}" if node.node else ""
    goes_on = far_of(node)
    outputs = ", ".join(_output(output) for output in node.outputs)
    said = node.error.message or "; ".join(part for part in (goes_on, node.note, outputs) if part)
    what = "".join(char if char.isprintable() else " " for char in said)
    return f"{node.commit_sequence or '-':>6}  {detail_of(node):9} {node.node_id}{where}  {what}".rstrip()[
        :200
    ]


def show_results(output: str, run: run_pb2.Run) -> int:
    """The outputs of the sinks, in the total order; the exit code."""
    from modelyard.v1 import run_pb2

    if output != "table":
        show_one(output, run, RUN_FIELDS, lambda item: item.id)
    else:
        for sink in run.results:
            for each in sink.outputs:
                _write_output(f"{sink.node_id}.{each.port}", each)
        sys.stdout.flush()
        sys.stderr.write(f"{run.id} {state_of(run)}: {counts_of(run)}\n")
        digest = next((each.digest for sink in run.results for each in sink.outputs if each.digest), "")
        if digest:
            sys.stderr.write(f"next: yard artifacts get {digest} FILE\n")
        left_out = next((s.node_id for s in run.results for each in s.outputs if _is_left_out(each)), "")
        if left_out:
            sys.stderr.write(f"too large to be shown here: yard graph result {run.id} {left_out} -o json\n")
    ended_well = run.state in (
        run_pb2.RUN_STATE_SUCCEEDED,
        run_pb2.RUN_STATE_RUNNING,
        run_pb2.RUN_STATE_PAUSED,
    )
    return exit_codes.DONE if ended_well else exit_codes.WORK_FAILED


def show_failed(run: run_pb2.Run, nodes: Sequence[canvas_pb2.ExecutionNode]) -> None:
    """The first nodes that are in error, each with why and what to do about it. To stderr."""
    for node in nodes:
        where = f" on {node.node}" if node.node else ""
        sys.stderr.write(f"{detail_of(node)}: {node.node_id}{where}: {_first_line(node.error.message)}\n")
        if node.error.next_step:
            sys.stderr.write(f"  next: {node.error.next_step}\n")
    if run.error_count > len(nodes):
        sys.stderr.write(f"… {run.error_count - len(nodes)} more in error\n")
    wrote = next((f"; yard graph logs {run.id} {node.node_id}" for node in nodes if node.task), "")
    sys.stderr.write(f"next: yard graph show {run.id}{wrote}; yard graph continue {run.id}\n")


def _first_line(text: str) -> str:
    first, _, rest = text.partition("\n")
    return f"{first[:300]} …" if rest or len(first) > 300 else first


def _is_left_out(output: canvas_pb2.NodeOutput) -> bool:
    return not (output.value_json or output.digest or output.items)


def _write_output(name: str, output: canvas_pb2.NodeOutput) -> None:
    """A line; of a list with artefacts one for each member."""
    for number, item in enumerate(output.items):
        sys.stdout.write(f"{name}[{number}]\t{item.digest or item.value_json}\n")
    if not output.items:
        sys.stdout.write(f"{name}\t{output.value_json or output.digest or '…'}\n")


def show_node(output: str, node: canvas_pb2.ExecutionNode) -> None:
    """A node with what it gave; members of a list that are artefacts a line each."""
    show_one(output, node, NODE_FIELDS, lambda item: item.node_id)
    if output == "table":
        for each in node.outputs:
            if each.items:
                _write_output(each.port, each)


def _measured_in(runs: Sequence[str]) -> str:
    return runs[0] if len(runs) == 1 else f"median of {len(runs)} runs" if runs else "-"


PLANNED_COLUMNS: Columns = (
    ("LEVEL", lambda node: str(node.gradient)),
    ("ORDER", lambda node: str(node.order)),
    ("NODE", lambda node: node.node_id),
    ("WHERE", lambda node: "cache" if node.is_cached else node.node or "-"),
    ("SECONDS", lambda node: f"{node.expected_s:.3g}" if node.measured_runs else "-"),
    ("FROM", lambda node: _measured_in(node.measured_runs)),
    ("WHY", lambda node: node.cache_reason if node.is_cached else node.message),
)


def prediction(answer: run_pb2.ExplainRunResponse) -> str:
    """The critical path, and what strictness would cost."""
    path = " → ".join([*answer.critical_path[:10], *(["…"] if len(answer.critical_path) > 10 else [])])
    text = f"{answer.level_count} levels; critical path: {path or 'none'}"
    if answer.ready_makespan_s:
        text += (
            f" ({answer.critical_path_s:.3g} s); {answer.slots} at a time: ready {answer.ready_makespan_s:.3g} s, "
            f"strict {answer.strict_makespan_s:.3g} s"
        )
    return text
