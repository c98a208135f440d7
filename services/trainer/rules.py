"""Who may call what: the trainer's rule table. What a caller may do with a job is decided in the servicers."""

from services.chassis.security import ADMIN, AGENT, ON_BEHALF, TASK, USER, VIEWER, RuleTable

_READ = frozenset({ADMIN, USER, VIEWER, ON_BEHALF})
_CHANGE = frozenset({ADMIN, USER, ON_BEHALF})
# A task acts for its account: nodes of graphs that are training jobs.
_TASKS = frozenset({TASK})

_TABLE = {
    "LineageService": {"ListLinks": _READ},
    "FrameworkService": {
        "RegisterFramework": _CHANGE,
        "GetFramework": _READ,
        "ListFrameworks": _READ,
        "ValidateJob": _READ,
        "RenderJob": _READ,
    },
    "JobService": {
        "CreateJob": _CHANGE | _TASKS,
        "GetJob": _READ | _TASKS,
        "ListJobs": _READ,
        "ListInstances": _READ | _TASKS,
        "WatchJob": _READ | _TASKS,
        "StopJob": _CHANGE | _TASKS,
        "SuspendJob": _CHANGE,
        "ResumeJob": _CHANGE,
        "ScaleRole": _CHANGE,
        "WatchAddresses": _READ | _TASKS,
        "ExplainJob": _READ,
        "ImportJob": _CHANGE,
        "StreamJobLogs": _READ | _TASKS,
        "ReportProgress": _CHANGE | _TASKS,
        "ListJobMetrics": _READ,
    },
    "SweepService": {
        "CreateSweep": _CHANGE,
        "GetSweep": _READ,
        "ListSweeps": _READ,
        "WatchSweep": _READ,
        "StopSweep": _CHANGE,
        "SuspendSweep": _CHANGE,
        "ResumeSweep": _CHANGE,
        "ListTrials": _READ,
    },
    "SeatService": {"ConnectSeats": frozenset({AGENT})},
}

RULES: RuleTable = {
    f"/modelyard.v1.{service}/{rpc}": roles for service, rpcs in _TABLE.items() for rpc, roles in rpcs.items()
}
