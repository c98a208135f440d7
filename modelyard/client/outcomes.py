"""What became of a task, for the code that asked for it."""

from __future__ import annotations

from typing import Any

import msgspec

from modelyard.errors import YardError
from modelyard.v1 import task_pb2

SUCCEEDED = task_pb2.TASK_STATE_SUCCEEDED
FAILED = task_pb2.TASK_STATE_FAILED
CANCELLED = task_pb2.TASK_STATE_CANCELLED
ENDED = frozenset({SUCCEEDED, FAILED, CANCELLED})

_decode = msgspec.json.Decoder().decode


class TaskFailed(YardError):
    """The work itself failed, or was cancelled.

    `cause` is "exit", "signal", "out_of_memory", "node_lost", "timeout", "error", "setup", "drained" or
    "cancelled"; `traceback` is the operator's own; `exit_code` and `signal` those of a command.
    """

    def __init__(self, outcome: task_pb2.TaskOutcome | task_pb2.Task) -> None:
        error = outcome.error
        self.task_id = outcome.id if isinstance(outcome, task_pb2.Task) else outcome.task_id
        self.node = outcome.node
        self.cause = cause_name(error.cause) if error.cause else state_name(outcome.state)
        self.exit_code = error.exit_code
        self.signal = error.signal
        self.traceback = error.traceback
        message = error.message or f"it was {self.cause}"
        super().__init__(
            f"task {self.task_id} failed: {message}" + (f"\n{self.traceback}" if self.traceback else ""),
            code="TASK_FAILED",
            reason=self.cause.upper(),
            next_step=error.next_step or f"yard tasks logs {self.task_id}",
        )
        self.detail = message


def cause_name(cause: task_pb2.TaskCause.ValueType) -> str:
    """ "out_of_memory" for TASK_CAUSE_OUT_OF_MEMORY."""
    return task_pb2.TaskCause.Name(cause).removeprefix("TASK_CAUSE_").lower()


def state_name(state: task_pb2.TaskState.ValueType) -> str:
    """ "running" for TASK_STATE_RUNNING."""
    return task_pb2.TaskState.Name(state).removeprefix("TASK_STATE_").lower()


def value_of(outcome: task_pb2.TaskOutcome | task_pb2.Task) -> Any:
    """What the operator returned. Raises TaskFailed if it did not succeed; None if it returned nothing."""
    if outcome.state != SUCCEEDED:
        raise TaskFailed(outcome)
    value_json = outcome.result.value_json
    return _decode(value_json) if value_json else None
