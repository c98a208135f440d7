"""What the store knows of where artefacts come from and where they went: who refers to them, by the holder's name.

Who holds says what it is: the tasks, jobs and versions themselves are others'. Canvases that name a directory are left
out: the tasks that ran in it are meant, not all that ran of the canvas. Reads; changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from modelyard.v1 import lineage_pb2 as pb
from services.chassis.rpc.lineage import DOWN, UP, Ask, Found, Source, link, thing
from services.chassis.security import ADMIN
from services.store.convert import digest_of
from services.store.model import Artifact, ArtifactNotFound
from services.store.store import Store

_JOB_CHECKPOINT = re.compile(r"job:(j-\d+)/(.+)")
_JOB_KEPT = re.compile(r"user:(j-\d+)")
_PLAIN = re.compile(r"(task|run|sweep):([trs]-[\d.]+)")
_MODEL = re.compile(r"model:([^:]+:\d+)")
_PLAIN_KINDS: dict[str, tuple[pb.ThingKind.ValueType, str]] = {
    "task": (pb.THING_KIND_TASK, "output"),
    "run": (pb.THING_KIND_RUN, "result"),
    "sweep": (pb.THING_KIND_SWEEP, "kept"),
}


class ArtifactLineage:
    """Of an account's artefacts; administrators see those of all."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def sources(self) -> Mapping[int, Source]:
        return {pb.THING_KIND_ARTIFACT: self.artifact}

    async def artifact(self, ask: Ask) -> Found:
        """Raises ArtifactNotFound, DigestInvalid."""
        digest = digest_of(ask.id)
        account = None if ask.caller.role == ADMIN else ask.caller.account
        found, holders = await self._store.referred(account, digest, ask.cursor, ask.most + 1)
        if found is None:
            raise ArtifactNotFound
        cursor = holders[ask.most - 1] if len(holders) > ask.most else ""
        return Found(_thing(found), [*_links(holders[: ask.most], digest)], cursor)


def _thing(artifact: Artifact) -> pb.Thing:
    return thing(
        pb.THING_KIND_ARTIFACT, artifact.digest, name=artifact.name, state=f"{artifact.size_bytes} bytes",
        time_ms=artifact.create_time_ms, account=artifact.account,
    )  # fmt: skip


def _links(holders: Sequence[str], digest: str) -> Iterator[pb.Link]:
    for holder in holders:
        if match := _PLAIN.fullmatch(holder):
            kind, relation = _PLAIN_KINDS[match[1]]
            yield link(UP, thing(kind, match[2]), relation)
        elif match := _JOB_KEPT.fullmatch(holder):
            yield link(UP, thing(pb.THING_KIND_JOB, match[1]), "kept output")
        elif match := _JOB_CHECKPOINT.fullmatch(holder):
            yield link(UP, thing(pb.THING_KIND_JOB, match[1]), f"checkpoint of {match[2]}")
        elif match := _MODEL.fullmatch(holder):
            yield link(DOWN, thing(pb.THING_KIND_MODEL_VERSION, match[1]), "component")
        elif holder.startswith("inputs:"):
            # Of the set it is this one that is asked for.
            yield link(DOWN, thing(pb.THING_KIND_INPUT_SET, f"{holder}/{digest}"), "input")
