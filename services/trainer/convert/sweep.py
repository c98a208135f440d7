"""Sweeps and their trials as messages."""

from __future__ import annotations

import json
from collections import Counter

from modelyard.v1 import sweep_pb2 as pb
from services.trainer.model import SweepState, TrialState
from services.trainer.state.sweeps import LiveSweep, Trial

STATES = {state: pb.SweepState.Value(f"SWEEP_STATE_{state.name}") for state in SweepState}
TRIAL_STATES = {state: pb.TrialState.Value(f"TRIAL_STATE_{state.name}") for state in TrialState}


def sweep_message(live: LiveSweep, *, is_whole: bool) -> pb.Sweep:
    """The sweep without its best trial; `is_whole`: with its document."""
    sweep, file = live.sweep, live.file
    counts = Counter(trial.state for trial in live.trials.values())
    message = pb.Sweep(
        id=f"s-{sweep.number}" if sweep.number else "", account=sweep.account, name=sweep.name,
        framework_id=sweep.framework, framework_version=sweep.framework_version, state=STATES[sweep.state],
        reason=sweep.reason, message=sweep.message, revision=sweep.revision, seed=sweep.seed,
        search=pb.SweepSearch.Value(f"SWEEP_SEARCH_{file.search.kind.name}"), parallel_count=sweep.parallel,
        trial_count=sweep.trial_count, begun_count=len(live.trials),
        running_count=counts[TrialState.WAITING] + counts[TrialState.RUNNING],
        succeeded_count=counts[TrialState.SUCCEEDED], failed_count=counts[TrialState.FAILED],
        pruned_count=counts[TrialState.PRUNED], stopped_count=counts[TrialState.STOPPED],
    )  # fmt: skip
    if sweep.notification:
        message.notification.ParseFromString(sweep.notification)
    for parameter in file.space:
        message.parameters.add(name=parameter.name, space=str(parameter))
    if file.metric is not None:
        message.metric = file.metric.name
        message.mode = pb.METRIC_MODE_MAX if file.metric.is_max else pb.METRIC_MODE_MIN
    if sweep.create_ms:
        message.create_time.FromMilliseconds(sweep.create_ms)
    if sweep.end_ms:
        message.end_time.FromMilliseconds(sweep.end_ms)
    if is_whole:
        message.document = sweep.document
    return message


def trial_message(live: LiveSweep, trial: Trial) -> pb.Trial:
    """One trial."""
    message = pb.Trial(
        sweep_id=f"s-{live.sweep.number}", number=trial.number, state=TRIAL_STATES[trial.state], reason=trial.reason,
        message=trial.message, values_json=json.dumps(trial.values), job_id=f"j-{trial.job}" if trial.job else "",
        score=live.score(trial), latest_value=trial.latest, resource=trial.resource, revision=trial.revision,
    )  # fmt: skip
    for level, value in trial.rungs:
        message.rungs.add(level=level, value=value)
    times = {"create_time": trial.create_ms, "start_time": trial.start_ms, "end_time": trial.end_ms}
    for field, time_ms in times.items():
        if time_ms:
            getattr(message, field).FromMilliseconds(time_ms)
    return message
