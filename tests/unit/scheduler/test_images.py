"""Commands that name an image: what is refused, where they go, and what is said where no node can."""

from typing import Any

import pytest

from modelyard.v1 import task_pb2
from services.chassis.errors import ServiceError
from services.scheduler.intake import specs
from services.scheduler.placement import fitting
from services.scheduler.scheduling.explain import explain
from tests.support.scheduler_cluster import MachineCluster, make_shape, make_spec

ENGINE = {"containers": "yes"}


def spec_of(**environment: Any) -> task_pb2.TaskSpec:
    return task_pb2.TaskSpec(
        command=task_pb2.CommandWork(argv=["true"]), environment=task_pb2.Environment(**environment)
    )


@pytest.mark.parametrize(
    "image",
    [
        "python:3.11-slim",
        "a",
        "registry.example:5000/team/name",
        "ghcr.io/a/b:v1.2_3",
        f"a/b@sha256:{'0' * 64}",
    ],
)
def test_image_is_taken_to_nodes_with_an_engine(image: str) -> None:  # S0.2
    made = specs.convert(spec_of(image=image, network="bridge"), "ada", "specs[0]")
    assert made.shape.labels == (("containers", "yes"),)
    assert specs.convert(spec_of(), "ada", "specs[0]").shape.labels == ()


@pytest.mark.parametrize(
    ("environment", "field"),
    [
        ({"image": "a b"}, "image"),
        ({"image": "Python"}, "image"),
        ({"image": "-v"}, "image"),
        ({"image": "../x"}, "image"),
        ({"image": "a@sha256:12"}, "image"),
        ({"image": "x" * 501}, "image"),
        ({"image": "a", "requirements": "numpy"}, "image"),
        ({"image": "a", "python": "3.12"}, "image"),
        ({"image": "a", "network": "host"}, "network"),
        ({"network": "none"}, "network"),
    ],
)
def test_container_that_cannot_be_had_is_refused(
    environment: dict[str, str], field: str
) -> None:  # reliability 9
    with pytest.raises(ServiceError) as refused:
        specs.convert(spec_of(**environment), "ada", "specs[0]")
    assert refused.value.field == f"specs[0].environment.{field}"
    assert refused.value.next_step


def test_operator_in_an_image_is_refused() -> None:
    spec = task_pb2.TaskSpec(
        operator=task_pb2.OperatorWork(operator="echo"), environment=task_pb2.Environment(image="a")
    )
    with pytest.raises(ServiceError) as refused:
        specs.convert(spec, "ada", "specs[0]")
    assert "only commands" in str(refused.value)


def test_node_without_an_engine_says_so_and_its_label_is_not_for_dropping() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("bare", cpu=4, labels={"containers": "no"})
    cluster.connect("docked", cpu=4, labels=ENGINE)
    (first,) = cluster.submit(make_spec(labels=ENGINE, cpu=4))
    (second,) = cluster.submit(make_spec(labels=ENGINE, cpu=4))
    assert cluster.node_of(first) == "docked"
    told = explain(cluster.state, cluster.task(second), cluster.now)
    reasons = {verdict.node: verdict.reason for verdict in told.nodes}
    assert reasons == {"bare": "NO_CONTAINERS", "docked": "NOT_ENOUGH"}
    assert not [one for one in told.suggestions if one.field.startswith("placement.labels")]


def test_image_is_refused_where_no_node_has_an_engine() -> None:
    cluster = MachineCluster(nodes=0)
    cluster.connect("bare", cpu=4, labels={"containers": "no"})
    with pytest.raises(ServiceError) as refused:
        fitting.check_placeable(make_shape(labels=ENGINE), cluster.state.cluster, "specs[0]")
    assert (refused.value.reason, refused.value.field) == ("CANNOT_BE_PLACED", "specs[0].environment.image")
    assert "container engine" in str(refused.value)
