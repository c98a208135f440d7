"""structlog, set up once per process.

Owns the form of a log line: the event is a constant in snake_case, everything variable is a key,
secrets never leave. JSON lines on stdout; colours and columns when a person looks on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from contextvars import ContextVar
from typing import Any, BinaryIO

import msgspec

# structlog imports all of rich, a third of a service's start, to draw tracebacks, which we do not use.
_rich = sys.modules.get("rich")
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
try:
    import structlog
finally:
    if _rich is None:
        del sys.modules["rich"]

from structlog.typing import EventDict, WrappedLogger  # noqa: E402

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_SECRET = re.compile(r"yard_[a-z]+_[A-Za-z0-9_-]{16,}")
_STARS = "yard_***"

request_id: ContextVar[str] = ContextVar("yard_request_id", default="")
"""The id of the RPC that this code runs for; added to every line."""


def get_logger(name: str) -> Any:
    """The logger of a module; bound at first use, so it may be made at import time."""
    return structlog.get_logger(source=name)


def setup(level: str = "info", log_format: str = "auto") -> None:
    """Configure structlog and the standard library's root logger. Call once, before the first line.

    level: debug, info, warning or error. log_format: json, console, or auto (console on a terminal).
    """
    # gRPC's core writes lines of its own to stderr, for instance whenever a stranger's handshake fails.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    console = log_format == "console" or (log_format == "auto" and sys.stdout.isatty())
    structlog.configure(
        processors=[_add_request_id, structlog.processors.add_log_level, *_rendering(console)],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory()
        if console
        else structlog.BytesLoggerFactory(_Output(sys.stdout.buffer)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    _capture_standard_logging(LEVELS[level])


def _rendering(console: bool) -> list[structlog.typing.Processor]:
    if console:
        return [
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            redact,
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(),
        redact,
        structlog.processors.JSONRenderer(serializer=_encode),
    ]


def _encode(value: Any, **_: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


def _add_request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    current = request_id.get()
    if current:
        event.setdefault("request_id", current)
    return event


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put stars where a token would stand, in any text value however deep."""
    for key, value in event.items():
        if type(value) is str:
            if "yard_" in value:
                event[key] = _SECRET.sub(_STARS, value)
        elif not isinstance(value, (int, float, type(None))):
            event[key] = _redacted(value)
    return event


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRET.sub(_STARS, value)
    if isinstance(value, bytes):
        return _SECRET.sub(_STARS, value.decode(errors="replace"))
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted(item) for item in value]
    if isinstance(value, (int, float, type(None), BaseException)):
        return value
    return _SECRET.sub(_STARS, str(value))


class _Output:
    """Where lines go. A full disk or a closed pipe costs lines, never the call that is logged."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(line)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class _Forward(logging.Handler):
    """Hands lines of libraries that use the standard library to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = max(logging.DEBUG, min(logging.CRITICAL, record.levelno // 10 * 10))
        extra = {"exc_info": record.exc_info} if record.exc_info else {}
        get_logger(record.name).log(level, "library_log", message=record.getMessage(), **extra)


def _capture_standard_logging(level: int) -> None:
    root = logging.getLogger()
    root.handlers = [_Forward()]
    # Libraries chatter at INFO; only what may explain trouble is kept.
    root.setLevel(max(level, logging.WARNING))
