"""Programs of a seat that run in containers: the order of each, how it has ended, and that nothing of it stays.

Owns the files of orders and outcomes in the directory of logs. What makes a container is a process beside it, which
is the program to everybody else: its logs, its signals, its end.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from modelyard.worker.commands.outcomes import clean_up, read_outcome
from modelyard.worker.frames import Message
from modelyard.worker.processes.spawning import Spawner

_CAUSES = {
    "setup": "EXIT_CAUSE_SETUP",
    "out_of_memory": "EXIT_CAUSE_OUT_OF_MEMORY",
    "signal": "EXIT_CAUSE_SIGNAL",
    "exit": "EXIT_CAUSE_EXIT",
}
_KINDS = ("order", "outcome", "pid")


class Containers:
    """Those of one launch. ``asked``: what holds for all of them, as the agent says it."""

    def __init__(self, asked: Message, log_directory: str) -> None:
        self._asked = asked
        self._directory = log_directory
        self._told: dict[int, Message] = {}
        self.count = 0

    def words(self, argv: list[str], env: Mapping[str, str]) -> list[str]:
        """What is started in the place of the next program. Raises OSError."""
        number, self.count = self.count, self.count + 1
        paths = {kind: self._path(kind, number) for kind in _KINDS}
        for path in paths.values():
            Path(path).unlink(missing_ok=True)
        order = {
            **self._asked["order"],
            "argv": argv,
            "env": dict(env),
            "outcome_path": paths["outcome"],
            "pid_path": paths["pid"],
        }
        fd = os.open(paths["order"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(order, file)
        return [*self._asked["argv"], paths["order"]]

    @property
    def env(self) -> Mapping[str, str]:
        """Of what is started."""
        env: Mapping[str, str] = self._asked.get("env", {})
        return env

    def told(self, number: int) -> Message | None:
        """What a program's own process has said of its end; None: it was killed before that."""
        if number not in self._told and (found := read_outcome(self._path("outcome", number))) is not None:
            self._told[number] = found
        return self._told.get(number)

    def exit(self, number: int, code: int) -> Message:
        """The end of one that has failed, as fields of an InstanceExit."""
        told = self.told(number)
        if told is None:
            message = "what kept its container ended before it; see its stderr"
            return {"cause": "EXIT_CAUSE_SETUP", "message": message}
        error = told.get("error") or {}
        message = ": ".join(filter(None, (error.get("message", ""), error.get("next_step", ""))))
        return {
            "cause": _CAUSES.get(error.get("cause", ""), "EXIT_CAUSE_EXIT"),
            "message": message or f"exited with code {code}",
            "signal": int(error.get("signal", 0)),
            "exit_code": 0 if error.get("signal") else code,
        }

    def leaders(self) -> Iterator[int]:
        """First processes of containers, as this machine counts them."""
        for number in range(self.count):
            try:
                yield int(Path(self._path("pid", number)).read_text(encoding="ascii"))
            except (OSError, ValueError):
                # It has not begun, or its engine counts otherwise.
                continue

    def clean_up(self, spawner: Spawner) -> None:
        """Nothing is left of those whose processes could not see to it themselves. Takes some seconds at most."""
        if any(self.told(number) is None for number in range(self.count)):
            clean_up(spawner, self._asked)

    def _path(self, kind: str, number: int) -> str:
        return f"{self._directory}/container-{number}.{kind}"
