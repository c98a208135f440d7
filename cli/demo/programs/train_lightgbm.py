"""LightGBM, distributed over sockets: each worker has its share of the pictures, all have the same trees at the end."""

from __future__ import annotations

import os
from typing import Any

import lightgbm
import numpy as np

ROUNDS = 40
count, port = int(os.environ["LIGHTGBM_NUM_MACHINES"]), int(os.environ["LIGHTGBM_PORT"])
machines = os.environ["LIGHTGBM_MACHINES"]
rank = [int(machine.rpartition(":")[2]) for machine in machines.split(",")].index(port)
data = np.load("data.npz")
options = {
    "objective": "multiclass", "num_class": 10, "num_threads": 1, "verbosity": -1, "num_leaves": 15,
    "machines": machines, "local_listen_port": port, "num_machines": count, "tree_learner": "data",
    "pre_partition": True, "time_out": 1,
}  # fmt: skip


def tell(state: Any) -> None:
    """One line for each round, which the job's progress is read from."""
    loss = state.evaluation_result_list[0][2]
    print(f"round {state.iteration + 1}/{ROUNDS} loss={loss:.4f}", flush=True)


learn = lightgbm.Dataset(data["train_x"][rank::count], data["train_y"][rank::count])
test = lightgbm.Dataset(data["test_x"], data["test_y"], reference=learn)
booster = lightgbm.train(options, learn, ROUNDS, valid_sets=[test], callbacks=[tell])
booster.save_model("model.txt")
