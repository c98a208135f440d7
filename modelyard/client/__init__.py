"""The Python client: `Client` for asyncio and its plain twin `SyncClient`.

    async with Client() as yard:
        answer = await yard.call("echo", value=1)

Owns the words of the client; `protos/modelyard/v1` is the contract it speaks.
"""

from modelyard.client.aio import Client
from modelyard.client.outcomes import TaskFailed
from modelyard.client.sync import SyncClient

__all__ = ["Client", "SyncClient", "TaskFailed"]
