"""Carries the machine's questions to packages, and their answers back as events."""

from __future__ import annotations

import asyncio

from services.trainer.engine import Engine
from services.trainer.plugins.host import Plugins
from services.trainer.plugins.process import PluginFailed
from services.trainer.state.effects import AskFunction
from services.trainer.state.events import FunctionAnswered


class Functions:
    """What has no answer when the trainer ends is asked again by its successor: it follows from the state."""

    def __init__(self, engine: Engine, plugins: Plugins) -> None:
        self._engine = engine
        self._plugins = plugins
        self._under_way: set[asyncio.Task[None]] = set()
        engine.ask = self.ask

    def ask(self, wish: AskFunction) -> None:
        """Answered later."""
        task = asyncio.create_task(self._answer(wish), name=f"ask-{wish.question.function}-j-{wish.job}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Nobody waits for answers any more."""
        for task in (*self._under_way,):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _answer(self, wish: AskFunction) -> None:
        value, error = None, ""
        try:
            value = await self._plugins.ask(wish.framework, wish.question.function, wish.arguments)
        except PluginFailed as failed:
            error = str(failed)
        self._engine.post(FunctionAnswered(wish.job, wish.question, value, error))
