"""Frameworks, problems and rendered instances as messages of the contract. Decides nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from modelyard.documents.problems import Kind, Problem
from modelyard.training.frameworks.framework import COUNT_MOST, Framework, Param, ParamType, Role
from modelyard.training.plans.preview import Preview
from modelyard.training.policies.readiness import Dependency, Readiness
from modelyard.training.rendering.scope import Address
from modelyard.v1 import framework_pb2

_PARAM_TYPES = {
    kind: framework_pb2.FrameworkParamType.Value(f"FRAMEWORK_PARAM_TYPE_{kind.name}") for kind in ParamType
}
_KINDS = {
    Kind.JOB: framework_pb2.TRAINING_DOCUMENT_KIND_JOB,
    Kind.FRAMEWORK: framework_pb2.TRAINING_DOCUMENT_KIND_FRAMEWORK,
    Kind.SOURCE: framework_pb2.TRAINING_DOCUMENT_KIND_SOURCE,
}


def framework_message(
    framework: Framework, origin: framework_pb2.FrameworkOrigin.ValueType
) -> framework_pb2.Framework:
    """Without its document and without what only a service knows."""
    status = framework.job_status
    return framework_pb2.Framework(
        id=framework.id,
        version=framework.version,
        origin=origin,
        summary=framework.summary,
        digest=hashlib.sha256(framework.source.encode()).hexdigest() if framework.source else "",
        params=map(_param, framework.params),
        roles=[_role(role, framework) for role in framework.roles],
        succeeded_policy=str(status.succeeded),
        failed_policy=str(status.failed),
    )


def _param(param: Param) -> framework_pb2.FrameworkParam:
    return framework_pb2.FrameworkParam(
        name=param.name,
        type=_PARAM_TYPES[param.type],
        default_json="" if param.default is None else json.dumps(param.default),
        summary=param.summary,
        choices_json=map(json.dumps, param.choices),
    )


def _role(role: Role, framework: Framework) -> framework_pb2.FrameworkRole:
    count = role.count
    return framework_pb2.FrameworkRole(
        name=role.name,
        summary=role.summary,
        default_count=count.default,
        min_count=count.least,
        max_count=0 if count.most >= COUNT_MOST else count.most,
        is_elastic=count.is_elastic,
        has_command=role.has_command,
        is_endless=role.policy.is_endless,
        ports=[port.name for port in role.address()],
        dependencies=[dependency_message(edge, framework) for edge in role.depend()],
        restart_scope=str(role.restarts.scope),
        max_restarts=role.restarts.most,
    )


def dependency_message(edge: Dependency, framework: Framework | None = None) -> framework_pb2.RoleDependency:
    """With what the other role calls ready, where the edge asks for no more and the framework is given."""
    peer = framework.role(edge.role) if framework else None
    until = peer.ready() if peer and edge.until.kind.value == "ready" else edge.until
    return framework_pb2.RoleDependency(
        role=edge.role,
        kind=_kind(until),
        detail=until.detail,
        quorum=str(edge.quorum),
        timeout_s=edge.timeout_s,
    )


def _kind(sign: Readiness) -> framework_pb2.ReadinessKind.ValueType:
    return framework_pb2.ReadinessKind.Value(f"READINESS_KIND_{sign.kind.name}")


def problem_messages(problems: Iterable[Problem]) -> list[framework_pb2.TrainingProblem]:
    """In their order."""
    return [
        framework_pb2.TrainingProblem(
            reason=problem.reason.value, message=problem.message, path=problem.path, line=problem.line,
            column=problem.column, next_step=problem.next_step, kind=_KINDS[problem.kind],
        )
        for problem in problems
    ]  # fmt: skip


def address_message(
    role: str, index: int, name: str, address: Address, local: Mapping[str, str] | None = None
) -> framework_pb2.InstanceAddress:
    """Where an instance is reached; `local`: by port, at the one that is told."""
    return framework_pb2.InstanceAddress(
        role=role, index=index, epoch=address.epoch, name=name, host=address.host, ip=address.ip,
        ports=dict(address.ports), node=address.node, local=local,
    )  # fmt: skip


def instance_message(preview: Preview) -> framework_pb2.RenderedInstance:
    """One instance as it would be started."""
    launch: Any = preview.launch
    return framework_pb2.RenderedInstance(
        role=preview.role,
        index=preview.index,
        address=address_message(preview.role, preview.index, preview.name, preview.address),
        processes=[
            framework_pb2.RenderedProcess(argv=each.argv, env=each.env, stdin=each.stdin)
            for each in launch.processes
        ],
        files=[
            framework_pb2.RenderedFile(path=each.path, content=each.content, is_executable=each.is_executable)
            for each in launch.files
        ],
        dependencies=map(dependency_message, preview.edges),
    )
