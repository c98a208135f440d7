"""Sweeps and their trials in words, and as CSV."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

from cli import exit_codes
from cli.output.nouns import age

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cli.output.render import Columns
    from modelyard.v1 import sweep_pb2


def state_of(sweep: sweep_pb2.Sweep) -> str:
    """One word."""
    from modelyard.v1 import sweep_pb2

    return sweep_pb2.SweepState.Name(sweep.state).removeprefix("SWEEP_STATE_").lower()


def trial_state(trial: sweep_pb2.Trial) -> str:
    """One word."""
    from modelyard.v1 import sweep_pb2

    return sweep_pb2.TrialState.Name(trial.state).removeprefix("TRIAL_STATE_").lower()


def _search(sweep: sweep_pb2.Sweep) -> str:
    from modelyard.v1 import sweep_pb2

    word = sweep_pb2.SweepSearch.Name(sweep.search).removeprefix("SWEEP_SEARCH_").lower()
    return word if word == "grid" else f"{word}, seed {sweep.seed}"


def _trials(sweep: sweep_pb2.Sweep) -> str:
    counts = {
        "running": sweep.running_count, "succeeded": sweep.succeeded_count, "failed": sweep.failed_count,
        "pruned": sweep.pruned_count, "stopped": sweep.stopped_count,
    }  # fmt: skip
    words = [f"{count} {name}" for name, count in counts.items() if count]
    return f"{sweep.begun_count}/{sweep.trial_count}" + (f" ({', '.join(words)})" if words else "")


def _metric(sweep: sweep_pb2.Sweep) -> str:
    from modelyard.v1 import sweep_pb2

    mode = "max" if sweep.mode == sweep_pb2.METRIC_MODE_MAX else "min"
    return f"{sweep.metric}, {mode}" if sweep.metric else ""


def _best(sweep: sweep_pb2.Sweep) -> str:
    if not sweep.HasField("best_trial"):
        return ""
    best = sweep.best_trial
    return f"{sweep.metric} {best.score:.6g}: trial {best.number} ({values_of(best)})"


def values_of(trial: sweep_pb2.Trial) -> str:
    """ "lr=0.1 batch=32"."""
    return " ".join(f"{name}={_shown(value)}" for name, value in json.loads(trial.values_json).items())


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


SWEEP_COLUMNS: Columns = [
    ("SWEEP", lambda one: one.id),
    ("NAME", lambda one: one.name),
    ("STATE", state_of),
    ("TRIALS", _trials),
    ("BEST", _best),
    ("AGE", lambda one: age(one.create_time)),
]

SWEEP_FIELDS: Columns = [
    ("sweep", lambda one: one.id),
    ("name", lambda one: one.name),
    ("framework", lambda one: one.framework_id),
    ("state", state_of),
    ("why", lambda one: one.message or one.reason),
    ("search", _search),
    ("metric", _metric),
    ("trials", _trials),
    ("best", _best),
]


def trial_columns(sweep: sweep_pb2.Sweep) -> Columns:
    """A column for each parameter."""

    def value_of(name: str) -> Any:
        return lambda trial: _shown(json.loads(trial.values_json).get(name))

    title = sweep.metric.upper() if sweep.metric else "SCORE"
    return [
        ("TRIAL", lambda trial: f"{trial.number}"),
        (title, lambda trial: f"{trial.score:.6g}" if trial.HasField("score") else ""),
        *((one.name, value_of(one.name)) for one in sweep.parameters),
        ("STATE", trial_state),
        ("REACHED", lambda trial: f"{trial.resource:g}" if trial.HasField("resource") else ""),
        ("JOB", lambda trial: trial.job_id),
        ("WHY", lambda trial: trial.message),
    ]


def line_of(trial: sweep_pb2.Trial, sweep: sweep_pb2.Sweep) -> str:
    """What became of a trial, for who watches."""
    score = f", {sweep.metric} {trial.score:.6g}" if trial.HasField("score") else ""
    job = f" {trial.job_id}" if trial.job_id else ""
    why = f": {trial.message}" if trial.message else ""
    return f"{trial.number}{job} {values_of(trial)}: {trial_state(trial)}{score}{why}"


def write_best(sweep: sweep_pb2.Sweep) -> None:
    """The command of the best."""
    if sweep.best_argv:
        sys.stdout.write(f"best command: {shlex.join(sweep.best_argv)}\n")


def write_csv(sweep: sweep_pb2.Sweep, trials: Iterable[sweep_pb2.Trial]) -> None:
    """One line for each trial, one column for each parameter."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = [one.name for one in sweep.parameters]
    writer.writerow(
        ["trial", "job", "state", "reason", *names, sweep.metric or "score", "latest", "reached", "seconds"]
    )
    for trial in trials:
        values = json.loads(trial.values_json)
        began, ended = trial.start_time, trial.end_time
        has_times = trial.HasField("start_time") and trial.HasField("end_time")
        seconds = (ended.ToMilliseconds() - began.ToMilliseconds()) / 1000 if has_times else ""
        measured = [
            repr(trial.score) if trial.HasField("score") else "",
            repr(trial.latest_value) if trial.HasField("latest_value") else "",
            repr(trial.resource) if trial.HasField("resource") else "",
        ]
        row = [trial.number, trial.job_id, trial_state(trial), trial.reason]
        writer.writerow([*row, *(_shown(values.get(name)) for name in names), *measured, seconds])


def exit_code(sweep: sweep_pb2.Sweep) -> int:
    """Of a sweep that has ended."""
    from modelyard.v1 import sweep_pb2

    return exit_codes.DONE if sweep.state == sweep_pb2.SWEEP_STATE_SUCCEEDED else exit_codes.WORK_FAILED
