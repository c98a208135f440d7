"""What an account may have in the catalogue, and how many of its calls may be under way at once (S2.5). Pure.

Owns the limits and what is said where one is reached; the numbers are kept where things happen: versions in the
catalogue's state, calls in `calls/flights.py`. 0 is no limit.
"""

from __future__ import annotations

import msgspec

from modelyard.quantities import format_size
from services.chassis.errors import InvalidArgument, ResourceExhausted

LIMIT_MOST = 1 << 62


class ModelQuotaExceeded(ResourceExhausted):
    """The account has as many versions, or bytes of components, as it may."""


class CallQuotaExceeded(ResourceExhausted):
    """As many calls of the account are under way as it may have; repeat in a moment."""


class QuotaInvalid(InvalidArgument):
    """A quota is a number that is not negative; 0 is no limit."""


class Quota(msgspec.Struct, frozen=True):
    """Of one account."""

    max_versions: int = 0
    max_component_bytes: int = 0
    max_calls: int = 0


class Holding(msgspec.Struct, frozen=True):
    """What an account has in the catalogue: versions that it made, each with its component in full."""

    version_count: int = 0
    component_bytes: int = 0


NO_QUOTA = Quota()
FIELDS: tuple[str, ...] = Quota.__struct_fields__
NOTHING = Holding()


def changed(quota: Quota, given: dict[str, int]) -> Quota:
    """With what is given by name. Raises QuotaInvalid."""
    for name, value in given.items():
        if not 0 <= value <= LIMIT_MOST:
            raise QuotaInvalid(f"{name}: {value} is not a number from 0 on", field=name)
    return msgspec.structs.replace(quota, **given)


def check_version(account: str, quota: Quota, holding: Holding, more_bytes: int) -> None:
    """Whether one more version fits. Raises ModelQuotaExceeded."""
    if quota.max_versions and holding.version_count >= quota.max_versions:
        raise ModelQuotaExceeded(
            f"account {account} has {holding.version_count} of {quota.max_versions} versions of models",
            field="model", next_step=_next_step(account, "--max-versions"),
            metadata=_metadata("max_versions", holding.version_count, quota.max_versions, 1),
        )  # fmt: skip
    held, most = holding.component_bytes, quota.max_component_bytes
    if most and held + more_bytes > most:
        raise ModelQuotaExceeded(
            f"the components of account {account} have {format_size(held)} of {format_size(most)}; "
            f"{format_size(more_bytes)} more do not fit",
            field="files", next_step=_next_step(account, "--max-component-bytes"),
            metadata=_metadata("max_component_bytes", held, most, more_bytes),
        )  # fmt: skip


def too_many_calls(account: str, count: int, most: int) -> CallQuotaExceeded:
    """Why one more call is refused."""
    return CallQuotaExceeded(
        f"account {account} has {count} of {most} calls under way",
        field="model_name",
        next_step=f"wait for an answer, or ask an administrator: yard quotas set {account} --max-calls N",
        metadata=_metadata("max_calls", count, most, 1),
    )


def _next_step(account: str, flag: str) -> str:
    return (
        "delete one that nobody needs (yard model rm MODEL:VERSION), or ask an administrator:"
        f" yard quotas set {account} {flag} N"
    )


def _metadata(name: str, used: int, most: int, more: int) -> dict[str, str]:
    return {"quota": name, "used": str(used), "limit": str(most), "wanted": str(more)}
