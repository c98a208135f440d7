"""What is known of instances, as edges and evidence see it (S3.5). Pure."""

from __future__ import annotations

from modelyard.training.policies.readiness import Facts, Readiness
from services.trainer.jobs.acts import Act
from services.trainer.model import InstanceState
from services.trainer.state.jobs import Instance


def facts_of(act: Act, role: str) -> list[Facts]:
    """What is known of a role's instances, by index."""
    signs = act.plan.signs(role)
    return [_facts(instance, signs) for instance in act.live.of_role(role)]


def _facts(instance: Instance, signs: tuple[Readiness, ...]) -> Facts:
    return Facts(
        is_placed=instance.address is not None,
        is_started=instance.is_started and instance.state is InstanceState.RUNNING,
        is_succeeded=instance.state is InstanceState.SUCCEEDED,
        seen=frozenset(signs[number] for number in instance.signs if number < len(signs)),
        metrics=instance.metrics,
    )
