"""The errors a service answers with: one family per gRPC code, one leaf class per reason.

Owns the taxonomy and nothing else: it imports no gRPC (`status.py` encodes), so pure modules may
raise these. Leaves are declared in the module whose rule they state; a leaf's docstring is its
default message and its class name is its reason (`TaskNotFound` -> `TASK_NOT_FOUND`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class ServiceError(Exception):
    """The request was refused."""

    code: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = "SERVICE_ERROR"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "reason" not in cls.__dict__:
            cls.reason = _WORD_START.sub("_", cls.__name__).upper()

    def __init__(
        self,
        message: str = "",
        *,
        field: str = "",
        next_step: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """message: what and why; field: the path of the request field at fault; next_step: what to do.

        metadata repeats every variable part of the message for programs to read.
        """
        self.message = message or _first_line(type(self).__doc__)
        self.field = field
        self.next_step = next_step
        self.metadata: Mapping[str, str] = dict(metadata or {})
        super().__init__(self.message)


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().split("\n", 1)[0]


class InvalidArgument(ServiceError):
    """The request is not valid, whatever the state of the system."""

    code = "INVALID_ARGUMENT"


class NotFound(ServiceError):
    """There is no such resource."""

    code = "NOT_FOUND"


class AlreadyExists(ServiceError):
    """The resource exists already."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(ServiceError):
    """The resource is not in a state that allows this."""

    code = "FAILED_PRECONDITION"


class Aborted(ServiceError):
    """The resource changed meanwhile; read it again and repeat."""

    code = "ABORTED"


class OutOfRange(ServiceError):
    """The position asked for is no longer, or not yet, there."""

    code = "OUT_OF_RANGE"


class ResourceExhausted(ServiceError):
    """A quota or a capacity is used up."""

    code = "RESOURCE_EXHAUSTED"


class PermissionDenied(ServiceError):
    """The caller may not do this."""

    code = "PERMISSION_DENIED"


class Unauthenticated(ServiceError):
    """The caller did not show who they are."""

    code = "UNAUTHENTICATED"


class Unavailable(ServiceError):
    """The service cannot answer at the moment; the same call may succeed later."""

    code = "UNAVAILABLE"


class DeadlineExceeded(ServiceError):
    """The call took longer than it may; its effect is unknown."""

    code = "DEADLINE_EXCEEDED"


class Unimplemented(ServiceError):
    """This is not offered."""

    code = "UNIMPLEMENTED"


class Internal(ServiceError):
    """The service made a mistake; its log has the details under this request id."""

    code = "INTERNAL"


class InvariantViolation(Exception):
    """Something that can never be true is true: the state or the code is wrong, not the request."""


class StartRefused(Exception):
    """The service cannot start; the message is for the operator and says what to do.

    Raised before serving, by the chassis or by a service's `open()`; `bootstrap.run` prints it in
    one line without a traceback and exits with code 2.
    """
