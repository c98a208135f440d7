"""Images of commands: pulled before the task starts, once for all that wait for the same, and not for nobody.

Owns the threads in which pulls run, and what is told meanwhile. What an engine and registries say is not known here.
Images that are here belong to the engine: they are looked for by every task, and are never removed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from modelyard.enclosure.engine import Engine, EngineFailed
from modelyard.enclosure.image import ImageMissing, fetch
from modelyard.enclosure.pull import Pull, PullCancelled
from services.agent.tasks.events import NeedMoved
from services.chassis.logs import get_logger

_log = get_logger("agent.images")
LOOK_S, THREADS = 0.25, 8


class ImageFailed(Exception):
    """It is not here, and does not come."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


class Images:
    """Those of this machine's engine."""

    def __init__(self, awaiting: Callable[[str], int], tell: Callable[[NeedMoved], None]) -> None:
        """``awaiting``: how many tasks wait for a need."""
        self._awaiting = awaiting
        self._tell = tell
        # Not those of all the rest: registries can be silent for minutes.
        self._threads = ThreadPoolExecutor(THREADS, "image")

    async def fetch(self, need: str, image: str) -> None:
        """It is here afterwards. Ends early when nobody waits any more. Raises ImageFailed. Safe to cancel."""
        while True:
            try:
                await self._fetch(need, image)
                return
            except PullCancelled:
                if not self._awaiting(need):
                    raise ImageFailed(f"nobody waits for the image {image} any more", "") from None
            except ImageMissing as error:
                raise ImageFailed(str(error), error.next_step) from error
            except EngineFailed as error:
                step = "look after the container engine of the node"
                raise ImageFailed(f"the image {image} cannot be looked for: {error}", step) from error

    async def _fetch(self, need: str, image: str) -> None:
        # Found anew each time: an engine may have been installed, or moved, since the agent began.
        engine = Engine.find(os.environ)
        pull, said = Pull(engine, image, os.environ), _Said()
        work = asyncio.get_running_loop().run_in_executor(
            self._threads, fetch, engine, image, pull, said.take
        )
        try:
            while not work.done():
                await asyncio.wait((work,), timeout=LOOK_S)
                if not (count := self._awaiting(need)):
                    pull.cancel()
                elif said.is_news(count):
                    self._tell(NeedMoved(need, f"pulling the image {image}{said.words}"))
        finally:
            pull.cancel()
        if said.was_heard:
            _log.info("image_pulled", image=image, is_here=work.exception() is None)
            self._tell(NeedMoved(need, ""))
        work.result()


class _Said:
    """What the thread has said last, and to how many that was told."""

    def __init__(self) -> None:
        self._now: str | None = None
        self._told: tuple[str, int] | None = None

    def take(self, words: str) -> None:
        """By the thread."""
        self._now = f": {words}" if words else ""

    @property
    def was_heard(self) -> bool:
        """Whether there was a pull at all."""
        return self._told is not None

    @property
    def words(self) -> str:
        """As they follow the image's name."""
        return self._now or ""

    def is_news(self, count: int) -> bool:
        """Whether so many have not heard it yet."""
        if self._now is None or self._told == (self._now, count):
            return False
        self._told = (self._now, count)
        return True
