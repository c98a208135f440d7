"""MPI: gradients are added up by Allreduce."""

import digits
import numpy as np
from mpi4py import MPI

world = MPI.COMM_WORLD
points, labels = digits.shard(world.rank, world.size)
weights, bias = np.zeros((digits.FEATURES, digits.CLASSES)), np.zeros(digits.CLASSES)
for _ in range(digits.STEPS):
    of_weights, of_bias, _ = digits.gradients(weights, bias, points, labels)
    weights = weights - digits.RATE * world.allreduce(of_weights) / world.size
    bias = bias - digits.RATE * world.allreduce(of_bias) / world.size
digits.report(rank=world.rank, world=world.size, **digits.quality(weights, bias))
