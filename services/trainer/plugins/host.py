"""Frameworks of installed packages: what they are, as data, and who answers for their code.

Of a package that is in use there are two processes: one that is asked for decisions, one that looks at readiness.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import msgspec

from modelyard.training import Framework, Launch, Plan, Verdict
from modelyard.training.frameworks.catalogue import GROUP
from modelyard.training.plans.preview import Preview
from modelyard.training.policies.status import Outcome, RoleState
from services.chassis.logs import get_logger
from services.trainer.plugins.process import LIMIT_S, PluginFailed, PluginProcess, safely_loaded

_ANSWERS: dict[str, Any] = {
    "create": msgspec.msgpack.Decoder(Launch),
    "restart": msgspec.msgpack.Decoder(Verdict),
    "status": msgspec.msgpack.Decoder(RoleState),
    "job_status": msgspec.msgpack.Decoder(Outcome | None),
    "check": msgspec.msgpack.Decoder(bool),
}
CHECK_S = 3.0

_log = get_logger("trainer.plugins")


class Plugins:
    """All packages of the entry point group."""

    def __init__(self) -> None:
        self._frameworks: dict[str, Framework] = {}
        self._deciding: dict[str, PluginProcess] = {}
        self._looking: dict[str, PluginProcess] = {}

    async def open(self) -> None:
        """Asks each what it offers; one that fails or takes too long is left out."""
        for point in entry_points(group=GROUP):
            process = PluginProcess(point.name)
            try:
                framework = safely_loaded(await process.load())
            except PluginFailed as error:
                _log.warning("plugin_left_out", name=point.name, message=str(error))
                await process.close()
                continue
            self._frameworks[framework.id] = framework
            self._deciding[framework.id], self._looking[framework.id] = process, PluginProcess(point.name)

    async def close(self) -> None:
        """Ends all of their processes."""
        for process in (*self._deciding.values(), *self._looking.values()):
            await process.close()

    def find(self, framework_id: str) -> Framework | None:
        """As data."""
        return self._frameworks.get(framework_id)

    def known(self) -> tuple[str, ...]:
        """Every id."""
        return tuple(self._frameworks)

    async def ask(self, framework_id: str, function: str, arguments: tuple[Any, ...]) -> Any:
        """A function's answer. Raises PluginFailed."""
        is_look = function == "check"
        process = (self._looking if is_look else self._deciding).get(framework_id)
        if process is None:
            raise PluginFailed(f"the package of the framework {framework_id} is not there")
        answer = await process.ask(function, arguments, CHECK_S if is_look else LIMIT_S)
        try:
            return _ANSWERS[function].decode(answer)
        except msgspec.MsgspecError as error:
            raise PluginFailed(
                f"the package of the framework {framework_id}: its function {function} gave nonsense: {error}"
            ) from error

    async def previews(self, plan: Plan, start: int, count: int) -> list[Preview]:
        """Instances as the package makes them. Raises PluginFailed."""
        process = self._deciding.get(plan.framework.id)
        if process is None:
            raise PluginFailed(f"the package of the framework {plan.framework.id} is not there")
        found: list[Preview] = safely_loaded(await process.ask("previews", (plan, start, count)))
        return found
