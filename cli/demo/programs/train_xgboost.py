"""XGBoost, distributed by its collective: workers have shares of the pictures, and the same trees at the end."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import xgboost
from xgboost import collective

ROUNDS = 40
place: dict[str, Any] = {
    "dmlc_tracker_uri": os.environ["DMLC_TRACKER_URI"],
    "dmlc_tracker_port": int(os.environ["DMLC_TRACKER_PORT"]),
    "dmlc_task_id": os.environ["DMLC_TASK_ID"],
}
options = {
    "objective": "multi:softprob",
    "num_class": 10,
    "nthread": 1,
    "max_depth": 4,
    "eval_metric": "mlogloss",
}


class Tell(xgboost.callback.TrainingCallback):
    """One line for each round, which the job's progress is read from."""

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        print(f"round {epoch + 1}/{ROUNDS} loss={evals_log['test']['mlogloss'][-1]:.4f}", flush=True)
        return False


data = np.load("data.npz")
with collective.CommunicatorContext(**place):
    rank, count = collective.get_rank(), collective.get_world_size()
    learn = xgboost.DMatrix(data["train_x"][rank::count], data["train_y"][rank::count])
    test = xgboost.DMatrix(data["test_x"], data["test_y"])
    booster = xgboost.train(
        options, learn, ROUNDS, evals=[(test, "test")], verbose_eval=False, callbacks=[Tell()]
    )
    booster.save_model("model.json")
