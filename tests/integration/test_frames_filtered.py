"""Calls of the kernel that nobody shut in may make, tried by real processes where they run (S2, N4)."""

from __future__ import annotations

import platform
from pathlib import Path

from modelyard.enclosure import calls
from tests.support.enclosed_frames import code_component, enclosed, said

TRYING = """
import ctypes, errno, os, socket, subprocess, sys, threading

libc = ctypes.CDLL(None, use_errno=True)


def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(one) for one in (*arguments, 0, 0, 0, 0, 0, 0)[:6]])
    return "" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def sockets():
    found = []
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16, 17, 38, 40):
        try:
            socket.socket(family, socket.SOCK_DGRAM).close()
            found.append("had")
        except OSError as error:
            found.append(errno.errorcode[error.errno])
    return found


def ordinary():
    thread = threading.Thread(target=str)
    thread.start()
    thread.join()
    return [subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True).stdout.strip()]


class Model:
    def predict(self, x: str) -> str:
        return " ".join(eval(x))
"""


def test_forbidden_calls_are_refused_to_who_is_shut_in(tmp_path: Path) -> None:
    machine = platform.machine()
    numbers = [number for name in calls.FORBIDDEN if (number := calls.number_of(name, machine))]
    component, config = code_component(tmp_path / "component", TRYING)
    with enclosed(component, config, tmp_path / "seat") as frame:
        peer = frame.connected(60)
        assert set(said(peer, f"[call(n) for n in {numbers}]").split()) == {"EPERM"}
        clone = calls.number_of("clone", machine)
        assert said(peer, f"[call({clone}, 0x10000000 | 17), call({clone}, 0x20000 | 17)]") == "EPERM EPERM"
        clone3 = calls.number_of("clone3", machine)
        assert said(peer, f"[call({clone3}), call(463)]") == "ENOSYS ENOSYS"
        families = said(peer, "sockets()").split()
        assert families[:4] == ["had"] * 4 and "had" not in families[4:], families
        # They start programs and threads all the same.
        assert said(peer, "ordinary()") == "1"
        with open(f"/proc/{frame.process.pid}/status") as status:  # noqa: PTH123
            assert "Seccomp:\t0" in status.read(), "who keeps the frame is not filtered"
