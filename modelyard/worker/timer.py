"""A timer that wakes a thread only if it was not put off in time.

Owns one timerfd, which Python has no name for before 3.13.
"""

import ctypes
import os

_MONOTONIC, _CLOEXEC = 1, os.O_CLOEXEC


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Timer:
    """Fires once, a fixed time after it was last armed. `arm` takes about a microsecond."""

    def __init__(self, delay_ms: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.timerfd_create(_MONOTONIC, _CLOEXEC)
        if self._fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timerfd_create: {os.strerror(number)}")
        value = _Itimerspec(_Timespec(0, 0), _Timespec(delay_ms // 1000, delay_ms % 1000 * 1_000_000))
        self._settime = libc.timerfd_settime
        self._spec = ctypes.byref(value)

    def arm(self) -> None:
        self._settime(self._fd, 0, self._spec, None)

    def wait(self) -> None:
        """Blocks until it fires."""
        os.read(self._fd, 8)
