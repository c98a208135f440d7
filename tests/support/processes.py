"""The services of a yard without their supervisor: a test may start one anew with a failpoint armed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence

from cli.supervisor.options import Options
from cli.supervisor.plan import Program, programs
from cli.supervisor.state import held, prepare
from services.chassis.failpoints import VARIABLE
from tests.support.wait import wait_until_sync
from tests.support.yard import Yard
from tests.support.yard_process import environment


class Processes:
    """The services of a yard without a supervisor: the test itself starts again what dies."""

    def __init__(
        self,
        yard: Yard,
        environ: Mapping[str, str] | None = None,
        *,
        trainer: bool = False,
        models: bool = False,
        more: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`more`: options by service, of all agents under "agent", which hold instead of those before."""
        options = Options(
            port_base=yard.port,
            agents=yard.agents,
            cpu=4,
            memory_bytes=4 << 30,
            trainer=trainer,
            models=models,
        )
        self._yard = yard
        self._more = dict(more or {})
        self._environ = dict(environ or {})
        self._programs: dict[str, Program] = {p.name: p for p in programs(yard.state, options)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        with held(yard.state):
            prepare(yard.state, options)
        for name in self._programs:
            self.start(name)
        yard.wait_for(*self._programs)

    def names(self) -> list[str]:
        """In the order in which they are started."""
        return list(self._programs)

    def start(self, name: str, wish: str = "") -> None:
        program = self._programs[name]
        extra = {**self._environ, **({VARIABLE: wish} if wish else {})}
        env = environment(self._yard.state, extra)
        argv = (*program.argv, *self._more.get(name.partition("-")[0], ()))
        with program.log_file.open("ab") as log:
            self._running[name] = subprocess.Popen(argv, env=env, stdout=log, stderr=log, cwd="/")

    def restart(self, name: str, wish: str, is_fresh: bool = False) -> None:
        """As an upgrade would: SIGHUP leaves an agent's workers alone, unless it is to begin afresh."""
        process = self._running[name]
        process.send_signal(signal.SIGHUP if name.startswith("agent") and not is_fresh else signal.SIGTERM)
        process.wait(20)
        self.start(name, wish)
        # One that is to die may have died of what it found, before anybody saw it serve.
        wait_until_sync(
            lambda: self._yard.pid(name) == self.pid(name) or (wish and self.ended(name) is not None),
            f"{name} serves again", timeout_s=30, state=self._yard.logs,
        )  # fmt: skip

    def ended(self, name: str) -> int | None:
        return self._running[name].poll()

    def wait(self, name: str) -> None:
        """Until it has ended."""
        self._running[name].wait(20)

    def kill(self, name: str) -> None:
        """By SIGKILL; it stays away until it is started."""
        self._running[name].kill()
        self._running[name].wait(20)

    def end(self, name: str) -> None:
        """As it likes to end; it stays away until it is started."""
        self._running[name].terminate()
        self._running[name].wait(20)

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def stop(self) -> None:
        for name in reversed(self._programs):
            self._running[name].terminate()
            self._running[name].wait(20)
