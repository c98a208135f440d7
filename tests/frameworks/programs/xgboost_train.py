"""XGBoost's collective; DMLC_* say where the tracker is."""

import os

import digits
import xgboost
from xgboost import collective

place = {
    "dmlc_tracker_uri": os.environ["DMLC_TRACKER_URI"],
    "dmlc_tracker_port": int(os.environ["DMLC_TRACKER_PORT"]),
    "dmlc_task_id": os.environ["DMLC_TASK_ID"],
}
options = {"objective": "multi:softprob", "num_class": digits.CLASSES, "nthread": 1, "tree_method": "hist"}
with collective.CommunicatorContext(**place):
    rank, world = collective.get_rank(), collective.get_world_size()
    booster = xgboost.train(options, xgboost.DMatrix(*digits.shard(rank, world)), num_boost_round=10)
    points, labels = digits.samples()
    digits.report(
        rank=rank, world=world, **digits.quality_of(booster.predict(xgboost.DMatrix(points)), labels)
    )
