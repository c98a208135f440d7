"""Who may call what: the rule table. What a caller may do with a model is decided in the servicers."""

from services.chassis.security import ADMIN, AGENT, ON_BEHALF, TASK, USER, VIEWER, RuleTable

_READ = frozenset({ADMIN, USER, VIEWER, ON_BEHALF})
_CHANGE = frozenset({ADMIN, USER, ON_BEHALF})
# Operators register, deploy, load and call models with the token of their task.
_CALL = _CHANGE | {TASK}

_TABLE = {
    "modelyard.v1.LineageService": {"ListLinks": _READ},
    "modelyard.v1.ModelService": {
        "CreateModelVersion": _CALL,
        "DescribeComponent": _CHANGE,
        "GetModel": _READ,
        "ListModels": _READ,
        "GetModelVersion": _READ | {TASK},
        "ListModelVersions": _READ,
        "WatchModelVersion": _READ | {TASK},
        "UpdateModel": _CHANGE,
        "DeleteModelVersion": _CHANGE,
        "GetModelConfig": _READ,
        "UpdateModelConfig": _CHANGE,
        "SetAlias": _CALL,
        "DeleteAlias": _CHANGE,
        "ListAliasHistory": _READ,
        "ListModelUsage": _READ,
    },
    "inference.GRPCInferenceService": {
        "ServerLive": _READ | {TASK},
        "ServerReady": _READ | {TASK},
        "ModelReady": _READ | {TASK},
        "ServerMetadata": _READ | {TASK},
        "ModelMetadata": _READ | {TASK},
        "ModelInfer": _CALL,
        "ModelStreamInfer": _CALL,
        "ModelConfig": _READ | {TASK},
        "ModelStatistics": _READ | {TASK},
        "RepositoryIndex": _READ | {TASK},
        "RepositoryModelLoad": _CALL,
        "RepositoryModelUnload": _CALL,
    },
    "modelyard.v1.DeploymentService": {
        "Deploy": _CALL,
        "ModifyDeployment": _CHANGE,
        "RollBackDeployment": _CHANGE,
        "Undeploy": _CHANGE,
        "GetDeployment": _READ,
        "ListDeployments": _READ,
        "WatchDeployment": _READ | {TASK},
        "ListFrames": _READ,
        "LoadModel": _CALL,
        "UnloadModel": _CALL,
        "ExplainModelCall": _READ,
    },
    "modelyard.v1.ModelQuotaService": {
        "ListModelQuotas": _READ,
        "UpdateModelQuota": frozenset({ADMIN}),
        "CheckModelQuota": _CALL,
    },
    "modelyard.v1.SeatService": {"ConnectSeats": frozenset({AGENT})},
}

RULES: RuleTable = {
    f"/{service}/{rpc}": roles for service, rpcs in _TABLE.items() for rpc, roles in rpcs.items()
}
