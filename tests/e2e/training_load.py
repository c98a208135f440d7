"""Job files of the chaos: gangs, restarts, roles that wait for others, elastic ones, sweeps; and how each may end."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

LASTING_S = 600.0
"""Longer than any chaos: whoever works for so long has to be ended."""
_RESTART: dict[str, Any] = {
    "when": ["exit", "signal", "node_lost", "setup"],
    "backoff": ["100ms", "1s"],
    "max": 3,
}
_JOB: dict[str, Any] = {"kind": "Job", "name": "chaos", "resources": {"cpu": 0.1}, "gang": {"wait": "10m"}}


class Load:
    """Documents whose programs are one and the same; `dice` draws what is not said."""

    def __init__(self, program: Path, dice: random.Random) -> None:
        self._program = program
        self._dice = dice

    def gang(self) -> str:
        """Ranks that start together, and again when one fails."""
        fails = self._dice.choice((0, 0, 1, 2))
        leader = self._role("leader", 1, self._time(2.5), scope="job")
        worker = self._role("worker", self._dice.randint(1, 3), self._time(2), f"fails={fails}", scope="job")
        worker["functions"]["depend"] = [{"role": "leader", "until": "started"}]
        return _document("gang", {"leader": leader, "worker": worker})

    def loners(self) -> str:
        """Each fails for itself, within its budget."""
        count, fails = self._dice.randint(2, 4), self._dice.randint(0, 2)
        return _document("loners", {"worker": self._role("worker", count, self._time(1.5), f"fails={fails}")})

    def hopeless(self) -> str:
        """Fails as often as it is started."""
        scope = self._dice.choice(("instance", "job"))
        worker = self._role("worker", 2, self._time(0.4), "fails=1000000", scope=scope)
        return _document("hopeless", {"worker": worker})

    def chain(self) -> str:
        """One role after the other."""
        roles = {
            "first": self._role("first", 2, self._time(1)),
            "second": self._role("second", 1, self._time(1), "fails=1"),
            "third": self._role("third", 2, self._time(1)),
        }
        for name, before in (("second", "first"), ("third", "second")):
            roles[name]["functions"]["depend"] = [{"role": before, "until": "succeeded"}]
        return _document("chain", roles)

    def served(self) -> str:
        """A server that never ends, and clients of which there may be more or fewer."""
        server = self._role("server", 1, LASTING_S, "serve")
        server["service"] = {"ports": {"rpc": "auto"}}
        server["functions"] |= {
            "ready": {"until": "listening", "port": "rpc"}, "status": {"failed": "any", "endless": True},
        }  # fmt: skip
        client = self._role("client", 1, 1 + self._time(2))
        client["count"] = {"default": 1, "min": 1, "max": 4, "elastic": True}
        client["functions"]["depend"] = [{"role": "server"}]
        return _document("served", {"server": server, "client": client}, succeeded="all(client)")

    def lasting(self) -> str:
        """Works until somebody ends it."""
        return _document("lasting", {"worker": self._role("worker", 2, LASTING_S)})

    def pausing(self) -> str:
        """Works for a moment, whenever it is let."""
        return _document("pausing", {"worker": self._role("worker", 2, 0.5 + self._time(1))})

    def sweep(self) -> str:
        """Four trials, two at a time; three of them fail at first."""
        argv = [*self._words("worker", self._time(1)), "fails=${sweep.fails}"]
        job = {**_JOB, "framework": "plain", "argv": argv, "roles": {"worker": {"restart": _RESTART}}}
        head = {
            "kind": "Sweep", "name": "chaos", "space": {"fails": [0, 1, 2, 3]}, "search": "grid", "parallel": 2,
        }  # fmt: skip
        return "\n".join([json.dumps(head), "---", json.dumps(job)])

    def _time(self, most_s: float) -> float:
        return self._dice.uniform(0.1, most_s)

    def _words(self, role: str, seconds: float) -> list[str]:
        who = ["${job.id}", role, "${self.index}", "${self.epoch}"]
        return [sys.executable, str(self._program), *who, f"{seconds:.2f}"]

    def _role(
        self, name: str, count: int, seconds: float, *acts: str, scope: str = "instance"
    ) -> dict[str, Any]:
        functions = {
            "create": {"argv": [*self._words(name, seconds), *acts]},
            "restart": {**_RESTART, "scope": scope}, "stop": {"grace": "1s"},
        }  # fmt: skip
        return {"count": count, "functions": functions}


def _document(kind: str, roles: dict[str, Any], succeeded: str = "") -> str:
    status = {"succeeded": succeeded or f"all({', '.join(roles)})", "failed": f"any({', '.join(roles)})"}
    framework = {"kind": "Framework", "id": f"chaos-{kind}", "roles": roles, "job_status": status}
    # YAML takes JSON.
    return "\n".join([json.dumps(framework), "---", json.dumps({**_JOB, "framework": f"chaos-{kind}"})])
