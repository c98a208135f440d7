"""What clients ask for: specifications of every kind, drawn at random. Knows no network and no state."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import msgspec

from services.scheduler.model import (
    MAIN_QUEUE,
    Cause,
    Disconnect,
    DisconnectMode,
    Policy,
    Reconciliation,
    Retry,
    Shape,
    Spec,
)
from services.scheduler.resources import Amounts, amounts

GIB = 1 << 30
ACCOUNTS = ("ann", "bob")
OTHER_QUEUE = "night"
# One core, or one device.
UNIT = 10_000
FEATURES = (
    "arrays", "caps", "dependencies", "disconnect", "gangs", "long", "modify", "once", "pools", "preemption", "queues",
    "quotes", "suspend",
)  # fmt: skip


class Job(msgspec.Struct, frozen=True):
    """What a simulated task does; it travels as the specification's body."""

    label: str
    run_us: tuple[int, int]
    error_share: float = 0.0
    # How often it takes its worker down with it.
    crash_share: float = 0.0
    # Does not end when it is asked to.
    is_stubborn: bool = False
    tells_progress: bool = False
    keeps_outputs: bool = False
    environment: str = ""
    bundle: str = ""
    input: str = ""
    start_timeout_ms: int = 0
    run_timeout_ms: int = 0
    # Of which its limits and its part of the machine are made.
    amounts: Amounts = ()
    # Of everything else in the specification, so that equal bodies mean equal specifications.
    rest: str = ""


_LENGTHS_US = (
    (500, 4_000),
    (2_000, 30_000),
    (50_000, 900_000),
    (1_000_000, 8_000_000),
    (5_000_000, 30_000_000),
    (20_000_000, 70_000_000),
)
_LENGTH_WEIGHTS = (6, 5, 5, 2, 1, 0)
_LONG_WEIGHTS = (1, 1, 2, 5, 5, 3)


def draw_menu(rng: random.Random) -> frozenset[str]:
    """What the clients of one run use of all that there is (swarm testing)."""
    share = rng.choice((0.0, 0.4, 1.0))
    return frozenset(name for name in FEATURES if rng.random() < share)


def draw_spec(rng: random.Random, nodes: list[str], menu: frozenset[str], *, has_gpu: bool) -> Spec:
    """One specification; equal draws give equal bodies, so tasks share specifications."""
    is_command = rng.random() < 0.35
    length = rng.choices(_LENGTHS_US, _LONG_WEIGHTS if "long" in menu else _LENGTH_WEIGHTS)[0]
    is_faulty = rng.random() < 0.25
    run_timeout_ms = max(length[1] // 2_000, 1) if rng.random() < 0.07 else 0
    job = Job(
        label=f"{'run' if is_command else 'call'}-{length[1]}",
        run_us=length,
        error_share=0.3 if is_faulty else 0.0,
        crash_share=0.1 if is_faulty and rng.random() < 0.5 else 0.0,
        is_stubborn=rng.random() < 0.15,
        tells_progress=rng.random() < 0.1,
        keeps_outputs=rng.random() < 0.1,
        environment=rng.choice(("", "", "", "e1")),
        bundle=rng.choice(("", "", "b1", "b2")),
        input=rng.choice(("", "", "", "i1")),
        start_timeout_ms=20_000 if rng.random() < 0.05 else 0,
        run_timeout_ms=run_timeout_ms,
    )
    spec = Spec(
        0,
        msgspec.json.encode(job),
        _draw_shape(rng, nodes, menu, has_gpu=has_gpu),
        name=job.label,
        retry=_retry(rng) if is_faulty else Retry(),
        queue_timeout_ms=30_000 if rng.random() < 0.04 else 0,
        array_size=rng.randint(2, 12) if rng.random() < 0.2 else 0,
        hold=rng.random() < 0.05,
        has_token=is_command,
        run_timeout_ms=run_timeout_ms,
    )
    return restate(_conduct(rng, spec, menu))


def _conduct(rng: random.Random, spec: Spec, menu: frozenset[str]) -> Spec:
    """How it stands to others and to its own repetitions."""
    if "dependencies" in menu and spec.array_size and rng.random() < 0.3:
        indexes = tuple(sorted(rng.sample(range(spec.array_size), rng.randint(1, spec.array_size))))
        if len(indexes) < spec.array_size:
            spec = msgspec.structs.replace(spec, array_indexes=indexes)
    if "arrays" in menu and spec.array_size and rng.random() < 0.6:
        most, fails = rng.choice((0, 1, 3)), rng.choice((-1, 0, 2))
        spec = msgspec.structs.replace(spec, max_running=most, max_fails=fails)
    if "once" in menu and rng.random() < 0.3:
        spec = msgspec.structs.replace(spec, is_at_most_once=True, retry=Retry())
    if "preemption" in menu and rng.random() < 0.6:
        may = not spec.is_at_most_once and rng.random() < 0.6
        spec = msgspec.structs.replace(
            spec,
            is_preemptible=may,
            preempts=rng.random() < 0.5,
            preemption_grace_ms=may * rng.choice((0, 500, 5_000)),
        )
    if "disconnect" in menu and rng.random() < 0.6:
        wish = Disconnect(
            rng.choice(tuple(DisconnectMode)),
            rng.choice((0, 0, 40_000)),
            rng.choice(tuple(Reconciliation)),
        )
        spec = msgspec.structs.replace(spec, disconnect=wish)
    return spec


def restate(spec: Spec, **changes: Any) -> Spec:
    """The specification with some fields changed, and a body that says so."""
    changed = msgspec.structs.replace(spec, number=0, body=b"", **changes)
    job = msgspec.json.decode(spec.body, type=Job)
    rest = hashlib.sha256(repr(changed).encode()).hexdigest()[:12]
    job = msgspec.structs.replace(
        job, run_timeout_ms=changed.run_timeout_ms, amounts=changed.shape.amounts, rest=rest
    )
    return msgspec.structs.replace(changed, body=msgspec.json.encode(job))


def _draw_shape(rng: random.Random, nodes: list[str], menu: frozenset[str], *, has_gpu: bool) -> Shape:
    """Only the first node is sure to have a device and to stay outside of pools."""
    pool = "p" if "pools" in menu and len(nodes) > 1 and rng.random() < 0.2 else ""
    node = ""
    if rng.random() < 0.05:
        node = nodes[-1] if pool else nodes[0] if "pools" in menu else rng.choice(nodes)
    return Shape(
        rng.choice(ACCOUNTS),
        _amounts(rng, has_gpu=has_gpu and not pool and node in ("", nodes[0])),
        node,
        (("zone", "a"),) if rng.random() < 0.1 else (),
        rng.choices((Policy.LEAST_LOADED, Policy.BINPACK, Policy.SPREAD), (6, 1, 1))[0],
        "",
        rng.choices((0, 5, -5), (8, 1, 1))[0],
        pool,
        OTHER_QUEUE if "queues" in menu and rng.random() < 0.4 else MAIN_QUEUE,
        caps=((rng.choice("xy"), rng.randint(1, 3)),) if "caps" in menu and rng.random() < 0.3 else (),
    )


def _amounts(rng: random.Random, *, has_gpu: bool) -> Amounts:
    asked: dict[str, float] = {"cpu": rng.choice((0.5, 1, 1, 1, 2))}
    if rng.random() < 0.3:
        asked["memory"] = rng.choice((GIB // 2, GIB))
    if has_gpu and rng.random() < 0.3:
        asked["gpu"] = rng.choice((0.5, 1, 1))
    return amounts(asked)


def _retry(rng: random.Random) -> Retry:
    causes = frozenset({Cause.ERROR, Cause.EXIT}) if rng.random() < 0.3 else frozenset[Cause]()
    return Retry(rng.randint(1, 4), rng.choice((0, 0, 100, 3_000)), causes)


def draw_gang(rng: random.Random, specs: tuple[Spec, ...], nodes: int) -> tuple[Spec, ...]:
    """The members of a small gang, made of others: all of it has room on the smallest yard."""
    base = rng.choice(specs)
    count = rng.choice((1, 2, 2))
    is_distinct = nodes > 1 and count == 2 and rng.random() < 0.3
    members = []
    for number in range(count):
        spec = base if number == 0 else rng.choice(specs)
        size = rng.randint(2, 4) if count == 1 else 0
        shape = msgspec.structs.replace(
            spec.shape, amounts=(("cpu", UNIT // 2 if size else UNIT),), node="", labels=(), pool="", caps=(),
            queue=base.shape.queue, gang="g", is_distinct=is_distinct,
        )  # fmt: skip
        members.append(
            restate(
                spec,
                shape=shape,
                array_size=size,
                array_indexes=(),
                is_preemptible=False,
                preempts=False,
                preemption_grace_ms=0,
                max_running=0,
                max_fails=-1,
                gang_min=rng.randint(2, size) if size else 0,
                dependencies=tuple(one for one in spec.dependencies if one.on and not one.is_element_wise),
            )
        )
    return tuple(members)
