"""Field masks: which paths are meant, and values taken over. S0.7 stands on them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.v1 import task_pb2
from services.chassis.requests.masks import EmptyMask, UnknownPath, check_paths, copy_paths, set_paths

KNOWN = ("params_json", "priority", "timeouts.queue_timeout", "timeouts.run_timeout", "labels")


def test_paths_come_once_and_in_their_known_order() -> None:
    assert check_paths(["labels", "priority", "labels"], KNOWN, "update_mask") == ("priority", "labels")


def test_path_of_a_group_stands_for_all_known_paths_below_it() -> None:
    assert check_paths(["timeouts"], KNOWN, "update_mask") == (
        "timeouts.queue_timeout",
        "timeouts.run_timeout",
    )


@pytest.mark.parametrize(
    "path", ["prioritys", "", "timeouts.", "timeouts.start_timeout", "labels.a", "*", "time"]
)
def test_unknown_path_is_refused_with_the_known_ones(path: str) -> None:
    with pytest.raises(UnknownPath) as refused:
        check_paths(["priority", path], KNOWN, "update_mask")
    assert refused.value.field == "update_mask"
    assert all(known in refused.value.next_step for known in KNOWN)


def test_misspelt_path_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UnknownPath) as refused:
        check_paths(["prioritys"], KNOWN, "update_mask")
    assert "did you mean priority?" in refused.value.next_step


def test_mask_without_paths_is_refused() -> None:
    with pytest.raises(EmptyMask):
        check_paths([], KNOWN, "update_mask")


def test_set_paths_are_those_with_a_value() -> None:
    changes = task_pb2.TaskChanges(params_json="{}", labels={"a": "1"})
    changes.timeouts.run_timeout.SetInParent()
    assert set_paths(changes, KNOWN) == ("params_json", "timeouts.run_timeout", "labels")


values = st.builds(
    lambda priority, params, queue_s, run_s, labels: (priority, params, queue_s, run_s, labels),
    st.integers(-1000, 1000),
    st.sampled_from(["", "{}", '{"a":1}']),
    st.none() | st.integers(0, 1_000),
    st.none() | st.integers(0, 1_000),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")),
)


def _fill(message: task_pb2.TaskSpec | task_pb2.TaskChanges, value: tuple[object, ...]) -> None:
    message.priority, message.params_json, queue_s, run_s, labels = value  # type: ignore[assignment]
    for name, seconds in (("queue_timeout", queue_s), ("run_timeout", run_s)):
        if seconds is not None:
            getattr(message.timeouts, name).FromSeconds(seconds)
    message.labels.update(labels)  # type: ignore[arg-type]


def _read(message: task_pb2.TaskSpec | task_pb2.TaskChanges, path: str) -> object:
    value: object = message
    for name in path.split("."):
        value = getattr(value, name)
    return dict(value) if path == "labels" else value  # type: ignore[call-overload]


@given(values, values, st.sets(st.sampled_from(KNOWN)))
def test_copied_paths_are_the_sources_and_all_others_stay(
    present: tuple[object, ...], wanted: tuple[object, ...], paths: set[str]
) -> None:
    spec, changes = task_pb2.TaskSpec(name="kept"), task_pb2.TaskChanges()
    _fill(spec, present)
    _fill(changes, wanted)
    before = task_pb2.TaskSpec()
    before.CopyFrom(spec)
    copy_paths(changes, spec, sorted(paths))
    for path in KNOWN:
        assert _read(spec, path) == _read(changes if path in paths else before, path)
    assert spec.name == "kept"
    assert spec.timeouts.HasField("run_timeout") == (
        (changes if "timeouts.run_timeout" in paths else before).timeouts.HasField("run_timeout")
    )
