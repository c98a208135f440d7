"""What tasks have found is the word of strangers: whatever it says, it is a fact, a refusal, or senseless."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from modelyard.models import Inspection, inspection_out
from modelyard.v1 import task_pb2 as pb
from services.models.catalogue import events as ev
from services.models.catalogue import tasks
from services.models.catalogue.model import Cause
from tests.support.catalogue_world import TRIED, World, half, silent, whole

GOOD: dict[str, Any] = {
    "facts": TRIED,
    "golden": {"example": {"inputs": []}, "digest": "sha256:1"},
    "load_s": 0.5,
    "memory_bytes": 1 << 20,
    "warnings": ["slow"],
}
JUNK: tuple[Any, ...] = (
    None, "", "x", "\ud800", "\0", -1, 1 << 70, 1.5, float("nan"), float("inf"), True, [], {}, [[]], [-2], [1 << 70],
    {"a": 1}, ["\udfff"], "OBJECT", [None], ["x", "x"], [""], ["x" * 400], [1.5],
)  # fmt: skip


def probing(found: Inspection | None = None) -> World:
    world = World()
    world.create()
    world.inspected(found or silent())
    return world


def test_facts_of_a_probe_are_read_with_the_example_by_its_digest() -> None:  # S2.3
    version = probing().live().version
    event, example = tasks.read(version, json.dumps(GOOD).encode())
    assert isinstance(event, ev.Probed)
    assert json.loads(example) == {"inputs": []} and len(event.golden_example) == 64
    assert (event.warnings, event.load_s) == (("slow",), 0.5)


def test_probe_has_no_word_in_what_a_run_cannot_tell() -> None:  # safety
    facts = {
        **TRIED,
        "runtime.network": [True, "please"],
        "name": ["champion", ""],
        "serving.max_batch": [0, "alone"],
    }
    event, _ = tasks.read(probing().live().version, json.dumps({**GOOD, "facts": facts}).encode())
    assert isinstance(event, ev.Probed)
    assert set(event.facts) == {*TRIED, "serving.max_batch"}


def test_message_of_a_component_cannot_draw_on_terminals() -> None:  # safety
    error = {"code": "Bad code; DROP", "message": "\x1b[2Jgone", "field": "x\x07"}
    event, _ = tasks.read(probing().live().version, json.dumps({"error": error}).encode())
    assert isinstance(event, ev.WorkRefused)
    assert (event.code, event.message, event.field) == ("PROBE_REFUSED", "?[2Jgone", "x?")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"5", b'"x"', b"null", b"\xff", b"[" * 100_000, b"9" * 10_000]
)
def test_what_is_no_finding_at_all_is_senseless(content: bytes) -> None:
    event, _ = tasks.read(probing().live().version, content)
    assert isinstance(event, ev.WorkFailed) and event.cause is Cause.SENSELESS


def spoiled(document: Any, chance: random.Random) -> Any:
    """The same with some things in it replaced."""
    if chance.random() < 0.08:
        return chance.choice(JUNK)
    if isinstance(document, dict):
        return {key: spoiled(value, chance) for key, value in document.items()}
    if isinstance(document, list):
        return [spoiled(value, chance) for value in document]
    return document


@pytest.mark.parametrize("seed", range(8))
def test_spoiled_findings_leave_the_catalogue_whole(seed: int) -> None:  # safety
    chance = random.Random(seed)
    for _ in range(150):
        world = World()
        world.create()
        looked = {"inspection": inspection_out(chance.choice((whole(), silent(), half())))}
        event, _ = tasks.read(world.live().version, json.dumps(spoiled(looked, chance)).encode())
        world.step(event)
        if world.live().version.work is None:
            continue
        event, _ = tasks.read(world.live().version, json.dumps(spoiled(GOOD, chance)).encode())
        # The step looks at the invariants, and everything goes onto the disk and back.
        world.step(event)
        world.die()


def test_task_that_died_tells_its_cause_and_where_its_log_is() -> None:
    version = probing().live().version
    error = pb.TaskError(cause=pb.TASK_CAUSE_OUT_OF_MEMORY, message="it needed too much")
    outcome = pb.TaskOutcome(task_id="t-7", state=pb.TASK_STATE_FAILED, attempt=1, error=error)
    event = tasks.failure_of(version, outcome)
    assert (event.cause, event.message) == (Cause.DIED, "it needed too much (yard tasks logs t-7)")
    lost = pb.TaskOutcome(
        task_id="t-7", state=pb.TASK_STATE_FAILED, error=pb.TaskError(cause=pb.TASK_CAUSE_NODE_LOST)
    )
    assert tasks.failure_of(version, lost).cause is Cause.LOST
    cancelled = pb.TaskOutcome(task_id="t-7", state=pb.TASK_STATE_CANCELLED)
    assert tasks.failure_of(version, cancelled).cause is Cause.CANCELLED
