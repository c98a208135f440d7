"""The Python client: `Client` for asyncio and its plain twin `SyncClient`.

    async with Client() as yard:
        answer = await yard.call("echo", value=1)

Owns the words of the client; `protos/modelyard/v1` is the contract it speaks.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.client.aio import Client
    from modelyard.client.outcomes import TaskFailed
    from modelyard.client.sync import SyncClient

__all__ = ["Client", "SyncClient", "TaskFailed"]

_HOMES = {"Client": "aio", "SyncClient": "sync", "TaskFailed": "outcomes"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'modelyard.client' has no attribute {name!r}")
    return getattr(import_module(f"modelyard.client.{_HOMES[name]}"), name)
