"""Whether any node could ever run what is asked for; what none could is refused at once, with what there is instead."""

from modelyard.nearest import nearest
from services.scheduler.model import ENGINE_LABEL, Shape
from services.scheduler.placement.cluster import Cluster
from services.scheduler.refusals import CannotBePlaced, NodeNotFound, OperatorNotFound
from services.scheduler.resources import describe


def check_placeable(shape: Shape, cluster: Cluster, field: str) -> None:
    """Refuses what no known node could ever run. While no node is known everything may wait for one."""
    nodes = cluster.nodes.values()
    if shape.node and shape.node not in cluster.nodes:
        raise NodeNotFound(
            f"there is no node {shape.node!r}", field=f"{field}.placement.node", next_step="yard nodes ls"
        )
    if not nodes or any(node.matches(shape) for node in nodes):
        return
    _check_pool(shape, cluster, field)
    known = {name for node in nodes for name in node.operators}
    if shape.operator and known and shape.operator not in known:
        near = nearest(shape.operator, known)
        next_step = f"did you mean {near}? " if near else ""
        raise OperatorNotFound(
            f"no agent offers an operator {shape.operator!r}",
            field=f"{field}.operator.operator",
            next_step=next_step + "see `yard operators ls`",
        )
    if ENGINE_LABEL in shape.labels and all(
        node.capacity and ENGINE_LABEL not in node.labels.items() for node in nodes
    ):
        raise CannotBePlaced(
            "it names an image, and no node has a container engine", field=f"{field}.environment.image",
            next_step="install Docker on a node and start its agent anew (yard doctor tells), or leave the image out",
        )  # fmt: skip
    for name, amount in shape.amounts:
        most = max((node.capacity.get(name, 0) for node in nodes), default=0)
        if any(node.capacity for node in nodes) and most < amount:
            raise CannotBePlaced(
                f"it asks for {describe(name, amount)}; the largest node has {describe(name, most)}",
                field=f"{field}.resources.{name}",
                next_step="ask for less, or add a larger machine: yard nodes token",
            )
    if all(node.capacity for node in nodes):
        raise CannotBePlaced(
            "no one node meets all that it asks for: resources, labels, node, nodes to avoid and operator together",
            field=f"{field}.placement",
            next_step="compare with `yard nodes ls -o yaml`",
        )


def _check_pool(shape: Shape, cluster: Cluster, field: str) -> None:
    """Only nodes that were here since the last start are known to be in a pool or in none."""
    nodes = [node for node in cluster.nodes.values() if node.capacity]
    if not nodes or len(nodes) < len(cluster.nodes) or any(node.pool == shape.pool for node in nodes):
        return
    pools = ", ".join(sorted({node.pool for node in nodes if node.pool}))
    if shape.pool:
        why = f"no node is in pool {shape.pool!r}"
    else:
        why = f"every node is in a pool ({pools}), and the task names none"
    raise CannotBePlaced(
        why, field=f"{field}.placement.pool",
        next_step=f"name one of: {pools}" if pools else "yard nodes label NODE pool=NAME",
    )  # fmt: skip
