"""What calls know of frames (seams.FrameSource): their way from memory, who is warm, the waiting for one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.chassis.clock import Clock
from services.chassis.errors import DeadlineExceeded, ServiceError
from services.models.frames import events as ev
from services.models.frames.effects import Refusal
from services.models.frames.engine import FrameEngine
from services.models.frames.model import FrameState, FrameUnloadable, NoRoom, Shape
from services.models.frames.routes import choose, is_mirrored
from services.models.frames.shapes import route_of, shape_of
from services.models.frames.state import Deployment, Frame, name_of
from services.models.seams import ReadyFrame, Route, Served, VersionKey

MARGIN_MS = 500
"""A demand outlives its caller's deadline by so much, so that a frame that is all but ready is not let go."""


class LoadTimeout(DeadlineExceeded):
    """The model was not loaded in time."""


class Frames:
    """The FrameSource of the service."""

    def __init__(self, engine: FrameEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._ready: dict[VersionKey, tuple[ReadyFrame, ...]] = {}
        self._waiting: dict[VersionKey, list[tuple[str, asyncio.Future[ReadyFrame]]]] = {}
        self._calls = 0
        self._standing_in: dict[tuple[str, int], VersionKey] = {}
        engine.on_frames = self._on_frames
        engine.on_refusal = self._on_refusal

    # The way of a call

    def route(self, name: str, version: str, sticky: str) -> Route:
        """See FrameSource."""
        deployment = self._engine.state.deployments.get(name) if not version else None
        if deployment is None:
            return route_of(self._current(self._engine.versions.served(name, version)))
        self._calls += 1
        place = choose(
            sticky or str(self._calls), [(f"{r.model}:{r.version}", r.weight) for r in deployment.routes]
        )
        mirror = None
        if deployment.mirror is not None and is_mirrored(self._calls, deployment.mirror.ratio):
            mirror = self._mirror(deployment)
        wish = deployment.routes[place]
        served = self._standing(deployment, self._engine.versions.served(wish.model, wish.version))
        return route_of(served, deployment.settings, deployment=name, mirror=mirror)

    def sticky_parameter(self, name: str) -> str:
        """See FrameSource."""
        found = self._engine.state.deployments.get(name)
        return found.sticky if found is not None else ""

    def _mirror(self, deployment: Deployment) -> Served | None:
        """A mirror that cannot be had keeps nobody from an answer."""
        assert deployment.mirror is not None
        try:
            return self._engine.versions.served(deployment.mirror.model, deployment.mirror.version)
        except ServiceError:
            return None

    def _standing(self, deployment: Deployment, served: Served) -> Served:
        """What answers for it until it is ready."""
        if self._ready.get(served.key):
            return served
        before = deployment.standby.get(name_of(served.key))
        if before is None:
            before = self._before(deployment, served)
        known = self._engine.known.of(before) if before is not None and self._ready.get(before) else None
        return known or served

    def _before(self, deployment: Deployment, served: Served) -> VersionKey | None:
        """An alias has moved this very moment, and the machine has yet to hear of it."""
        for route, target in zip(deployment.routes, deployment.targets, strict=False):
            if target.key is not None and route.model == served.key.model and target.key != served.key:
                return target.key
        return None

    def _current(self, served: Served) -> Served:
        """A configuration that was changed serves once it is loaded; until then the one before does."""
        key = served.key
        if self._ready.get(key):
            self._standing_in[key.model, key.version] = key
            return served
        before = self._standing_in.get((key.model, key.version))
        if before is None or before == key or not self._ready.get(before):
            return served
        known = self._engine.known.of(before)
        if known is None:
            return served
        self._ask(served, 60_000)
        return known

    # Frames

    def ready(self, key: VersionKey) -> Sequence[ReadyFrame]:
        """See FrameSource."""
        return self._ready.get(key, ())

    async def wanted(self, route: Route, deadline_s: float) -> ReadyFrame:
        """See FrameSource."""
        served = route.served
        self._engine.known.note(served)
        warm = self._ready.get(served.key, ())
        if warm:
            least = min(warm, key=lambda one: self._active(one.number))
            if self._active(least.number):
                self._grow(self.shape(served, route.deployment))
            return least
        return await self.load(served, deadline_s, deployment=route.deployment)

    def _grow(self, shape: Shape) -> None:
        """One more, unless it is on its way or there are enough: asked for at each call while all are busy."""
        frames = self._engine.state.of(shape.key)
        if len(frames) < shape.most and all(one.state is FrameState.READY for one in frames):
            self._engine.post(ev.MoreWanted(shape))

    async def load(
        self,
        served: Served,
        deadline_s: float,
        *,
        node: str = "",
        deployment: str = "",
        is_held: bool = False,
    ) -> ReadyFrame:
        """Waits for a frame, on this node where one is named. Raises as `wanted`."""
        self._engine.known.note(served)
        future: asyncio.Future[ReadyFrame] = asyncio.get_running_loop().create_future()
        waiter = (node, future)
        self._waiting.setdefault(served.key, []).append(waiter)
        until_ms = self._clock.now_ms() + round(1000 * deadline_s) + MARGIN_MS
        shape = self.shape(served, deployment)
        self._engine.post(ev.Wanted(shape, until_ms, node, is_held))
        try:
            async with asyncio.timeout(deadline_s):
                return await future
        except TimeoutError:
            raise self._late(served.key, deadline_s) from None
        finally:
            left = self._waiting.get(served.key, [])
            if waiter in left:
                left.remove(waiter)
            if not left:
                self._waiting.pop(served.key, None)

    def _late(self, key: VersionKey, deadline_s: float) -> ServiceError:
        """Why there was none in time."""
        frames = self._engine.state.of(key)
        latest = frames[-1] if frames else None
        words = f"{key.model} version {key.version} was not loaded within {deadline_s:g} s"
        if latest is not None and latest.state is FrameState.PENDING:
            return NoRoom(
                f"{words}: {latest.message or 'it waits for a place'}",
                next_step=f"yard model why {key.model} says what would have to happen",
            )
        message = f"{words}; it is being loaded" + (
            f": {latest.message}" if latest and latest.message else ""
        )
        return LoadTimeout(message, next_step="call again, or with a later deadline")

    def shape(self, served: Served, deployment: str) -> Shape:
        """Of a frame that would be loaded for a call by this name."""
        found = self._engine.state.deployments.get(deployment) if deployment else None
        return shape_of(served, found.settings) if found is not None else shape_of(served)

    def _ask(self, served: Served, for_ms: int) -> None:
        """It is loaded for whoever comes next."""
        self._engine.known.note(served)
        if (served.key, "") not in self._engine.state.demands and not self._engine.state.of(served.key):
            self._engine.post(ev.Wanted(shape_of(served), self._clock.now_ms() + for_ms))

    def _active(self, number: int) -> int:
        frame = self._engine.state.frames.get(number)
        return frame.active if frame is not None else 0

    async def unload(self, model: str, version: str) -> None:
        """See FrameSource."""
        wanted = self._engine.versions.served(model, version).key.version if version else 0
        numbers = [
            number
            for number, frame in self._engine.state.frames.items()
            if frame.key.model == model and wanted in (0, frame.key.version) and frame.state.serves
        ]
        await self._engine.ask(lambda reply: ev.UnloadWanted(reply, tuple(numbers)))

    # What calls say

    def used(self, number: int, active: int, now_ms: int) -> None:
        """See FrameSource."""
        self._engine.used(number, active, now_ms)

    def loaded(self, number: int, load_s: float, memory_bytes: int, golden_digest: str) -> None:
        """See FrameSource. Whether the golden output is the same was judged by the frame: it knows by how much numbers
        may differ; what differs is `unloadable` with GOLDEN_DIFFERS."""
        self._engine.post(ev.FrameLoaded(number, load_s, memory_bytes))

    def unloadable(self, number: int, code: str, field: str, message: str) -> None:
        """See FrameSource."""
        reason = "GOLDEN_DIFFERS" if code == "GOLDEN_DIFFERS" else "UNLOADABLE"
        self._engine.post(ev.FrameRefused(number, reason, message, code, field))

    def gone(self, number: int, why: str) -> None:
        """See FrameSource. Nobody gets it from now on."""
        frame = self._engine.state.frames.get(number)
        if frame is not None:
            left = tuple(one for one in self._ready.get(frame.key, ()) if one.number != number)
            if left:
                self._ready[frame.key] = left
            else:
                self._ready.pop(frame.key, None)
        self._engine.post(ev.FrameGone(number, why))

    # What the machine says

    def _on_frames(self, frames: Sequence[Frame]) -> None:
        for key in {one.key for one in frames}:
            ready = tuple(
                ReadyFrame(number=one.number, key=key, node=one.at_node)
                for one in self._engine.state.ready(key)
                if one.is_connected
            )
            if ready:
                self._ready[key] = ready
            else:
                self._ready.pop(key, None)
                self._stand_down(key)
            for node, future in self._waiting.get(key, ()):
                fit = next((one for one in ready if node in ("", one.node)), None)
                if fit is not None and not future.done():
                    future.set_result(fit)

    def _stand_down(self, key: VersionKey) -> None:
        """Once none of its frames is left, or on its way, it answers for no other revision."""
        if self._standing_in.get((key.model, key.version)) == key and not self._engine.state.of(key):
            del self._standing_in[key.model, key.version]

    def _on_refusal(self, refusal: Refusal) -> None:
        failure, key = refusal.failure, refusal.key
        for node, future in self._waiting.get(key, ()):
            if node == refusal.node and not future.done():
                future.set_exception(
                    FrameUnloadable(
                        f"{key.model} version {key.version} cannot be loaded: {failure.message}",
                        field=failure.field,
                        next_step=f"yard model frames --model {key.model} --all shows how its frames ended",
                        metadata={"frame_reason": failure.reason, "frame_code": failure.code},
                    )
                )
