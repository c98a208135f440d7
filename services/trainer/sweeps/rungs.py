"""Who goes on at a rung: asynchronous successive halving by stopping (S3; Li et al., arXiv 1810.05934, appendix). Pure.

A trial that reaches a level is compared with all that have reached it before, itself included: it goes on if fewer than
`max(1, n // reduction)` of them are better. So nobody waits for anybody, no checkpoint is needed, the best at a rung is
never stopped, and whoever goes on belonged to the best 1/reduction when it was asked (of few, to the best).
"""

from __future__ import annotations

from services.trainer.state.sweeps import LiveSweep, Trial


def passes(live: LiveSweep, trial: Trial, value: float) -> tuple[bool, str]:
    """Notes what the trial has reached; whether it goes on, and if not why."""
    asha, metric = live.file.search.asha, live.file.metric
    if asha is None or metric is None or trial.resource is None:
        return True, ""
    bracket = live.bracket(trial)
    known = {level for level, _ in trial.rungs}
    for level in asha.levels(bracket):
        if level > trial.resource:
            break
        if level in known:
            continue
        here = live.at_rung(bracket, level)
        here.append(value)
        trial.rungs = [*trial.rungs, (level, value)]
        places = max(1, len(here) // asha.reduction)
        better = sum(metric.is_better(other, value) for other in here)
        if better >= places:
            reached = f"{metric.name} {value:g} at {asha.by.value} {level:g}"
            return False, f"{reached}: {better} of {len(here)} are better, {places} may go on"
    return True, ""
