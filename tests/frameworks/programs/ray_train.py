"""Ray: an actor for each processor keeps its part of the samples, the driver adds up."""

import digits
import numpy as np
import ray

ray.init(log_to_driver=False)
# The workers do not have the module.
ray.cloudpickle.register_pickle_by_value(digits)


@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
class Part:
    def __init__(self, points, labels):
        self.part = points, labels

    def slopes(self, weights, bias):
        return digits.gradients(weights, bias, *self.part)[:2]

    def node(self):
        return ray.get_runtime_context().get_node_id()


count = 2
parts = [Part.remote(*digits.shard(index, count)) for index in range(count)]
values = (np.zeros((digits.FEATURES, digits.CLASSES)), np.zeros(digits.CLASSES))
for _ in range(digits.STEPS):
    slopes = ray.get([part.slopes.remote(*values) for part in parts])
    values = tuple(
        value - digits.RATE * sum(slope[k] for slope in slopes) / count for k, value in enumerate(values)
    )
nodes = len(set(ray.get([part.node.remote() for part in parts])))
digits.report(world=count, nodes=nodes, **digits.quality(*values))
