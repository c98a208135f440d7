"""Runtime parameters → the container or environment that fits them (S2.4). Pure.

Owns the choice, its reason in words, and what follows from it: the environment that agents make, the room that is asked
of the scheduler, the nodes that can do it, and what the process beside the frame is told. The same parameters find the
same association again by its key; the service keeps what it once chose.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from modelyard.enclosure.confinement import PIDS
from modelyard.models import Runtime
from services.chassis.errors import InvalidArgument

CONTAINER, ENVIRONMENT = "container", "environment"
GPU = "gpu"
NUMPY = "numpy"
"""Every frame needs it, whatever its component does."""
CONTAINERS_LABEL = "containers"
"""Nodes with a container engine carry it, with the value yes."""
HOLDER_BYTES = 64 * 1024**2
"""What the process beside the frame may need; a seat has it on top."""
FRAME_ARGV = ("yard-frame",)
PROBE_PROGRAM = "yard-probe"
"""As `modelyard.serving.probe`, with `--enclosure` and its JSON."""
_TROUBLE_EXIT, _MARK = 70, "frame: "


PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""What agents of this yard have, where a runtime names no other."""


class NoImage(InvalidArgument):
    """No image fits what the runtime asks for."""


class ImageRule(msgspec.Struct, frozen=True, kw_only=True):
    """An image, and for which runtimes it is the one. What a rule does not say holds for all."""

    image: str
    """"{python}" in it is the version."""
    python: str = ""
    system: tuple[str, ...] = ()
    """Debian's packages that are in it."""
    has_gpu: bool = False
    """With the libraries that devices need; taken for runtimes with devices, and for them only."""


DEFAULT_IMAGES = (ImageRule(image="python:{python}-slim"),)


class Association(msgspec.Struct, frozen=True, kw_only=True):
    """What was found for one set of parameters."""

    key: str
    kind: str
    image: str
    """Empty: none, it is an environment."""
    environment_key: str
    """Of Python and requirements: what has the same shares its packages on a node."""
    python: str
    requirements: str
    """As a requirements file."""
    cpu: float
    memory_bytes: int
    gpu: float
    has_network: bool
    threads: int
    why: str


class TriedImage(msgspec.Struct, frozen=True):
    """What a container's image resolved to where its revision was tried; as `modelyard.enclosure` says it."""

    asked: str = ""
    """The association's image; empty: it was no container, or is from before this was kept."""
    name: str = ""
    digest: str = ""
    source: str = ""


Proved = tuple[str, int, int]
"""A revision of the configuration of a version: model, version, revision."""


class RuntimeMap(msgspec.Struct, frozen=True, kw_only=True):
    """How this yard maps runtimes, and what it has chosen for the revisions that it tried."""

    python: str = PYTHON
    images: tuple[ImageRule, ...] = DEFAULT_IMAGES
    kept: dict[Proved, Association] = {}
    """As the database has them: a revision serves in what it was tried in, whatever is mapped today."""

    def find(self, runtime: Runtime, of: Proved | None = None) -> Association:
        """The one that is kept for the revision, where its runtime is still the same. Raises NoImage."""
        known = self.kept.get(of) if of is not None else None
        if known is not None and known.key == key_of(runtime, known.python, known.image):
            return known
        return associate(runtime, self.python, self.images)


DEFAULT_RUNTIMES = RuntimeMap()
_NEVER = TriedImage()


def read_images(text: str) -> tuple[ImageRule, ...]:
    """The option: "IMAGE=WORD+WORD, IMAGE", where a word is a version of Python, gpu, or a package of Debian's that
    the image has; Python's own image comes last. Raises ValueError."""
    rules = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        image, _, said = part.partition("=")
        if not image or any(one.isspace() for one in image):
            raise ValueError(f"{part!r} is not IMAGE=WORD+WORD")
        words = [word.strip() for word in said.split("+") if word.strip()]
        pythons = [word for word in words if word[0].isdigit()]
        if len(pythons) > 1:
            raise ValueError(f"{part!r} names more than one Python")
        system = tuple(word for word in words if word not in (*pythons, GPU))
        rules.append(ImageRule(image=image, python="".join(pythons), system=system, has_gpu=GPU in words))
    return (*rules, *DEFAULT_IMAGES)


def associate(runtime: Runtime, python: str, images: Sequence[ImageRule] = DEFAULT_IMAGES) -> Association:
    """The association of a runtime. ``python``: "3.11", what agents have where the runtime names no other; ``images``:
    the first that fits is taken. Raises NoImage, with the field that nothing fits."""
    version = runtime.python or python
    requirements = requirements_text(runtime.requirements)
    chosen, why = "", f"environment: Python {version} with {_counted(runtime.requirements)}, on any node"
    if runtime.kind == CONTAINER:
        chosen, why = _image(runtime, version, images)
    return Association(
        key=key_of(runtime, version, chosen),
        kind=runtime.kind,
        image=chosen,
        environment_key=environment_key(version, requirements),
        python=version,
        requirements=requirements,
        cpu=runtime.cpu,
        memory_bytes=runtime.memory_bytes,
        gpu=runtime.gpu,
        has_network=runtime.has_network,
        threads=runtime.threads,
        why=why,
    )


def key_of(runtime: Runtime, python: str, image: str) -> str:
    """The same for the same parameters, in whichever order they were given."""
    named: dict[str, Any] = {**msgspec.to_builtins(runtime), "python": python, "image": image}
    named["requirements"] = sorted(_names(runtime.requirements))
    named["system"] = sorted(runtime.system)
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:24]


def environment_key(python: str, requirements: str) -> str:
    """Of the packages."""
    return hashlib.sha256(f"{python}\n{requirements}".encode()).hexdigest()[:24]


def requirements_text(requirements: Sequence[str]) -> str:
    """As a requirements file, with what every frame needs."""
    names = sorted(_names(requirements))
    if not any(_project(name) == NUMPY for name in names):
        names.append(NUMPY)
    return "".join(f"{name}\n" for name in sorted(names))


def _names(requirements: Sequence[str]) -> set[str]:
    return {name.strip() for name in requirements if name.strip()}


def _project(requirement: str) -> str:
    end = next((n for n, c in enumerate(requirement) if not (c.isalnum() or c in "._-")), len(requirement))
    return requirement[:end].lower().replace("_", "-").replace(".", "-")


def _image(runtime: Runtime, python: str, images: Sequence[ImageRule]) -> tuple[str, str]:
    limits = f"read-only, no {'privileges' if runtime.has_network else 'network'}, own user"
    if runtime.image:
        return runtime.image, f"container of {runtime.image}, which the configuration names; {limits}"
    fitting = [rule for rule in images if not rule.python or rule.python == python]
    fitting = [rule for rule in fitting if rule.has_gpu is (runtime.gpu > 0)] or [
        rule for rule in fitting if not rule.has_gpu
    ]
    if not fitting:
        message = (
            f"no image of the mapping has Python {python}; name one with runtime.image, or map one to it"
        )
        raise NoImage(message, field="runtime.python", next_step="add an image to the option images")
    for rule in fitting:
        if set(runtime.system) <= set(rule.system):
            image = rule.image.replace("{python}", python)
            return (
                image,
                f"container of {image}, the first mapped image with {_needs(runtime, python)}; {limits}",
            )
    missing = sorted(set(runtime.system) - {name for rule in fitting for name in rule.system})
    message = (
        f"no image of the mapping has {', '.join(missing or runtime.system)}: images are not built when a model is "
        "deployed; name one that has it with runtime.image, or map one to it"
    )
    raise NoImage(message, field="runtime.system", next_step="add an image to the option images")


def _needs(runtime: Runtime, python: str) -> str:
    needs = [f"Python {python}", *runtime.system, *(["devices"] if runtime.gpu else [])]
    return " and ".join(filter(None, [", ".join(needs[:-1]), needs[-1]]))


def _counted(requirements: Sequence[str]) -> str:
    names = sorted(_names(requirements))
    return ", ".join(names) if 0 < len(names) <= 4 else f"{len(names)} requirements"


# --- what follows from it


def node_labels(association: Association) -> dict[str, str]:
    """What a node has to carry."""
    return {CONTAINERS_LABEL: "yes"} if association.kind == CONTAINER else {}


def seat_memory_bytes(association: Association) -> int:
    """What is asked of the scheduler for the whole seat; 0: nothing."""
    return association.memory_bytes + HOLDER_BYTES if association.memory_bytes else 0


def enclosure_of(association: Association, tried: TriedImage = _NEVER) -> dict[str, Any]:
    """The key `enclosure` of a frame's launch, which `yard-frame` reads (modelyard/enclosure/order.py).

    ``tried``: it is to be that image and no other, where it is the image of this association.
    """
    known = {"name": tried.name, "digest": tried.digest, "source": tried.source}
    return {
        "kind": association.kind,
        "image": association.image,
        "tried": known if association.image and tried.asked == association.image else {},
        "python": association.python,
        "memory_bytes": association.memory_bytes,
        "cpu": association.cpu,
        "gpu": association.gpu,
        "network": association.has_network,
        "pids": PIDS,
        "threads": association.threads,
    }


# --- what came of it


class FrameTrouble(msgspec.Struct, frozen=True, kw_only=True):
    """Why there is no frame, as the process beside it has said."""

    code: str
    field: str
    message: str


def trouble_of(exit_code: int, last_lines: Sequence[str]) -> FrameTrouble | None:
    """Read from how a launch has ended; None: the frame itself has ended, for reasons of its own.

    A component may write such a line as well: it can only speak ill of itself.
    """
    if exit_code != _TROUBLE_EXIT:
        return None
    for line in reversed(last_lines):
        if not line.startswith(_MARK):
            continue
        try:
            said: Mapping[str, Any] = json.loads(line.removeprefix(_MARK))
            return msgspec.convert(said, FrameTrouble)
        except (ValueError, msgspec.ValidationError):
            continue
    return None
