"""Sweeps as data: what is searched, how, by which metric, and the job file of each trial."""

from modelyard.training.sweeps.space import Parameter, ParameterKind, Value
from modelyard.training.sweeps.sweep import Asha, Metric, Pick, Resource, Search, SearchKind, Sweep
from modelyard.training.sweeps.sweepfile import SweepChanges, plan_sweep, plan_text, problems_of, read_sweep

__all__ = [
    "Asha", "Metric", "Parameter", "ParameterKind", "Pick", "Resource", "Search", "SearchKind", "Sweep",
    "SweepChanges", "Value", "plan_sweep", "plan_text", "problems_of", "read_sweep",
]  # fmt: skip
