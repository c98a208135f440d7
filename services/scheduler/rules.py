"""Who may call what: every RPC of the scheduler with the roles that may make it. One that is missing is refused."""

from services.chassis.security import (
    ADMIN,
    AGENT,
    ANONYMOUS,
    ON_BEHALF,
    SERVICE,
    TASK,
    USER,
    VIEWER,
    RuleTable,
)

_READ = frozenset({ADMIN, USER, VIEWER})
_WRITE = frozenset({ADMIN, USER})
# Services run the tasks of their users: what they do for an account is as if it did it.
_READ_FOR = _READ | {ON_BEHALF}
_WRITE_FOR = _WRITE | {ON_BEHALF}
_ADMIN = frozenset({ADMIN})
_ALL = frozenset({ADMIN, USER, VIEWER, SERVICE, AGENT, TASK})

_BY_SERVICE: dict[str, dict[str, frozenset[str]]] = {
    "TaskService": {
        "Session": _WRITE_FOR,
        "SubmitTasks": _WRITE_FOR,
        "GetTask": _READ_FOR | {TASK},
        "ListTasks": _READ_FOR,
        "WatchTasks": _READ_FOR,
        "WaitTask": _READ_FOR,
        "ModifyTask": _WRITE,
        "ModifyTasks": _WRITE,
        "CancelTasks": _WRITE_FOR,
        "HoldTasks": _WRITE,
        "ReleaseTasks": _WRITE,
        "SuspendTasks": _WRITE,
        "ResumeTasks": _WRITE,
        "RetryTasks": _WRITE,
        "ExplainTask": _READ_FOR,
        "PlanTask": _READ_FOR,
        "StreamLogs": _READ_FOR,
    },
    "LineageService": {"ListLinks": _READ_FOR},
    "OperatorService": {"ListOperators": _READ | {SERVICE}, "GetOperator": _READ | {SERVICE}},
    "NodeService": {
        "ListNodes": _READ | {SERVICE},
        "GetNode": _READ,
        "WatchNodes": _READ,
        "GetOccupancy": _READ_FOR,
        "CreateQuote": _WRITE,
        "RenewQuote": _WRITE,
        "DeleteQuote": _WRITE,
        "CordonNode": _ADMIN,
        "UncordonNode": _ADMIN,
        "DrainNode": _ADMIN,
        "UpdateNodeLabels": _ADMIN,
        "DeleteNode": _ADMIN,
        "CreateJoinToken": _ADMIN,
    },
    "AgentLinkService": {
        # The join token in the message is the credential.
        "Join": _ALL | {ANONYMOUS},
        "Connect": frozenset({AGENT}),
        "PushLogs": frozenset({AGENT}),
    },
    "ContactService": {
        "CreateContact": _WRITE,
        "GetContact": _READ,
        "ListContacts": _READ,
        "SetDefaultContact": _WRITE,
        "TestContact": _WRITE,
        "DeleteContact": _WRITE,
        "ListDeliveries": _READ,
        "ReplayDelivery": _WRITE,
        "Notify": frozenset({ON_BEHALF}),
    },
    "QueueService": {
        "CreateQueue": _ADMIN,
        "GetQueue": _READ,
        "ListQueues": _READ,
        "UpdateQueue": _ADMIN,
        "DeleteQueue": _ADMIN,
    },
    "AccountService": {
        "CreateAccount": _ADMIN,
        "ListAccounts": _ADMIN,
        "GetAccount": _READ_FOR,
        "UpdateAccount": _ADMIN,
        "DeleteAccount": _ADMIN,
        "CreateToken": frozenset({ADMIN, USER}),
        "ListTokens": frozenset({ADMIN, USER}),
        "RevokeToken": frozenset({ADMIN, USER}),
        "GetIdentity": _ALL,
        "ResolveToken": frozenset({SERVICE}),
        "WatchRevocations": frozenset({SERVICE}),
    },
}

RULES: RuleTable = {
    f"/modelyard.v1.{service}/{rpc}": roles
    for service, rpcs in _BY_SERVICE.items()
    for rpc, roles in rpcs.items()
}
