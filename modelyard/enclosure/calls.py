"""Which calls of the kernel are kept from what is shut in: a seccomp filter. Pure, but for `installed` and `missing`.

Everything that an ordinary program needs stays allowed. Kept away is what reaches beyond a process of its own (other
processes' memory, mounts, namespaces, modules, keys, clocks), what has been the kernel's weak side (io_uring, bpf,
userfaultfd, perf_event_open), sockets that no network namespace holds (vsock, the kernel's crypto …), the other ways to
number calls (32 bit, x32), and whatever is newer than this list.

Who is refused gets EPERM; ENOSYS where libraries then do without.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterator

from modelyard.enclosure import linux

KNOWN_MOST = 462
"""mseal. Later calls are answered as an older kernel answers them."""
_NAMES = {
    # name: (x86_64, aarch64); 0: there is none
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "pidfd_getfd": (438, 438), "kcmp": (312, 272), "move_pages": (279, 239),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "statmount": (457, 457),
    "listmount": (458, 458), "unshare": (272, 97), "setns": (308, 268),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "create_module": (174, 0),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142),
    "swapon": (167, 224), "swapoff": (168, 225),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "nfsservctl": (180, 42),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, 0), "ioperm": (173, 0),
    "syslog": (103, 116), "lookup_dcookie": (212, 18), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "vhangup": (153, 58), "modify_ldt": (154, 0), "uselib": (134, 0),
    "_sysctl": (156, 0), "ustat": (136, 0), "sysfs": (139, 0), "fanotify_init": (300, 262),
}  # fmt: skip
FORBIDDEN: tuple[str, ...] = tuple(_NAMES)
"""Refused whatever their arguments are."""
_LOOKED_AT = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "ioctl": (16, 29),
    "personality": (135, 92),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column of the numbers, and how the kernel calls the way of numbering."""
_NAMESPACES = 0x7E020000
"""CLONE_NEW… of clone: mounts, control groups, names, IPC, users, processes, network."""
_FAMILIES = (1, 2, 10)
"""Unix, IPv4, IPv6."""
_NETLINK, _ROUTE = 16, 0
_TYPED_FOR = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX, by which a process types into the terminal that it shares."""
_SAME_PERSONALITY = (0, 0xFFFFFFFF)

_NUMBER, _ARCHITECTURE, _FIRST = 0, 4, 16
_LOAD, _EQUAL, _GREATER, _ANY_OF, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000

Step = tuple[str, int, str] | tuple[str]
"""An operation, its number and where it leads if it holds; or a place's name."""
_OPERATIONS = {"equal": _EQUAL, "greater": _GREATER, "any": _ANY_OF}
_ENDS = {
    "allowed": _ALLOW,
    "forbidden": _REFUSE | errno.EPERM,
    "unknown": _REFUSE | errno.ENOSYS,
    "no family": _REFUSE | errno.EAFNOSUPPORT,
}


def number_of(name: str, machine: str) -> int:
    """As this kind of machine calls it; 0: it has no such call. Raises KeyError."""
    column, _ = _MACHINES[machine]
    return {**_NAMES, **_LOOKED_AT}[name][column]


def program(machine: str, *, has_sockets: bool) -> bytes:
    """The filter. Raises KeyError for a machine whose calls are not known."""
    return _assembled(list(_steps(machine, has_sockets=has_sockets)))


def installed(*, has_sockets: bool) -> str:
    """From now on for this thread and all that it starts; it has given up privileges before. Empty; or why not."""
    if why := missing():
        return why
    try:
        linux.filter_calls(program(platform.machine(), has_sockets=has_sockets))
    except OSError as error:
        return str(error)
    return ""


def missing() -> str:
    """Why there can be no filter here; empty: there can."""
    machine = platform.machine()
    if machine not in _MACHINES:
        return f"the calls of {machine} are not known"
    return "" if linux.filters_calls() else "the kernel has no seccomp filters"


def _steps(machine: str, *, has_sockets: bool) -> Iterator[Step]:
    column, architecture = _MACHINES[machine]
    looked_at = {name: numbers[column] for name, numbers in _LOOKED_AT.items()}
    yield "load", _ARCHITECTURE, ""
    yield "equal", architecture, "known machine"
    yield "return", _ENDS["unknown"], ""
    yield ("known machine",)
    yield "load", _NUMBER, ""
    yield "greater", KNOWN_MOST, "unknown"
    # Its flags lie in memory, where no filter can look; libraries then use the older one.
    yield "equal", looked_at.pop("clone3"), "unknown"
    for numbers in _NAMES.values():
        if numbers[column]:
            yield "equal", numbers[column], "forbidden"
    for name, number in looked_at.items():
        yield "equal", number, name
    yield "return", _ALLOW, ""
    yield ("clone",)
    yield "load", _argument(0), ""
    yield "any", _NAMESPACES, "forbidden"
    yield "return", _ALLOW, ""
    yield from _sockets(has_sockets=has_sockets)
    yield ("ioctl",)
    yield "load", _argument(1), ""
    for number in _TYPED_FOR:
        yield "equal", number, "forbidden"
    yield "return", _ALLOW, ""
    yield ("personality",)
    yield "load", _argument(0), ""
    for number in _SAME_PERSONALITY:
        yield "equal", number, "allowed"
    yield "return", _ENDS["forbidden"], ""
    for name, end in _ENDS.items():
        yield (name,)
        yield "return", end, ""


def _sockets(*, has_sockets: bool) -> Iterator[Step]:
    yield ("socket",)
    if not has_sockets:
        yield "return", _ENDS["forbidden"], ""
        return
    yield "load", _argument(0), ""
    for family in _FAMILIES:
        yield "equal", family, "allowed"
    yield "equal", _NETLINK, "netlink"
    yield "return", _ENDS["no family"], ""
    yield ("netlink",)
    yield "load", _argument(2), ""
    yield "equal", _ROUTE, "allowed"
    yield "return", _ENDS["no family"], ""


def _argument(place: int) -> int:
    """Where its lower half lies; both machines put that first."""
    return _FIRST + 8 * place


def _assembled(steps: list[Step]) -> bytes:
    """Jumps lead forward, and nowhere further than 255 steps."""
    places: dict[str, int] = {}
    count = 0
    for step in steps:
        if len(step) == 1:
            places[step[0]] = count
        else:
            count += 1
    found = bytearray()
    for step in steps:
        if len(step) == 1:
            continue
        operation, number, where = step
        here = len(found) // 8 + 1
        if operation in _OPERATIONS:
            found += struct.pack("=HBBI", _OPERATIONS[operation], places[where] - here, 0, number)
        else:
            found += struct.pack("=HBBI", _LOAD if operation == "load" else _RETURN, 0, 0, number)
    return bytes(found)
