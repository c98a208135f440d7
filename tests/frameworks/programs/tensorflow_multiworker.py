"""MultiWorkerMirroredStrategy by TF_CONFIG; without it one process."""

import os

import digits
import tensorflow as tf

strategy = tf.distribute.get_strategy()
if "TF_CONFIG" in os.environ:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
resolver = strategy.cluster_resolver
rank = resolver.task_id if resolver else 0
world = strategy.num_replicas_in_sync
points, labels = map(tf.constant, digits.shard(rank, world))
with strategy.scope():
    mean = tf.VariableAggregation.MEAN
    weights = tf.Variable(tf.zeros((digits.FEATURES, digits.CLASSES)), aggregation=mean)
    bias = tf.Variable(tf.zeros(digits.CLASSES), aggregation=mean)


def replica():
    with tf.GradientTape() as tape:
        logits = points @ weights + bias
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    slopes = tape.gradient(loss, [weights, bias])
    for value, slope in zip((weights, bias), slopes, strict=True):
        # Gradients of all replicas are averaged by the variable.
        value.assign_sub(digits.RATE * slope)


@tf.function
def step():
    strategy.run(replica)


for _ in range(digits.STEPS):
    step()
digits.report(rank=rank, world=world, **digits.quality(weights.numpy(), bias.numpy()))
