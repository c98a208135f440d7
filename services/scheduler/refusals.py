"""Why the scheduler says no: one class for each reason, whose first line is its message. No I/O, no protobuf."""

from services.chassis.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)


class MalformedTaskId(InvalidArgument):
    """This is not a task id."""


class InvalidSpec(InvalidArgument):
    """The specification cannot be right."""


class WithoutForbidden(PermissionDenied):
    """Only services ask what others' ends would change."""


class SeatForbidden(PermissionDenied):
    """Only services submit seats, on behalf of an account."""


class InvalidParams(InvalidArgument):
    """The parameters do not fit the operator."""


class InvalidRequest(InvalidArgument):
    """The request cannot be right."""


class QueueNotFound(NotFound):
    """There is no such queue."""


class QueueExists(AlreadyExists):
    """There is a queue of this name already."""


class QueueHasTasks(FailedPrecondition):
    """Unfinished tasks are in the queue."""


class QueueIsDefault(FailedPrecondition):
    """This queue is always there."""


class QueueNotOpen(PermissionDenied):
    """The queue is not open to the account."""


class QuotaTooSmall(FailedPrecondition):
    """The task asks for more than its queue or its account may ever hold."""


class QuotaInUse(ResourceExhausted):
    """The queue or the account holds too much at the moment."""


class TooManyUnfinished(ResourceExhausted):
    """The queue or the account has as many unfinished tasks as it may."""


class TooManyQueues(ResourceExhausted):
    """There are as many queues as there may be."""


class TaskNotFound(NotFound):
    """There is no such task."""


class NodeNotFound(NotFound):
    """There is no such node."""


class OperatorNotFound(NotFound):
    """No agent offers this operator."""


class AccountNotFound(NotFound):
    """There is no such account."""


class TokenNotFound(NotFound):
    """There is no such token."""


class InputNotFound(NotFound):
    """An input, or the bundle, is not in the store."""


class CannotBePlaced(FailedPrecondition):
    """No node could ever run this."""


class TaskHasEnded(FailedPrecondition):
    """The task has ended; a terminal state is never left."""


class TaskHasNotEnded(FailedPrecondition):
    """The task has not ended yet."""


class NothingToRetry(FailedPrecondition):
    """There is nothing that did not succeed."""


class TaskIsRunning(FailedPrecondition):
    """The task is already on a node."""


class TaskIsNotHeld(FailedPrecondition):
    """The task is not held."""


class ElementNotMade(FailedPrecondition):
    """The turn of this element of an array has not come."""


class NodeIsNotLost(FailedPrecondition):
    """The node is connected, or may come back any moment."""


class NodeHasTasks(FailedPrecondition):
    """Unfinished tasks are on the node, or wait for it."""


class QuoteNotFound(NotFound):
    """There is no such quote."""


class QuoteExpired(FailedPrecondition):
    """The quote no longer holds its capacity."""


class QuoteTooSmall(FailedPrecondition):
    """The quote does not hold room for all of this."""


class NoRoom(ResourceExhausted):
    """The capacity to be held is not free now; nothing is held."""


class TooManyQuotes(ResourceExhausted):
    """The account has as many quotes as it may."""


class AccountHasTasks(FailedPrecondition):
    """The account still has unfinished tasks."""


class DependencyMoved(Aborted):
    """What the task depends on has just ended; look at it again."""


class RevisionStale(Aborted):
    """The task has changed since that revision."""


class AccountExists(AlreadyExists):
    """There is an account of this name already."""


class AccountNameUsed(AlreadyExists):
    """A deleted account had this name, and what it did is still kept."""


class RevisionCompacted(OutOfRange):
    """Changes since that revision are no longer kept; list again and watch from the list's revision."""


class TooManyTasks(ResourceExhausted):
    """The scheduler holds as many unfinished tasks as it may."""


class TooManyMatches(ResourceExhausted):
    """More tasks meet the filter than can be changed at once."""


class TooManyChanges(ResourceExhausted):
    """Too many changes of this task wait for its agent."""


class LowDisk(ResourceExhausted):
    """The scheduler's disk is almost full; nothing new is taken until there is room."""


class NotYourAccount(PermissionDenied):
    """That belongs to another account."""


class CertificateMissing(PermissionDenied):
    """An agent must show the certificate of the node that its token names."""


class NodeNameTaken(AlreadyExists):
    """Another machine has this name; a join token that was made for it may take its place."""


class JoinRefused(Unauthenticated):
    """The join token is unknown, used or expired."""


class StoreUnreachable(Unavailable):
    """The store does not answer."""


def invalid(field: str, why: str, next_step: str = "correct it; nothing was submitted") -> InvalidSpec:
    """The error for a field of a specification that is wrong by itself."""
    return InvalidSpec(f"{field}: {why}", field=field, next_step=next_step)
