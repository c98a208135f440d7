"""Who may call what: the rule table. What a caller may do with a model is decided in the servicers."""

from services.chassis.security import ADMIN, ON_BEHALF, USER, VIEWER, RuleTable

_READ = frozenset({ADMIN, USER, VIEWER, ON_BEHALF})
_CHANGE = frozenset({ADMIN, USER, ON_BEHALF})

_TABLE = {
    "modelyard.v1.ModelService": {
        "CreateModelVersion": _CHANGE,
        "DescribeComponent": _CHANGE,
        "GetModel": _READ,
        "ListModels": _READ,
        "GetModelVersion": _READ,
        "ListModelVersions": _READ,
        "WatchModelVersion": _READ,
        "UpdateModel": _CHANGE,
        "DeleteModelVersion": _CHANGE,
        "GetModelConfig": _READ,
        "UpdateModelConfig": _CHANGE,
        "SetAlias": _CHANGE,
        "DeleteAlias": _CHANGE,
        "ListAliasHistory": _READ,
        "ListModelUsage": _READ,
    },
}

RULES: RuleTable = {
    f"/{service}/{rpc}": roles for service, rpcs in _TABLE.items() for rpc, roles in rpcs.items()
}
