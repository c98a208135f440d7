"""Models, versions and configurations as messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from modelyard.model_messages import FORMATS
from modelyard.models import Format, Runtime
from modelyard.v1 import model_pb2 as pb
from services.models.catalogue.model import Role, VersionState
from services.models.catalogue.state import Asked, Lineage, Model, Revision, Version
from services.models.catalogue.store import AliasChange
from services.models.surroundings.association import NoImage, Proved, RuntimeMap
from services.models.trust.words import NOBODY, Trust

STATES = {state: pb.ModelVersionState.Value(f"MODEL_VERSION_STATE_{state.name}") for state in VersionState}
ROLES = {role: pb.ModelRole.Value(f"MODEL_ROLE_{role.name}") for role in Role}
ROLES_BACK = {int(value): role for role, value in ROLES.items()}
_PROVENANCES = {
    word: pb.Provenance.Value(f"PROVENANCE_{word.upper()}")
    for word in ("declared", "inspected", "probed", "default")
}


def model_message(model: Model, latest: int) -> pb.Model:
    message = pb.Model(
        name=model.name, account=model.account, summary=model.summary, labels=model.labels, latest_version=latest,
        revision=model.revision,
    )  # fmt: skip
    for account, role in sorted(model.access.items()):
        message.access.add(account=account, role=ROLES[role])
    for alias, version in sorted(model.aliases.items()):
        message.aliases.add(name=alias, version=version)
    message.create_time.FromMilliseconds(model.create_ms)
    return message


def version_message(
    version: Version,
    *,
    nodes: Iterable[str] = (),
    calls: int = 0,
    last_ms: int = 0,
    trust: Trust = NOBODY,
) -> pb.ModelVersion:
    lineage = version.lineage
    message = pb.ModelVersion(
        model=version.model, version=version.version, state=STATES[version.state], reason=version.reason,
        message=version.message, questions=map(question_message, version.questions),
        config_revision=version.config_revision,
        labels=version.labels, account=version.account, revision=version.revision, nodes=nodes, call_count=calls,
        task_id=version.task, warnings=version.warnings,
        lineage=pb.Lineage(
            job_id=lineage.job_id, run_id=lineage.run_id, task_id=lineage.task_id, part=lineage.part,
            parent=lineage.parent,
        ),
    )  # fmt: skip
    known = version.account, version.model, version.digest
    message.trust.opened_by = trust.opens(*known)
    message.trust.types.extend(trust.constructs(*known))
    message.component.digest, message.component.size_bytes = version.digest, version.size_bytes
    if version.format:
        message.component.format = FORMATS[Format(version.format)]
    for path, digest, size in version.files:
        message.component.files.add(path=path, digest=digest, size_bytes=size)
    message.create_time.FromMilliseconds(version.create_ms)
    if version.ready_ms:
        message.ready_time.FromMilliseconds(version.ready_ms)
    if last_ms:
        message.last_call_time.FromMilliseconds(last_ms)
    return message


def revision_message(revision: Revision, of: Proved, runtimes: RuntimeMap) -> pb.ModelConfigRevision:
    """`of`: which one it is."""
    message = pb.ModelConfigRevision(
        revision=revision.revision, document=revision.document, state=STATES[revision.state], message=revision.message,
        golden_digest=revision.golden_digest, account=revision.account, load_s=revision.load_s,
        memory_bytes=revision.memory_bytes, questions=map(question_message, revision.questions), reason=revision.reason,
    )  # fmt: skip
    for path, (_, provenance, why) in revision.facts.items():
        message.provenance.add(field=path, provenance=_PROVENANCES[str(provenance)], why=str(why))
    message.create_time.FromMilliseconds(revision.create_ms)
    if revision.config is not None:
        _associate(message.association, revision.config.runtime, of, runtimes)
        if message.association.image == revision.image.asked:
            message.association.image_digest = revision.image.digest
    return message


def _associate(message: pb.RuntimeAssociation, runtime: Runtime, of: Proved, runtimes: RuntimeMap) -> None:
    """The container or environment that fits; nothing where none does, which the revision's own message says."""
    try:
        found = runtimes.find(runtime, of)
    except NoImage:
        return
    message.kind, message.image, message.python = found.kind, found.image, found.python
    message.environment_key, message.why = found.environment_key, found.why
    message.resources.cpu, message.resources.gpu = found.cpu, found.gpu
    message.resources.memory_bytes = found.memory_bytes


def question_message(asked: Asked) -> pb.ComponentQuestion:
    return pb.ComponentQuestion(
        field=asked.field, question=asked.question, choices=asked.choices, why=asked.why
    )


def lineage_of(message: pb.Lineage) -> Lineage:
    return Lineage(message.job_id, message.run_id, message.task_id, message.part, message.parent)


def change_messages(changes: Sequence[AliasChange]) -> list[pb.AliasChange]:
    found = []
    for one in changes:
        message = pb.AliasChange(
            alias=one.alias, from_version=one.from_version, to_version=one.to_version, account=one.account,
            comment=one.comment, sequence=one.number,
        )  # fmt: skip
        message.time.FromMilliseconds(one.time_ms)
        found.append(message)
    return found
