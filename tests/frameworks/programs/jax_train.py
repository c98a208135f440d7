"""JAX over several processes: one array of all samples, of which each process has its part."""

import os

import digits
import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

if "JAX_NUM_PROCESSES" in os.environ:
    count, index = int(os.environ["JAX_NUM_PROCESSES"]), int(os.environ["JAX_PROCESS_ID"])
    jax.distributed.initialize(num_processes=count, process_id=index)
elif "SLURM_JOB_ID" in os.environ:
    jax.distributed.initialize()
mesh = Mesh(jax.devices(), ("all",))
parted = NamedSharding(mesh, PartitionSpec("all"))
index, count = jax.process_index(), jax.process_count()
points, labels = (jax.make_array_from_process_local_data(parted, part) for part in digits.shard(index, count))


def loss(parameters, points, labels):
    weights, bias = parameters
    logits = jax.nn.log_softmax(points @ weights + bias)
    return -jnp.take_along_axis(logits, labels[:, None], axis=1).mean()


@jax.jit
def step(parameters, points, labels):
    slopes = jax.grad(loss)(parameters, points, labels)
    return jax.tree.map(lambda value, slope: value - digits.RATE * slope, parameters, slopes)


parameters = (jnp.zeros((digits.FEATURES, digits.CLASSES)), jnp.zeros(digits.CLASSES))
for _ in range(digits.STEPS):
    parameters = step(parameters, points, labels)
weights, bias = (multihost_utils.process_allgather(value, tiled=True) for value in parameters)
digits.report(rank=index, world=count, devices=len(jax.devices()), **digits.quality(weights, bias))
