"""By which numbers this machine is reached."""

from __future__ import annotations

import socket

import psutil
import pytest


def own_address() -> str:
    """One beyond loopback; without it the test is skipped."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET and not one.address.startswith("127."):
                return str(one.address)
    pytest.skip("this machine has no address but loopback")
