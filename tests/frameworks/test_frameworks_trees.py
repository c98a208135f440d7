"""XGBoost with the tracker that is built in, LightGBM with its machine list, on two agents (S3.1)."""

from __future__ import annotations

import pytest

from tests.support.framework_yard import HOST, FrameworkYard, Values, by_hand, job, ranks_of
from tests.support.ports import free_ports

TRACKER = """
import sys
from xgboost.tracker import RabitTracker
tracker = RabitTracker(n_workers=2, host_ip=sys.argv[1], port=int(sys.argv[2]), sortby="task")
tracker.start()
tracker.wait_for()
"""


def same_trees(bare: list[Values], found: list[Values]) -> None:
    """Every worker has the model that workers have which were started by hand."""
    assert ranks_of(found) == ranks_of(bare) == [(0, 2), (1, 2)]
    for one in found:
        assert one["loss"] == pytest.approx(bare[0]["loss"], rel=1e-6)
        assert one["accuracy"] == pytest.approx(bare[0]["accuracy"]) and one["accuracy"] > 0.95


def test_xgboost_with_its_tracker_built_in_trains_the_model_of_processes_started_by_hand(
    yard: FrameworkYard,
) -> None:
    (port,) = free_ports(1)
    place = {"DMLC_TRACKER_URI": HOST, "DMLC_TRACKER_PORT": port}
    workers = [(["python", "xgboost_train.py"], {**place, "DMLC_TASK_ID": index}) for index in range(2)]
    bare = by_hand((["python", "-c", TRACKER, HOST, str(port)], {}), *workers)
    worker = {"argv": ["python", "xgboost_train.py"]}
    same_trees(bare, yard.results(job("xgboost", roles={"worker": worker})))


def test_lightgbm_trains_the_model_of_processes_started_by_hand(yard: FrameworkYard) -> None:
    ports = free_ports(2)
    place = {"LIGHTGBM_MACHINES": ",".join(f"{HOST}:{port}" for port in ports), "LIGHTGBM_NUM_MACHINES": 2}
    bare = by_hand(*((["python", "lightgbm_train.py"], {**place, "LIGHTGBM_PORT": port}) for port in ports))
    found = yard.results(job("lightgbm", "python", "lightgbm_train.py", params={"arguments": False}))
    same_trees(bare, found)
