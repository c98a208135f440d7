"""What became of modifications: tables, names or documents, and the exit code that says whether one was rejected."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from cli import exit_codes
from cli.output.nouns import verdict_rows
from cli.output.render import show_document, to_document
from cli.output.table import write_table
from modelyard.v1 import task_pb2


def show_modification(output: str, answer: task_pb2.ModifyTaskResponse) -> int:
    """Of one task."""
    if output == "name":
        sys.stdout.write(answer.task.id + "\n")
    elif output == "table":
        write_table(["FIELD", "VERDICT", "MESSAGE"], verdict_rows(answer.verdicts))
    else:
        show_document(output, to_document(answer))
    return _code(answer.verdicts)


def show_modifications(output: str, tasks: Sequence[task_pb2.ModifiedTask]) -> int:
    """Of all that a filter named."""
    if output == "name":
        sys.stdout.write("".join(task.task_id + "\n" for task in tasks))
    elif output == "table":
        rows = [[task.task_id, *row] for task in tasks for row in verdict_rows(task.verdicts)]
        if rows:
            write_table(["ID", "FIELD", "VERDICT", "MESSAGE"], rows)
        else:
            sys.stderr.write("no unfinished task meets the filter; next: yard tasks ls\n")
    else:
        show_document(output, to_document(task_pb2.ModifyTasksResponse(tasks=tasks)))
    return _code(verdict for task in tasks for verdict in task.verdicts)


def _code(verdicts: Iterable[task_pb2.FieldVerdict]) -> int:
    rejected = task_pb2.FIELD_VERDICT_KIND_REJECTED
    is_rejected = any(verdict.kind == rejected for verdict in verdicts)
    return exit_codes.CONFLICT if is_rejected else exit_codes.DONE
