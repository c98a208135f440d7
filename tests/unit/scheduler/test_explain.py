"""Explanations beyond the nodes: gates, suggestions that hold what they say, estimates, plans, decisions."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.model import Shape, Spec
from services.scheduler.placement.placement import score_of
from services.scheduler.resources import MEMORY, SCALE
from services.scheduler.scheduling import explain
from services.scheduler.scheduling.suggestions import Suggestion
from services.scheduler.state import events as ev
from tests.support.scheduler_cluster import MachineCluster, make_spec


def _explain(cluster: MachineCluster, key: int) -> explain.Explanation:
    return explain.explain(cluster.state, cluster.task(key), cluster.now)


def _with(shape: Shape, suggestion: Suggestion) -> Shape:
    """The shape after somebody did what was suggested."""
    field = suggestion.field
    if field == "placement.node":
        return msgspec.structs.replace(shape, node=suggestion.value)
    if field.startswith("placement.labels."):
        name = field.removeprefix("placement.labels.")
        return msgspec.structs.replace(shape, labels=tuple(p for p in shape.labels if p[0] != name))
    assert field.startswith("resources.")
    name = field.removeprefix("resources.").removeprefix("custom.")
    value: Any = suggestion.value
    name, amount = (MEMORY, value) if name == "memory_bytes" else (name, round(value * SCALE))
    rest = tuple(pair for pair in shape.amounts if pair[0] != name)
    return msgspec.structs.replace(shape, amounts=tuple(sorted((*rest, (name, amount)))))


def test_smaller_request_is_suggested_when_it_would_fit() -> None:
    cluster = MachineCluster(cpu=4)
    cluster.submit(make_spec(cpu=1))
    (key,) = cluster.submit(make_spec(cpu=4))
    found = _explain(cluster, key)
    assert [(s.field, s.value) for s in found.suggestions] == [("resources.cpu", 3.0)]
    assert "ask for 3 cpu instead of 4 cpu" in found.next_step


def test_pin_label_and_cordon_are_suggested_cheapest_first() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("busy", cpu=1, labels={"zone": "a"})
    cluster.connect("idle", cpu=1)
    cluster.connect("closed", cpu=1, labels={"zone": "a"})
    cluster.ask(ev.NodeCordoned, "closed", True)
    cluster.submit(make_spec(node="busy"))
    (pinned,) = cluster.submit(make_spec(node="busy"))
    (labelled,) = cluster.submit(make_spec(labels={"zone": "a"}))
    assert [s.field for s in _explain(cluster, pinned).suggestions] == ["placement.node"]
    assert [s.field for s in _explain(cluster, labelled).suggestions] == ["placement.labels.zone", ""]
    assert "yard nodes uncordon closed" in _explain(cluster, labelled).suggestions[1].message


def test_whole_devices_are_suggested_for_whole_devices() -> None:
    cluster = MachineCluster(nodes=1, cpu=8, gpus=("g0", "g1"))
    cluster.submit(make_spec(gpu=0.5))
    (key,) = cluster.submit(make_spec(gpu=2))
    (suggestion,) = _explain(cluster, key).suggestions
    assert (suggestion.field, suggestion.value) == ("resources.gpu", 1.0)


_AMOUNTS = st.fixed_dictionaries({"cpu": st.integers(1, 6), "disk": st.integers(0, 4)})


@settings(max_examples=60, deadline=None)
@given(
    nodes=st.lists(st.tuples(_AMOUNTS, st.sampled_from(["a", "b"])), min_size=1, max_size=4),
    busy=st.lists(_AMOUNTS, max_size=5),
    asked=_AMOUNTS,
    zone=st.sampled_from(["", "a", "b"]),
    pin=st.sampled_from(["", "n0"]),
)
def test_suggestion_that_is_followed_lets_the_task_start(
    nodes: list[tuple[dict[str, int], str]],
    busy: list[dict[str, int]],
    asked: dict[str, int],
    zone: str,
    pin: str,
) -> None:
    cluster = MachineCluster(nodes=0)
    for number, (capacity, label) in enumerate(nodes):
        cluster.connect(
            f"n{number}", labels={"zone": label}, cpu=capacity["cpu"], custom={"disk": capacity["disk"]}
        )
    for amounts in busy:
        cluster.submit(make_spec(**amounts))
    labels = {"zone": zone} if zone else {}
    (key,) = cluster.submit(make_spec(node=pin, labels=labels, **asked))
    if cluster.task(key).node:
        return
    found = _explain(cluster, key)
    assert not found.starts_now
    for suggestion in found.suggestions:
        shape = _with(cluster.task(key).spec.shape, suggestion)
        spec = Spec(0, b"suggested", shape)
        assert explain.plan(cluster.state, "ada", spec, cluster.now).starts_now, suggestion
        # What a plan says is what a submission finds.
    if found.suggestions:
        (again,) = cluster.submit(
            Spec(0, b"suggested", _with(cluster.task(key).spec.shape, found.suggestions[0]))
        )
        assert cluster.task(again).node


def test_plan_of_what_fits_says_so_and_keeps_nothing() -> None:
    cluster = MachineCluster(cpu=2)
    queues, number = len(cluster.state.waiting.queues), cluster.state.next_number
    found = explain.plan(cluster.state, "ada", make_spec(cpu=2), cluster.now)
    assert found.starts_now
    held = explain.plan(cluster.state, "ada", make_spec(hold=True), cluster.now)
    assert [gate.reason for gate in held.gates] == ["HELD"]
    assert (len(cluster.state.waiting.queues), cluster.state.next_number) == (queues, number)
    assert not cluster.state.tasks


def test_start_is_estimated_by_the_measured_run_times() -> None:
    cluster = MachineCluster(cpu=1)
    (first,) = cluster.submit()
    cluster.start(first)
    cluster.turn(10_000)
    cluster.exit(first, run_ms=10_000)
    second, third = cluster.submit(count=2)
    cluster.start(second)
    cluster.turn(4_000)
    found = _explain(cluster, third)
    assert found.start_ms == cluster.now.wall_ms + 6_000


def test_decision_names_the_chosen_node_and_the_losers() -> None:
    cluster = MachineCluster(nodes=3, cpu=4)
    cluster.submit(make_spec(cpu=2))
    (key,) = cluster.submit(make_spec(cpu=1))
    task = cluster.task(key)
    considered = [(entry[-1], *score_of(entry, task.spec.shape.policy)) for entry in task.considered]
    assert considered[0] == (task.node, 0.0, 0)
    assert sorted(considered) == [("n0", 0.5, 1), ("n1", 0.0, 0), ("n2", 0.0, 0)]
