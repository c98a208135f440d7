"""Which image a container is made of, on this machine: by its name, or the very one that a version was tried in.

Owns what "the same image" means: one of a registry by its id, one that nodes make of their own Python by its name,
which changes with its recipe. A name that has come to mean another image is never taken for the one of before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from modelyard.enclosure.engine import Engine
from modelyard.enclosure.order import Image, Trouble
from modelyard.enclosure.pull import HASTY, PATIENT, Patience, Pull, PullFailed

_OFFER = "say runtime.kind: environment, which needs no container engine"


class ImageMissing(Exception):
    """An image is not on this machine, and cannot be fetched."""

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


def found(engine: Engine, wanted: str) -> Image | None:
    """What the name means here, without asking any registry. Raises EngineFailed."""
    # Imported late: it is needed on few machines, and brings much along.
    from modelyard.enclosure.base_image import own_image

    if digest := engine.image_id(wanted):
        return Image(wanted, digest, _source(engine, wanted))
    own = own_image(wanted)
    return _looked_up(engine, own) if own and engine.image_id(own) else None


def fetch(
    engine: Engine,
    wanted: str,
    pull: Pull,
    tell: Callable[[str], None] = lambda _: None,
    patience: Patience = PATIENT,
) -> Image:
    """What the name means here; pulled or made if need be. ``tell`` hears how much of it has come, and that its
    registry is waited for; nothing, if it is here. Raises ImageMissing, PullCancelled, EngineFailed."""
    if here := found(engine, wanted):
        return here
    from modelyard.enclosure.base_image import own_image, provide

    own = own_image(wanted)
    try:
        # What can be made here is not waited for.
        pull.run(tell, HASTY if own else patience)
    except PullFailed as error:
        if own and provide(engine, own):
            return _looked_up(engine, own)
        message = f"the image {wanted} is not on this node and cannot be pulled: {error}"
        raise ImageMissing(message, error.next_step) from error
    if here := found(engine, wanted):
        return here
    raise ImageMissing(f"the image {wanted} was pulled, and is not here", "look after the node's engine")


def resolve(
    engine: Engine,
    wanted: str,
    tried: Image,
    environ: Mapping[str, str],
    tell: Callable[[str], None] = lambda _: None,
) -> Image:
    """The image for ``wanted``; where ``tried`` is known that one, and no other. Fetched or made if need be; ``tell``
    as of `fetch`.

    Raises Trouble (`runtime.image`), EngineFailed.
    """
    # Imported late: it is needed on few machines, and brings much along.
    from modelyard.enclosure.base_image import own_image, provide

    own = own_image(wanted)
    if tried.name and tried.name != wanted:
        # Made by a node from its own Python: what is in it follows from its name.
        if tried.name == own and provide(engine, own):
            return _looked_up(engine, own)
        raise _gone(wanted, tried, "")
    if tried.digest:
        return _tried(engine, wanted, tried, environ, tell)
    try:
        return fetch(engine, wanted, Pull(engine, wanted, environ), tell)
    except ImageMissing as error:
        message = f"{error}; {error.next_step}; or name another with runtime.image, or {_OFFER}"
        raise Trouble("FAILED_PRECONDITION", "runtime.image", message) from error


def _tried(
    engine: Engine, wanted: str, tried: Image, environ: Mapping[str, str], tell: Callable[[str], None]
) -> Image:
    """The very one: by its name where that still means it, by its id, or as its registry has it."""
    here = engine.image_id(wanted)
    if here == tried.digest:
        return tried
    if engine.image_id(tried.digest):
        return Image(tried.digest, tried.digest, tried.source)
    try:
        Pull(engine, tried.source or wanted, environ).run(tell)
    except PullFailed as error:
        raise _gone(wanted, tried, here, str(error)) from error
    if engine.image_id(tried.digest):
        return Image(tried.digest, tried.digest, tried.source)
    raise _gone(wanted, tried, engine.image_id(wanted))


def _looked_up(engine: Engine, name: str) -> Image:
    return Image(name, engine.image_id(name), _source(engine, name))


def _source(engine: Engine, name: str) -> str:
    return next(iter(engine.image_sources(name)), "")


def _gone(wanted: str, tried: Image, here: str, why: str = "") -> Trouble:
    now = f"{wanted} is {here[:19]} on this node now" if here else f"{wanted} is not on this node"
    message = (
        f"the image that this version was tried in, {tried.source or tried.name} ({tried.digest[:19]}), cannot be had: "
        f"{now}{f', and {why}' if why else ''}; bring it here (docker pull, docker load), or have the version tried in "
        "what there is: yard model config get MODEL > model.yaml, then yard model config put MODEL model.yaml"
    )
    return Trouble("FAILED_PRECONDITION", "runtime.image", message)
