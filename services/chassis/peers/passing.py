"""A refusal of another service, passed on to one's own caller as it came: code, reason, field and next step."""

from modelyard.errors import YardError
from services.chassis import errors
from services.chassis.errors import ServiceError

_FAMILIES: dict[str, type[ServiceError]] = {
    family.code: family
    for family in (
        errors.InvalidArgument, errors.NotFound, errors.AlreadyExists, errors.FailedPrecondition, errors.Aborted,
        errors.OutOfRange, errors.ResourceExhausted, errors.PermissionDenied, errors.Unavailable,
        errors.DeadlineExceeded, errors.Unimplemented,
    )
}  # fmt: skip


def passed_on(error: YardError, field: str = "") -> ServiceError:
    """To be raised in its place. ``field``: how one's own request names what the other one refused.

    What is no refusal of the request but a fault between the services is UNAVAILABLE.
    """
    family = _FAMILIES.get(error.code, errors.Unavailable)
    leaf = type("PassedOn", (family,), {"reason": error.reason or "PEER_REFUSED"})
    made = leaf(error.message, field=field or error.field, next_step=error.next_step)
    assert isinstance(made, ServiceError)
    return made
