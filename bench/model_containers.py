"""A model in a container beside the same model in an environment: unloaded → first answer, with everything cached.

Needs a container engine. The image of the yard's own Python is made once, if the engine has it not.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc.aio

from bench.figures import Figure
from bench.models import Caller, make_iris, row_of
from bench.models_floor import SIZES
from bench.yard import Yard, running_yard
from modelyard.enclosure.base_image import own_image, provide
from modelyard.enclosure.engine import Engine

TIMES = 7
FORMS = ("container", "environment")
RUNTIME = "runtime: {{kind: {form}}}\n"


def measure() -> list[Figure]:
    engine = Engine.find(os.environ)
    engine.version()
    image = own_image(f"python:{'.'.join(platform.python_version_tuple()[:2])}-slim")
    if not provide(engine, image):
        raise RuntimeError(f"{image} cannot be made here")
    with TemporaryDirectory() as place, running_yard("--models") as yard:
        _push(yard, Path(place))
        return asyncio.run(_measured(yard))


def _push(yard: Yard, place: Path) -> None:
    make_iris(place)
    for form in FORMS:
        config = place / f"{form}.yaml"
        config.write_text(RUNTIME.format(form=form))
        yard.run("model", "push", str(place / "iris.onnx"), "--config", str(config), "--name", f"iris-{form}")


async def _measured(yard: Yard) -> list[Figure]:
    token = (yard.state / "secrets" / "admin.token").read_text().strip()
    found: dict[str, list[float]] = {form: [] for form in FORMS}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{yard.port_base + 4}", options=SIZES) as channel:
        caller = Caller(channel, token)
        for turn in range(TIMES + 1):
            for form in FORMS:
                took_s = await _first_answer_s(yard, caller, f"iris-{form}")
                # The first time fills the caches.
                if turn:
                    found[form].append(took_s)
    goals = {"container": "< 3", "environment": "< 2"}
    return [
        Figure(f"models: {form}, unloaded → first answer", "s", tuple(times), goals[form])
        for form, times in found.items()
    ]


async def _first_answer_s(yard: Yard, caller: Caller, model: str) -> float:
    await asyncio.to_thread(yard.run, "model", "unload", model)
    begun = time.perf_counter()
    await caller.call(row_of(model))
    return time.perf_counter() - begun
