"""The kernel's calls for shutting a process in, which Python 3.11 has not: namespaces, mounts, prctl.

Owns numbers and error handling, no policy.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import socket
import struct

NEW_NS, NEW_UTS, NEW_IPC, NEW_USER = 0x00020000, 0x04000000, 0x08000000, 0x10000000
NEW_PID, NEW_NET = 0x20000000, 0x40000000
READ_ONLY, NO_SUID, NO_DEV, NO_EXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_DENIED = (
    *((os.ST_NOSUID, NO_SUID), (os.ST_NODEV, NO_DEV), (os.ST_NOEXEC, NO_EXEC)),
    *((os.ST_NOATIME, 1 << 10), (os.ST_NODIRATIME, 1 << 11), (os.ST_RELATIME, 1 << 21)),
)
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_SECCOMP, _SET_NO_NEW_PRIVS = 1, 4, 22, 38
_FILTER, _STEP_BYTES = 2, 8
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Namespaces of its own. Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Raises OSError."""
    arguments = [word.encode() or None for word in (source, target, kind)]
    _check(
        _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None),
        f"mount {source or kind} on {target}",
    )


def bind(source: str, target: str, *, is_writable: bool = False) -> None:
    """The same files at another place; mounts below it stay as they are. Raises OSError."""
    mount(source, target, "", BIND | REC)
    had = os.statvfs(target).f_flag
    # What a mount has been denied already cannot be given back by a user who is not the machine's root.
    kept = sum(flag for seen, flag in _DENIED if had & seen)
    mount("", target, "", REMOUNT | BIND | NO_SUID | kept | (0 if is_writable else READ_ONLY))


def pivot(root: str) -> None:
    """The directory, a mount, becomes this process's whole file system. Raises OSError."""
    number = _PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(38, f"pivot_root on {platform.machine()} is not known")
    os.chdir(root)
    _check(_libc.syscall(ctypes.c_long(number), b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount of the machine's root")
    os.chdir("/")


def die_with_parent(number: int) -> None:
    """The signal comes when the thread that started this process ends. A change of user forgets it."""
    _check(_libc.prctl(_SET_PDEATHSIG, number, 0, 0, 0), "prctl")


def no_new_privileges() -> None:
    """From now on nothing that is executed has more rights than this process."""
    _check(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def filter_calls(program: bytes) -> None:
    """From now on the kernel asks the program, of classic BPF, about each call of this thread. Raises OSError."""
    kept = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // _STEP_BYTES, ctypes.addressof(kept))
    _check(_libc.prctl(_SET_SECCOMP, _FILTER, head, 0, 0), "prctl of a seccomp filter")


def filters_calls() -> bool:
    """Whether this kernel can: it looks for the program, which is not there."""
    return bool(_libc.prctl(_SET_SECCOMP, _FILTER, None, 0, 0) and ctypes.get_errno() == errno.EFAULT)


def hide_memory() -> None:
    """No other process of the same user can look into this one."""
    _check(_libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0), "prctl")


def loopback_up() -> None:
    """In a network namespace of its own: 127.0.0.1 answers. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        _, flags = struct.unpack_from("16sh", fcntl.ioctl(sock, _GET_FLAGS, request))
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))
