"""What user code imports: operators, the client, and the generated contract.

Owns the short names below and nothing else. Importing it must stay free of everything but the standard
library, because every worker does; a name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.client import Client, SyncClient, TaskFailed
    from modelyard.context import Context, TaskCancelled
    from modelyard.operator.declaration import describe, operator
    from modelyard.operator.failure import OperatorFailed
    from modelyard.operator.ports import File, Input
    from modelyard.reporting import report

__all__ = [
    "Client",
    "Context",
    "File",
    "Input",
    "OperatorFailed",
    "SyncClient",
    "TaskCancelled",
    "TaskFailed",
    "describe",
    "operator",
    "report",
]

_HOMES = {
    "Client": "modelyard.client.aio",
    "SyncClient": "modelyard.client.sync",
    "TaskFailed": "modelyard.client.outcomes",
    "Context": "modelyard.context",
    "TaskCancelled": "modelyard.context",
    "File": "modelyard.operator.ports",
    "Input": "modelyard.operator.ports",
    "OperatorFailed": "modelyard.operator.failure",
    "describe": "modelyard.operator.declaration",
    "operator": "modelyard.operator.declaration",
    "report": "modelyard.reporting",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'modelyard' has no attribute {name!r}")
    return getattr(import_module(home), name)
