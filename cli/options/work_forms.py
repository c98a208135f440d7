"""The options of `yard call` and of `yard run`, each kind together: what a command takes as one parameter.

What an option is called and what the help says of it stands in `work_options`; what was typed is read in `work_values`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cli.options import work as options


@dataclass
class CallForm:
    """What can be said of every work."""

    param: options.Param = field(default_factory=list)
    param_env: options.ParamEnv = ""
    input: options.InputFile = field(default_factory=list)
    attach: options.Attach = field(default_factory=list)
    node: options.Node = ""
    label: options.Label = field(default_factory=list)
    pool: options.Pool = ""
    policy: options.Policy = ""
    quote: options.Quote = ""
    cpu: options.Cpu = 0.0
    memory: options.Memory = ""
    gpu: options.Gpu = 0.0
    resource: options.Resource = field(default_factory=list)
    requirements: options.Requirements = ""
    dir: options.Dir = ""
    name: options.Name = ""
    priority: options.Priority = 0
    queue: options.Queue = ""
    cap: options.Cap = field(default_factory=list)
    retries: options.Retries = 0
    timeout: options.Timeout = ""
    queue_timeout: options.QueueTimeout = ""
    after: options.After = field(default_factory=list)
    after_any: options.AfterAny = field(default_factory=list)
    after_failed: options.AfterFailed = field(default_factory=list)
    after_start: options.AfterStart = field(default_factory=list)
    at_most_once: options.AtMostOnce = False
    on_disconnect: options.OnDisconnect = ""
    lost_after: options.LostAfter = ""
    reconcile: options.Reconcile = ""
    contact: options.Contact = ""
    notify: options.Notify = ""
    silent: options.Silent = False


@dataclass
class CommandForm(CallForm):
    """What can be said of a command besides."""

    distinct_nodes: options.DistinctNodes = False
    image: options.Image = ""
    network: options.Network = ""
    env: options.Env = field(default_factory=list)
    keep: options.Keep = field(default_factory=list)
    array: options.Array = 0
    gang: options.Gang = ""
    gang_min: options.GangMin = 0
    preemptible: options.Preemptible = False
    preempts: options.Preempts = False
    preemption_grace: options.PreemptionGrace = ""
    checkpoint_signal: options.CheckpointSignal = ""
    tag: options.Tag = field(default_factory=list)
    hold: options.Hold = False
    elementwise: options.Elementwise = False
    array_indexes: options.ArrayIndexes = ""
    max_running: options.MaxRunning = 0
    max_fails: options.MaxFails = None
    modify_signal: options.ModifySignal = ""
    idempotency_key: options.IdempotencyKey = ""
