"""The address cache as agents and watchers are told of it (S3.6, S3.7; the edge).

What is local in it differs by who is told: the port of a local address is one of the seat that connects.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from modelyard.training.rendering.forwards import locals_of
from modelyard.training_messages import address_message
from modelyard.v1 import framework_pb2, seat_pb2
from services.trainer.state.jobs import Instance, Key, LiveJob


def address_of(live: LiveJob, key: Key, told: Instance | None = None) -> framework_pb2.InstanceAddress:
    """Where one is, for the instance that is told; without a node: nowhere."""
    one, name = live.instances[key], f"{key[0].replace('_', '-')}-{key[1]}.j-{live.job.number}"
    port = told.address.forward_port if told is not None and told.address is not None else 0
    local = locals_of(live.plan.forwarded, *key, port)
    if one.address is None:
        return framework_pb2.InstanceAddress(
            role=one.role, index=one.index, epoch=one.epoch, name=name, local=local
        )
    return address_message(
        one.role, one.index, name, msgspec.structs.replace(one.address, epoch=one.epoch), local
    )


class Cache:
    """Of one job, within one step."""

    def __init__(self, live: LiveJob) -> None:
        self._live = live
        self._common: list[framework_pb2.InstanceAddress] | None = None

    def told_to(self, instance: Instance) -> seat_pb2.PublishAddresses:
        """Where everybody is, for one of them."""
        live = self._live
        if live.plan.forwarded:
            addresses = [address_of(live, key, instance) for key in live.instances]
        else:
            if self._common is None:
                self._common = [address_of(live, key) for key in live.instances]
            addresses = self._common
        return seat_pb2.PublishAddresses(revision=live.job.address_revision, addresses=addresses)

    def commands(self, spared: Iterable[str]) -> list[tuple[str, seat_pb2.SeatCommand]]:
        """What nodes are told when it has changed; `spared`: tasks of seats that were told already."""
        spared = frozenset(spared)
        return [
            (one.address.node, seat_pb2.SeatCommand(task_id=one.task, addresses=self.told_to(one)))
            for one in self._live.instances.values()
            if one.state.has_processes and one.address is not None and one.task not in spared
        ]
