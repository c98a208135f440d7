"""ParameterServerStrategy by TF_CONFIG: workers compute, servers keep the variables, the chief says what is done."""

import os

import digits
import tensorflow as tf

resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
if resolver.task_type in ("worker", "ps"):
    server = tf.distribute.Server(
        resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id, protocol="grpc"
    )
    print("serving as", resolver.task_type, os.getpid(), flush=True)
    server.join()
strategy = tf.distribute.ParameterServerStrategy(resolver)
coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
room = digits.Room()
taken, first_weights, first_bias = room.load()
with strategy.scope():
    weights, bias = tf.Variable(first_weights), tf.Variable(first_bias)
points, labels = digits.samples()


@tf.function
def step():
    with tf.GradientTape() as tape:
        logits = tf.constant(points) @ weights + bias
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(tf.constant(labels), logits))
    for value, slope in zip((weights, bias), tape.gradient(loss, [weights, bias]), strict=True):
        value.assign_sub(digits.RATE * slope)


begun = taken
while not room.is_over(taken):
    coordinator.schedule(step)
    # One step at a time: gradients of old parameters would make the result a matter of chance.
    coordinator.join()
    taken += 1
    room.save(taken, weights.numpy(), bias.numpy(), begun=begun)
digits.report(begun=begun, step=taken, **digits.quality(weights.numpy(), bias.numpy()))
