"""Why a call is refused before it reaches a frame, or gets no answer from one."""

from __future__ import annotations

from services.chassis.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)


class InputWrong(InvalidArgument):
    """An input is not what the model takes."""


class InputMissing(InvalidArgument):
    """The model needs an input that the call does not have."""


class OutputUnknown(InvalidArgument):
    """The model has no output of this name."""


class ContentsWrong(InvalidArgument):
    """The contents of the inputs are not where or what the protocol says."""


class ParameterWrong(InvalidArgument):
    """A parameter of the call cannot be used."""


class CallNotAllowed(PermissionDenied):
    """The model's owner lets this account see it, not call it."""


class LoadNotAllowed(PermissionDenied):
    """Loading and unloading is for those who may manage the model."""


class QueueFull(ResourceExhausted):
    """As many calls as the model's queue takes wait already; repeat in a moment."""


class CallExpired(DeadlineExceeded):
    """The call's time was over."""


class FrameEnded(Unavailable):
    """The frame ended in which the call was computed, and it is not known whether computing it again would be safe."""


class FramesUnknown(Unavailable):
    """No frame can be asked for at the moment; repeat in a moment."""


class AnswersInParts(Unimplemented):
    """This model answers in parts."""


class CallRefused(InvalidArgument):
    """The model refused the call."""


class CallImpossible(FailedPrecondition):
    """The model cannot answer the call as it is."""


class CallTooLarge(ResourceExhausted):
    """The answer, or what the model needs for it, is larger than it may be."""


class ModelFailed(Internal):
    """The model failed."""


class CallStopped(Unavailable):
    """The call was stopped in its frame; repeat it."""


FAILURES = {
    "INVALID_ARGUMENT": CallRefused,
    "FAILED_PRECONDITION": CallImpossible,
    "RESOURCE_EXHAUSTED": CallTooLarge,
    "DEADLINE_EXCEEDED": CallExpired,
    "CANCELLED": CallStopped,
    "INTERNAL": ModelFailed,
}
"""What a frame answers, by its code."""
