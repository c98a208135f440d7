"""What a job file may ask for that this trainer does not do: it is refused, never ignored."""

from collections.abc import Iterator

from modelyard.training import Plan, ReadinessKind
from services.chassis.errors import Unimplemented


class JobWishUnmet(Unimplemented):
    """The trainer cannot do this yet."""


def check(plan: Plan) -> None:
    """Raises JobWishUnmet for the first thing that would not happen."""
    for field, what in _unmet(plan):
        raise JobWishUnmet(f"{what} is not done by this trainer yet", field=field, next_step="leave it out")


def _unmet(plan: Plan) -> Iterator[tuple[str, str]]:
    for role in plan.roles:
        is_asked = any(sign.kind is ReadinessKind.FUNCTION for sign in plan.signs(role.name))
        if is_asked and "check" not in role.role.coded:
            yield f"roles.{role.name}", "readiness by a function of a framework that has no code"
