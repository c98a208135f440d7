"""Decides for which account a caller acts and which holders it may use. Pure."""

from services.chassis.security import ADMIN, AGENT, SERVICE, TASK, AccountRequired, Principal
from services.store.model import AccountForbidden, HolderForbidden

USER_HOLDERS = "user:"
"""Holders that people set and remove themselves, to keep what no task refers to."""
_ON_BEHALF = frozenset({AGENT, SERVICE})


def account_for(principal: Principal, asked: str) -> str:
    """The account on which a call acts.

    Agents and services have to say it (AccountRequired) and are believed: the store cannot know whose tasks
    run where. Administrators may name any account. Everyone else acts for their own (AccountForbidden).
    """
    if principal.role in _ON_BEHALF or principal.role == ADMIN:
        account = asked or ("" if principal.role in _ON_BEHALF else principal.account)
        if not account:
            raise AccountRequired(field="account", next_step="Set account in the request.")
        return account
    if asked not in ("", principal.account):
        raise AccountForbidden(
            f"This token speaks for {principal.account}, not for {asked}.",
            field="account",
            next_step="Leave account empty, or use a token of that account.",
        )
    return principal.account


def check_holder(principal: Principal, holder: str) -> None:
    """Raises HolderForbidden unless the caller may set and remove references of this holder.

    A task may use its own (task:<id>), a person those that start with user:, the others any.
    """
    if principal.role in _ON_BEHALF or principal.role == ADMIN:
        return
    if principal.role == TASK:
        if holder != f"task:{principal.task_id}":
            raise HolderForbidden(field="holder", next_step=f"A task uses task:{principal.task_id} or none.")
    elif not holder.startswith(USER_HOLDERS):
        raise HolderForbidden(
            f"A person's holders start with {USER_HOLDERS}",
            field="holder",
            next_step=f"Try {USER_HOLDERS}keep.",
        )


def reach_of(principal: Principal) -> str | None:
    """The one account in which RemoveReferences works for this caller; None: in all of them."""
    return None if principal.role in _ON_BEHALF or principal.role == ADMIN else principal.account
