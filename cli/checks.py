"""The checks of `yard doctor`: one function each, which looks and says; none changes anything.

Owns what is looked at on this machine. The yard itself is asked in `cli.commands.doctor`.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from modelyard.enclosure.means import find_means
from modelyard.quantities import format_size
from modelyard.settings import Settings, SettingsError, read_token

OK = "ok"
NOTE = "note"
WARNING = "warning"
FAILURE = "failure"

LOW_DISK_BYTES = 1 << 30
REQUIRED = {
    "grpcio": (1, 84),
    "protobuf": (6, 31),
    "aiosqlite": (0, 22),
    "msgspec": (0, 20),
    "psutil": (7, 0),
}
STARTED_BY = {"trainer": "yard up --trainer", "models": "yard up --models"}
"""What a yard has only where it is asked for."""
OPTIONAL = {
    "demo": ("yard demo", ("scikit-learn", "matplotlib", "lightgbm", "xgboost-cpu xgboost")),
    "operators": ("some operators", ("polars", "scikit-learn", "matplotlib", "pillow")),
    "models": ("looking into ONNX models", ("onnx", "numpy")),
}
"""What each extra is for and brings; of packages of several names one is enough."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    check: str
    status: str
    message: str
    next_step: str = ""


def check_machine(settings: Settings) -> Iterator[Finding]:
    """Every check that needs no yard."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _python,
        _dependencies,
        _state,
        _disk,
        _ports,
        _token,
        _cgroups,
        _docker,
        _clock,
    )
    for check in checks:
        yield from check(settings)


def _python(settings: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", OK, f"{version} at {sys.executable}")


def _dependencies(settings: Settings) -> Iterator[Finding]:
    for package, least in REQUIRED.items():
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            yield Finding("dependencies", FAILURE, f"{package} is missing", f"pip install {package}")
            continue
        if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < least:
            wanted = ".".join(map(str, least))
            yield Finding(
                "dependencies",
                FAILURE,
                f"{package} {version} is too old",
                f"pip install '{package}>={wanted}'",
            )
    is_whole = True
    for extra, (purpose, packages) in OPTIONAL.items():
        missing = [names.split()[0] for names in packages if not any(map(_installed, names.split()))]
        if missing:
            is_whole = False
            message = f"{', '.join(missing)} missing; needed for {purpose} only"
            yield Finding("dependencies", NOTE, message, f"pip install 'modelyard[{extra}]'")
    if is_whole:
        yield Finding("dependencies", OK, "all there")


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _state(settings: Settings) -> Iterator[Finding]:
    state = settings.state
    if not state.exists():
        yield Finding("state", NOTE, f"{state} does not exist yet", "yard up makes it")
        return
    if not os.access(state, os.W_OK | os.X_OK):
        yield Finding("state", FAILURE, f"{state} cannot be written", "choose another: --state DIR")
        return
    if state.stat().st_mode & 0o077:
        yield Finding("state", WARNING, f"others may look into {state}", f"chmod 700 {state}")
        return
    yield Finding("state", OK, str(state))


def _disk(settings: Settings) -> Iterator[Finding]:
    place = settings.state
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    status = WARNING if free < LOW_DISK_BYTES else OK
    yield Finding(
        "disk", status, f"{format_size(free)} free at {place}", "free some space" if status != OK else ""
    )


def _ports(settings: Settings) -> Iterator[Finding]:
    """Either our yard has the ports or nobody has them."""
    for name, address in (
        ("scheduler", settings.endpoint),
        ("store", settings.store),
        ("graph", settings.graph),
        ("trainer", settings.trainer),
        ("models", settings.models),
    ):
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=2):
                yield Finding("ports", OK, f"{address} answers ({name})")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            yield Finding(
                "ports",
                NOTE,
                f"nothing answers at {address} ({name}): {reason}",
                STARTED_BY.get(name, "yard up"),
            )


def _token(settings: Settings) -> Iterator[Finding]:
    if settings["token"]:
        yield Finding("token", OK, f"from {settings.values['token'].origin}")
        return
    if not settings["token_file"]:
        yield Finding("token", NOTE, "none; every call but health needs one", "yard up, or --token-file FILE")
        return
    try:
        read_token(Path(settings["token_file"]))
    except SettingsError as error:
        yield Finding("token", FAILURE, str(error), error.next_step)
        return
    yield Finding("token", OK, settings["token_file"])


def _cgroups(settings: Settings) -> Iterator[Finding]:
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    if not controllers.exists():
        version = "v1" if Path("/sys/fs/cgroup/memory").exists() else "none"
        yield Finding("cgroups", NOTE, f"{version}; limits may fall back to rlimits")
        return
    writable = os.access("/sys/fs/cgroup", os.W_OK)
    how = "writable" if writable else "read-only; limits are enforced by rlimits"
    yield Finding("cgroups", OK if writable else NOTE, f"v2, {controllers.read_text().strip()}; {how}")


def _docker(settings: Settings) -> Iterator[Finding]:
    means = find_means()
    if means.engine:
        yield Finding("containers", OK, f"{means.engine} answers")
    else:
        message = f"{means.engine_missing}; only models with runtime.kind: container need one"
        yield Finding("containers", NOTE, message, "install Docker, or let models run as environments")
    shut_in = {
        "full": "own user, own files, no network",
        "namespaces": "own files and no network, by namespaces of users; the user is the agent's",
    }
    if means.unfiltered:
        message = f"calls of the kernel are not filtered in sandboxes: {means.unfiltered}"
        yield Finding("call filter", WARNING, message, "let models run as containers")
    if means.sandbox in shut_in:
        filtered = "" if means.unfiltered else "; calls of the kernel are filtered"
        yield Finding("sandbox", OK, shut_in[means.sandbox] + filtered)
    else:
        message = "none; models without network are refused here, and files are looked at within limits only"
        next_step = (
            "run agents as root, or allow user namespaces; a container needs security_opt seccomp=unconfined and"
            " systempaths=unconfined"
        )
        yield Finding("sandbox", WARNING, message, next_step)


def _clock(settings: Settings) -> Iterator[Finding]:
    year = time.gmtime().tm_year
    if year < 2025:
        yield Finding("clock", FAILURE, f"it says {year}", "set the clock; certificates depend on it")
    else:
        yield Finding("clock", OK, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
