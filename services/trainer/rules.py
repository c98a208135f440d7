"""Who may call what: the trainer's rule table. What a caller may do with a job is decided in the servicers."""

from services.chassis.security import ADMIN, AGENT, ON_BEHALF, TASK, USER, VIEWER, RuleTable

_READ = frozenset({ADMIN, USER, VIEWER, ON_BEHALF})
_CHANGE = frozenset({ADMIN, USER, ON_BEHALF})

_TABLE = {
    "FrameworkService": {
        "RegisterFramework": _CHANGE,
        "GetFramework": _READ,
        "ListFrameworks": _READ,
        "ValidateJob": _READ,
        "RenderJob": _READ,
    },
    "JobService": {
        "CreateJob": _CHANGE,
        "GetJob": _READ,
        "ListJobs": _READ,
        "ListInstances": _READ,
        "WatchJob": _READ,
        "StopJob": _CHANGE,
        "SuspendJob": _CHANGE,
        "ResumeJob": _CHANGE,
        "ScaleRole": _CHANGE,
        "WatchAddresses": _READ | {TASK},
        "ExplainJob": _READ,
        "ImportJob": _CHANGE,
        "StreamJobLogs": _READ,
        "ReportProgress": _CHANGE | {TASK},
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
