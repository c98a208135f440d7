"""The filter of system calls, run as the kernel runs it, on both kinds of machine (S2, N4)."""

from __future__ import annotations

import errno
import struct

import pytest

from modelyard.enclosure import calls

ALLOWED = 0x7FFF0000
X86, ARM = 0xC000003E, 0xC00000B7
MACHINES = {"x86_64": X86, "aarch64": ARM}
ORDINARY = {
    "x86_64": {"read": 0, "mmap": 9, "futex": 202, "openat": 257, "execve": 59, "prctl": 157, "memfd": 319},
    "aarch64": {
        "read": 63,
        "mmap": 222,
        "futex": 98,
        "openat": 56,
        "execve": 221,
        "prctl": 167,
        "memfd": 279,
    },
}


def answer(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What the kernel does: 0 the call goes on, else the error. A machine with one register and jumps forward."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *[0] * (6 - len(arguments))))
    steps = list(struct.iter_unpack("=HBBI", program))
    place, register = 0, 0
    while True:
        operation, if_true, if_false, value = steps[place]
        place += 1
        if operation == 0x20:
            [register] = struct.unpack_from("<I", data, value)
        elif operation == 0x06:
            return 0 if value == ALLOWED else value & 0xFFFF
        else:
            holds = {0x15: register == value, 0x25: register > value, 0x45: bool(register & value)}[operation]
            place += if_true if holds else if_false


@pytest.fixture(params=sorted(MACHINES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def asked(machine: str, name: str | int, *arguments: int, has_sockets: bool = True) -> int:
    number = calls.number_of(name, machine) if isinstance(name, str) else name
    return answer(calls.program(machine, has_sockets=has_sockets), MACHINES[machine], number, *arguments)


def test_what_is_forbidden_is_refused_and_the_ordinary_goes_on(machine: str) -> None:
    for name in calls.FORBIDDEN:
        if calls.number_of(name, machine):
            assert asked(machine, name) == errno.EPERM, name
    for name, number in ORDINARY[machine].items():
        assert asked(machine, number) == 0, name


def test_no_number_stands_for_two_calls(machine: str) -> None:
    numbers = [number for name in calls.FORBIDDEN if (number := calls.number_of(name, machine))]
    assert len(set(numbers)) == len(numbers)
    assert not set(numbers) & set(ORDINARY[machine].values())


def test_processes_and_threads_may_be_made_and_namespaces_not(machine: str) -> None:
    assert asked(machine, "clone", 0x3D0F00) == 0  # a thread
    assert asked(machine, "clone", 17) == 0  # a fork
    for namespace in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert asked(machine, "clone", namespace | 17) == errno.EPERM
    assert asked(machine, "clone3") == errno.ENOSYS


def test_sockets_are_of_families_that_a_network_namespace_holds(machine: str) -> None:
    assert [asked(machine, "socket", family) for family in (1, 2, 10)] == [0, 0, 0]
    assert asked(machine, "socket", 16, 3, 0) == 0  # which addresses there are
    assert asked(machine, "socket", 16, 3, 9) == errno.EAFNOSUPPORT  # the audit log
    for family in (17, 38, 40):  # packets, the kernel's crypto, the machine around this one
        assert asked(machine, "socket", family) == errno.EAFNOSUPPORT
    for family in (1, 2, 10, 16, 40):
        assert asked(machine, "socket", family, has_sockets=False) == errno.EPERM


def test_nobody_types_into_a_terminal_or_changes_what_a_process_is(machine: str) -> None:
    assert asked(machine, "ioctl", 0, 0x5412) == errno.EPERM
    assert asked(machine, "ioctl", 0, 0x541C) == errno.EPERM
    # The kernel looks at the lower half alone.
    assert asked(machine, "ioctl", 0, 0x100005412) == errno.EPERM
    assert asked(machine, "ioctl", 0, 0x5413) == 0
    assert asked(machine, "personality", 0xFFFFFFFF) == 0
    assert asked(machine, "personality", 0x0040000) == errno.EPERM


def test_other_ways_to_number_calls_and_later_calls_are_not_there(machine: str) -> None:
    program = calls.program(machine, has_sockets=True)
    assert answer(program, 0x40000003, 26) == errno.ENOSYS  # 32 bit
    assert asked(machine, 0x40000000 | 101) == errno.ENOSYS  # x32
    assert asked(machine, 463) == errno.ENOSYS


def test_machine_whose_calls_are_not_known_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert calls.installed(has_sockets=True) == "the calls of riscv64 are not known"
