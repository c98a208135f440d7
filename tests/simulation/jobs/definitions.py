"""Random jobs, each with a framework of its own: roles that wait for each other in every way, every policy there is.

What cannot end by its own definition is bounded by a deadline, so that every job has to end.
"""

from __future__ import annotations

import json
import random
from typing import Any

from tests.simulation.jobs.scheduler import NOWHERE

CAUSES = ("exit", "signal", "out_of_memory", "node_lost", "preempted", "setup", "hang", "not_ready")
ENDLESS = "e"
"""With this the names of roles begin that never end by themselves."""


def random_job(chance: random.Random, number: int, *, most: int = 6, is_bounded: bool | None = None) -> str:
    """The text of a job and its framework; at most so many instances."""
    return _Drawing(chance, number, most, is_bounded).text()


class _Drawing:
    def __init__(self, chance: random.Random, number: int, most: int, is_bounded: bool | None) -> None:
        self.chance = chance
        self.number = number
        self.left = most
        self.has_hangs = chance.random() < 0.25
        self.has_checkpoints = chance.random() < 0.4
        self.is_bounded = chance.random() < 0.5 if is_bounded is None else is_bounded
        """Whether a deadline ends it, whatever its policies make of it."""
        self.roles: dict[str, Any] = {}

    def text(self) -> str:
        chance = self.chance
        for place in range(chance.randint(1, 5)):
            if self.left > 0:
                self._role(place)
        # YAML takes JSON.
        return "\n".join([json.dumps(self._framework()), "---", json.dumps(self._job())])

    def _framework(self) -> dict[str, Any]:
        ends = [name for name in self.roles if not name.startswith(ENDLESS)]
        failed = [*self.roles]
        if self.is_bounded and self.chance.random() < 0.3:
            failed = ends
        operator = "any" if self.is_bounded and self.chance.random() < 0.3 else "all"
        status = {"succeeded": f"{operator}({', '.join(ends)})", "failed": f"any({', '.join(failed)})"}
        framework: dict[str, Any] = {"kind": "Framework", "id": f"f{self.number}", "roles": self.roles}
        if ends and self.has_checkpoints and self.chance.random() < 0.6:
            framework["ranks"] = ends
        return {**framework, "job_status": status}

    def _job(self) -> dict[str, Any]:
        chance = self.chance
        name = NOWHERE if chance.random() < 0.03 else f"n{self.number}"
        job: dict[str, Any] = {
            "kind": "Job", "framework": f"f{self.number}", "name": name, "priority": chance.choice((0, 0, 0, 1, 5)),
            "queue": chance.choice(("", "other")), "labels": {"fails": str(chance.choice((0, 0.1, 0.3, 0.6)))},
        }  # fmt: skip
        if chance.random() < 0.4:
            job["gang"] = {"wait": f"{chance.choice((5, 20, 60))}s"}
            elastic = {name: 1 for name, role in self.roles.items() if role["count"].get("elastic")}
            if elastic and chance.random() < 0.7:
                job["gang"]["min"] = elastic
        if self.is_bounded:
            job["limits"] = {"active_deadline": f"{chance.choice((20, 60, 120))}s"}
        if self.has_hangs:
            job["hang"] = {"silent": "12s"}
        if chance.random() < 0.1:
            job["suspend"] = True
        if chance.random() < 0.5:
            job["preemptible"] = True
        if self.has_checkpoints:
            job["checkpoints"] = {"dir": "saved", "keep_last": chance.choice((1, 2, 3))}
        return job

    def _role(self, place: int) -> None:
        chance = self.chance
        is_endless = bool(self.roles) and chance.random() < 0.25
        name = f"{ENDLESS if is_endless else 'r'}{place}"
        count = min(chance.choice((1, 1, 2, 3)), self.left)
        self.left -= count
        number: dict[str, Any] = {"default": count}
        if chance.random() < 0.3:
            number |= {"min": 1, "max": count + 2, "elastic": True}
        functions: dict[str, Any] = {"create": {"argv": ["work"]}}
        if chance.random() < 0.4:
            functions["ready"] = self._readiness(is_endless, may_be_ready=False)
        edges = self._edges()
        if edges:
            functions["depend"] = edges
        functions["restart"] = self._restart(name)
        functions["status"] = self._status(is_endless)
        if chance.random() < 0.3:
            functions["stop"] = {"grace": f"{chance.choice((1, 3))}s"}
        if is_endless and chance.random() < 0.3:
            functions["clean"] = {"at_end": "drain", "drain": "2s"}
        self.roles[name] = {"count": number, "service": {"ports": {"main": "auto"}}, "functions": functions}

    def _edges(self) -> list[dict[str, Any]]:
        chance, found = self.chance, []
        for other in self.roles:
            if chance.random() < 0.5:
                continue
            edge = {"role": other, **self._readiness(other.startswith(ENDLESS), may_be_ready=True)}
            edge["quorum"] = chance.choice(("all", "all", "any", "first", "50%"))
            if chance.random() < 0.3:
                edge["timeout"] = f"{chance.choice((0.5, 5, 30)):g}s"
                edge["on_timeout"] = chance.choice(("fail", "start_anyway"))
            found.append(edge)
        return found

    def _readiness(self, is_endless: bool, *, may_be_ready: bool) -> dict[str, Any]:
        kinds = ["address", "started", "listening", "log", "file", "metric"]
        kinds += [] if is_endless else ["succeeded"]
        kinds += ["ready"] if may_be_ready else []
        kind = self.chance.choice(kinds)
        more = {
            "listening": {"port": "main"}, "log": {"pattern": "ready"}, "file": {"path": "done"},
            "metric": {"metric": "steps >= 3"},
        }  # fmt: skip
        return {"until": kind, **more.get(kind, {})}

    def _restart(self, name: str) -> dict[str, Any]:
        chance = self.chance
        scopes: list[Any] = ["instance", "role", "job"]
        if self.roles and chance.random() < 0.3:
            scopes = [[name, *chance.sample([*self.roles], 1)]]
        found: dict[str, Any] = {
            "when": sorted({*chance.sample(CAUSES, chance.randint(1, 5)), "node_lost"}), "scope": chance.choice(scopes),
            "max": chance.choice((0, 1, 2, 5)), "backoff": [f"{chance.choice((100, 1000))}ms", "4s"],
        }  # fmt: skip
        if chance.random() < 0.5:
            found["per"] = chance.choice(("instance", "role", "job"))
        if chance.random() < 0.3:
            found["may_move"] = False
        if chance.random() < 0.3:
            rule: dict[str, Any] = {"exit": [3], "do": chance.choice(("fail", "restart", "succeed"))}
            if rule["do"] == "restart":
                rule["avoid_node"] = chance.random() < 0.5
            found["rules"] = [rule]
        return found

    def _status(self, is_endless: bool) -> dict[str, Any]:
        chance = self.chance
        if is_endless:
            return {"endless": True}
        if not self.is_bounded or chance.random() < 0.5:
            return {}
        return {
            "succeeded": chance.choice(("all", "any", "first", "50%")),
            "failed": chance.choice(("any", "none_left", "first", "never")),
        }
