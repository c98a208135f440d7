"""From a component's files to one that computes: loaded, warmed up on its example, its golden output compared."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from modelyard.serving import golden
from modelyard.serving.calls import Answer, described
from modelyard.serving.errors import ServingError
from modelyard.serving.launch import Launch
from modelyard.serving.loaders import Loading, Model, load
from modelyard.serving.memory import resident_bytes
from modelyard.serving.running import Runner
from modelyard.serving.wire import Header


@dataclass(slots=True)
class Proved:
    """A component that computes, and what is told of it."""

    runner: Runner
    model: Model
    load_s: float
    memory_bytes: int
    golden_digest: str = ""
    warnings: list[str] = field(default_factory=list)

    def header(self) -> Header:
        """`loaded`."""
        return {
            "kind": "loaded",
            "load_s": round(self.load_s, 4),
            "memory_bytes": self.memory_bytes,
            "golden_digest": self.golden_digest,
            "warnings": self.warnings,
        }


def prove(launch: Launch) -> Proved:
    """Loads it and lets it answer its golden example, which warms it up too.

    Raises GoldenDiffers, ServingError, and whatever its libraries and its own code raise.
    """
    begun = time.monotonic()
    settings = launch.settings.of_component()
    loading = Loading(launch.component, settings, launch.may_unpickle, launch.trusted_types)
    model = load(loading)
    runner = Runner(launch, model)
    found = Proved(runner, model, 0.0, 0, "", loading.warnings)
    if launch.golden is not None:
        answer = answered(runner, launch.golden)
        found.golden_digest = golden.compare(launch.golden, str(launch.golden.get("digest") or ""), answer)
    elif launch.example is not None:
        _warm_up(runner, launch, found)
    found.load_s, found.memory_bytes = time.monotonic() - begun, resident_bytes()
    return found


def answered(runner: Runner, example: golden.Example) -> Answer:
    """What it answers to an example now."""
    return runner.run(golden.call_of(example))


def unloadable_header(error: BaseException) -> Header:
    """`unloadable`."""
    code, field_, message = described(error)
    # Nobody gave it a value: whatever does not fit is the component's.
    code = "FAILED_PRECONDITION" if code == "INVALID_ARGUMENT" else code
    reason = error.reason if isinstance(error, ServingError) else ""
    return {"kind": "unloadable", "code": code, "field": field_, "message": message, "reason": reason}


def _warm_up(runner: Runner, launch: Launch, found: Proved) -> None:
    assert launch.example is not None
    try:
        answered(runner, launch.example)
    except Exception as error:
        # An example is only to warm it up: calls say themselves what is wrong with them.
        found.warnings.append(f"its example is not answered: {described(error)[2]}")
