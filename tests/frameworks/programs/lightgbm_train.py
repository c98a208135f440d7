"""LightGBM over sockets, the samples parted beforehand."""

import os

import digits
import lightgbm

count, port = int(os.environ["LIGHTGBM_NUM_MACHINES"]), int(os.environ["LIGHTGBM_PORT"])
machines = os.environ["LIGHTGBM_MACHINES"]
rank = [int(machine.rpartition(":")[2]) for machine in machines.split(",")].index(port)
options = {
    "objective": "multiclass",
    "num_class": digits.CLASSES,
    "num_threads": 1,
    "verbosity": -1,
    "machines": machines,
    "local_listen_port": port,
    "num_machines": count,
    "tree_learner": "data",
    "pre_partition": True,
    "time_out": 1,
}
booster = lightgbm.train(options, lightgbm.Dataset(*digits.shard(rank, count)), num_boost_round=10)
points, labels = digits.samples()
digits.report(rank=rank, world=count, **digits.quality_of(booster.predict(points), labels))
