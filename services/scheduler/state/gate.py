"""One reason, other than a node's, why a waiting task is not placed. A value."""

import msgspec


class Gate(msgspec.Struct, frozen=True):
    """``reason`` is a stable word of ``task.proto``, ``message`` is for people, ``next_step`` says how to open it."""

    reason: str
    message: str
    next_step: str = ""
