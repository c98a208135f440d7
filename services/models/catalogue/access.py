"""Who may do what with a model (S0.9). Pure.

The owner may do everything, whom the owner let in what their role says, administrators everything, services what the
account may on whose behalf they come. Who may not even see a model is told that there is none.
"""

from __future__ import annotations

from services.chassis.security import ADMIN, Principal
from services.models.catalogue.model import ModelForbidden, ModelNotFound, Role
from services.models.catalogue.state import Model

EVERYBODY = "*"
_ROLES = list(Role)
_ALLOWS = {Role.VIEWER: "see", Role.CALLER: "call", Role.MANAGER: "manage"}


def role_of(account: str, model: Model) -> Role | None:
    """What an account may do; None: not even see it."""
    if account == model.account:
        return Role.MANAGER
    found = [model.access[name] for name in (account, EVERYBODY) if name in model.access]
    return max(found, key=_ROLES.index, default=None)


def may(account: str, model: Model, role: Role) -> bool:
    """Whether it may do what the role may."""
    own = role_of(account, model)
    return own is not None and _ROLES.index(own) >= _ROLES.index(role)


def require(caller: Principal, model: Model | None, name: str, role: Role) -> Model:
    """The model. Raises ModelNotFound, ModelForbidden."""
    if model is not None and caller.role == ADMIN:
        return model
    own = role_of(caller.account, model) if model is not None else None
    if model is None or own is None:
        raise missing_model(name)
    if _ROLES.index(own) < _ROLES.index(role):
        raise ModelForbidden(
            f"account {caller.account} may {_ALLOWS[own]} {model.name}, not {_ALLOWS[role]} it", field="model",
            next_step=f"ask {model.account} for it: yard model share {model.name} {caller.account}:{role.value}",
            metadata={"role": own.value, "needed": role.value},
        )  # fmt: skip
    return model


def require_owner(caller: Principal, model: Model) -> None:
    """Raises ModelForbidden: who else may do what is the owner's to say."""
    if caller.role != ADMIN and caller.account != model.account:
        raise ModelForbidden(
            f"{model.name} is {model.account}'s", field="name", next_step=f"ask {model.account} to do it"
        )


def missing_model(name: str, field: str = "model") -> ModelNotFound:
    return ModelNotFound(
        f"there is no model {name[:100]!r}, or it is not yours to see", field=field, next_step="yard model ls"
    )
