"""The state directory before anything runs: directories, lock, secrets, `client.toml`.

Owns the checks that turn a bad place into a clear message.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli import exit_codes
from cli.errors import CommandError
from cli.supervisor.child import environment
from cli.supervisor.files import read_ready, write_atomically
from cli.supervisor.options import Options, remember
from services.chassis.errors import StartRefused
from services.chassis.security import ensure_secret

DIRECTORIES = ("run", "logs", "secrets")
SECRETS = ("admin", "service", "join")


class CannotStart(CommandError):
    """The yard cannot be brought up."""

    def __init__(self, message: str, *, why: str = "", next_step: str = "") -> None:
        super().__init__(message, code=exit_codes.CONFLICT, why=why, next_step=next_step)


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Holds the state directory for this supervisor. Raises CannotStart if another one has it."""
    _make(state)
    descriptor = os.open(state / "run" / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            ready = read_ready(state / "run" / "up.json")
            who = f" (process {ready['pid']})" if ready else ""
            raise CannotStart(
                f"a yard is running in {state} already{who}", next_step=f"yard down --state {state}"
            ) from None
        yield
    finally:
        os.close(descriptor)


def prepare(state: Path, options: Options) -> None:
    """Everything that the services expect to find. Idempotent."""
    try:
        for name in SECRETS:
            ensure_secret(state / "secrets" / f"{name}.token", name)
        if options.tls:
            _make_certificates(state, options)
        remember(state, options)
        write_atomically(state / "client.toml", client_toml(state, options))
    except StartRefused as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise _unusable(state, error) from error


def client_toml(state: Path, options: Options) -> str:
    """What every other command reads to find this yard."""
    ca_file = str(state / "tls" / "ca.pem") if options.tls else ""
    return (
        f'endpoint = "{options.endpoint}"\n'
        f'store = "{options.store}"\n'
        f'graph = "{options.graph}"\n'
        f'trainer = "{options.training}"\n'
        f'models = "{options.serving}"\n'
        f'token_file = "{state / "secrets" / "admin.token"}"\n'
        f'ca_file = "{ca_file}"\n'
    )


def check_ports(options: Options) -> None:
    """Raises CannotStart for a port that somebody else has."""
    for service, port in options.ports.items():
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((options.host, port))
            except OSError as error:
                raise _unbindable(options, service, port, error) from error


def _unbindable(options: Options, service: str, port: int, error: OSError) -> CannotStart:
    if error.errno == errno.EADDRINUSE:
        return CannotStart(
            f"port {port}, for the {service}, is taken by another program",
            next_step=f"yard up --port-base {options.port_base + 100}, or see who has it: ss -ltnp",
        )
    return CannotStart(f"cannot listen on {options.host} port {port}: {error.strerror}")


def _make(state: Path) -> None:
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        state.chmod(0o700)
        for name in DIRECTORIES:
            (state / name).mkdir(mode=0o700, exist_ok=True)
        write_atomically(state / "run" / "probe", "")
        (state / "run" / "probe").unlink()
    except OSError as error:
        raise _unusable(state, error) from error


def _unusable(state: Path, error: OSError) -> CannotStart:
    next_step = "choose another place: yard up --state DIR"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CannotStart(f"the disk of {state} is full", next_step=f"free some space, or {next_step}")
    if error.errno == errno.EROFS:
        return CannotStart(f"{state} is on a read-only file system", next_step=next_step)
    if error.errno in (errno.EACCES, errno.EPERM):
        next_step = f"give it to user {os.getuid()}, as whom this runs (chown), or {next_step}"
    return CannotStart(f"{state} cannot be used: {error.strerror or error}", next_step=next_step)


def _make_certificates(state: Path, options: Options) -> None:
    argv = [sys.executable, "-m", "cli.supervisor.certificates", str(state), options.host, options.reach]
    made = subprocess.run(argv, env=environment({}), capture_output=True, text=True, cwd="/")
    if made.returncode:
        raise CannotStart("the certificates cannot be made", why=made.stderr.strip()[-400:])
