"""What a version and the settings of a deployment come to: the shape of its frames, the settings of a call. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.chassis.errors import ServiceError
from services.models.frames.model import DEFAULT_MEMORY, Place, Resources, Settings, Shape
from services.models.frames.state import MirrorWish, RouteWish, Target
from services.models.seams import Route, Served, Versions

NO_SETTINGS = Settings()


def shape_of(served: Served, settings: Settings = NO_SETTINGS) -> Shape:
    """Of its frames; what the settings do not say, model.yaml does."""
    serving, runtime = served.config.serving, served.config.runtime
    resources = settings.resources or Resources()
    least = settings.min_instances or 0
    most = serving.max_instances if settings.max_instances is None else settings.max_instances
    idle_s = serving.idle_unload_s if settings.idle_unload_s is None else settings.idle_unload_s
    return Shape(
        key=served.key,
        account=served.account,
        memory_bytes=resources.memory_bytes or runtime.memory_bytes or DEFAULT_MEMORY,
        most=max(1, most, least),
        idle_s=idle_s,
        runtime=settings.runtime or runtime.kind,
        resources=resources,
        placement=settings.placement or Place(),
    )


def route_of(
    served: Served, settings: Settings = NO_SETTINGS, *, deployment: str = "", mirror: Served | None = None
) -> Route:
    """How a call is answered by it."""
    serving = served.config.serving
    delay = settings.batch_delay_ms
    return Route(
        served=served,
        deployment=deployment,
        mirror=mirror,
        queue_most=serving.queue_most if settings.queue_most is None else settings.queue_most,
        max_batch=serving.max_batch
        if settings.max_batch is None
        else min(settings.max_batch, serving.max_batch),
        batch_delay_ms=serving.batch_delay_ms if delay is None else delay,
        deadline_s=serving.deadline_s if settings.deadline_s is None else settings.deadline_s,
        is_batched_apart=bool(settings.batch_apart),
    )


def with_minimum(settings: Settings, served: Sequence[Served]) -> Settings:
    """What nobody says of the minimum, model.yaml does."""
    if settings.min_instances is not None:
        return settings
    least = max((one.config.serving.min_instances for one in served), default=0)
    return Settings(min_instances=least).over(settings) if least else settings


def targets_of(
    versions: Versions, routes: Sequence[RouteWish], mirror: MirrorWish | None, settings: Settings
) -> tuple[tuple[Target, ...], list[Served]]:
    """What routes, and the mirror after them, come to now."""
    targets, found = [], []
    wishes = [(route.model, route.version) for route in routes]
    if mirror is not None:
        wishes.append((mirror.model, mirror.version))
    for model, version in wishes:
        try:
            served = versions.served(model, version)
        except ServiceError as error:
            targets.append(Target(None, str(error)))
            continue
        targets.append(Target(shape_of(served, settings)))
        found.append(served)
    return tuple(targets), found
