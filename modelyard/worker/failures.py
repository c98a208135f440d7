"""Failures of work, as a report carries them.

Owns the text that a user reads: the message and the traceback of their own code, without ours.
"""

import traceback
from pathlib import Path
from types import TracebackType

from modelyard.operator.failure import OperatorFailed
from modelyard.worker.frames import Message
from modelyard.worker.results import BadResult

_OURS = str(Path(__file__).parent.parent)
_OUR_PARTS = (f"{_OURS}/worker/", f"{_OURS}/operator/", "<frozen importlib")
_MAX_MESSAGE, _MAX_TRACEBACK = 4096, 16384


def setup_error(message: str) -> Message:
    return {"cause": "setup", "message": message[:_MAX_MESSAGE]}


def error_of(error: BaseException) -> Message:
    """What user code raised."""
    if isinstance(error, OperatorFailed):
        return _told(error)
    if isinstance(error, SystemExit):
        text = f"called sys.exit({error.code!r}); return a value or raise an exception instead"
    elif isinstance(error, BadResult):
        text = str(error)
    else:
        text = traceback.format_exception_only(error)[-1].strip()
    return {
        "cause": "error",
        "message": text[:_MAX_MESSAGE],
        "traceback": _traceback(error)[-_MAX_TRACEBACK:],
    }


def _told(error: OperatorFailed) -> Message:
    """An operator that says itself what is wrong says all that there is to say."""
    message: Message = {"cause": "error", "message": str(error)[:_MAX_MESSAGE]}
    if error.next_step:
        message["next_step"] = error.next_step[:_MAX_MESSAGE]
    return message


def _traceback(error: BaseException) -> str:
    own = _user_part(error.__traceback__)
    if own is None:
        return ""
    return "".join(traceback.format_exception(type(error), error, own))


def _user_part(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OUR_PARTS):
        frames = frames.tb_next
    return frames
