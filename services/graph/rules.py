"""Who may call what: the graph service's rule table. What a caller may do with a project: `projects/access.py`."""

from services.chassis.security import ADMIN, ON_BEHALF, USER, VIEWER, RuleTable

_READ = frozenset({ADMIN, USER, VIEWER, ON_BEHALF})
_CHANGE = frozenset({ADMIN, USER, ON_BEHALF})

_TABLE = {
    "LineageService": {"ListLinks": _READ},
    "ProjectService": {
        "CreateProject": _CHANGE,
        "GetProject": _READ,
        "ListProjects": _READ,
        "DeleteProject": _CHANGE,
        "SetProjectAccess": _CHANGE,
        "SaveCanvas": _CHANGE,
        "GetCanvas": _READ,
        "ListVersions": _READ,
        "DiffVersions": _READ,
        "ValidateCanvas": _READ,
        "ImportCanvas": _CHANGE,
        "ExportCanvas": _READ,
    },
    "RunService": {
        "StartRun": _CHANGE,
        "GetRun": _READ,
        "ListRuns": _READ,
        "ListRunNodes": _READ,
        "WatchRun": _READ,
        "ExplainRun": _READ,
        "CancelRun": _CHANGE,
        "PauseRun": _CHANGE,
        "ResumeRun": _CHANGE,
        "ContinueRun": _CHANGE,
        "ModifyRunNode": _CHANGE,
        "GetNodeResult": _READ,
        "DecideGate": _CHANGE,
        "DeleteRun": _CHANGE,
        "ExportRunPicture": _READ,
    },
    "TriggerService": {
        "CreateTrigger": _CHANGE,
        "GetTrigger": _READ,
        "ListTriggers": _READ,
        "UpdateTrigger": _CHANGE,
        "DeleteTrigger": _CHANGE,
        "RotateTriggerSecret": _CHANGE,
        "FireTrigger": _CHANGE,
        "ListFirings": _READ,
        "CreateBackfill": _CHANGE,
        "GetBackfill": _READ,
        "ListBackfills": _READ,
        "CancelBackfill": _CHANGE,
    },
}

RULES: RuleTable = {
    f"/modelyard.v1.{service}/{rpc}": roles for service, rpcs in _TABLE.items() for rpc, roles in rpcs.items()
}
