"""Frameworks whose functions are code, as data for those who do not run that code. Pure.

A controller keeps plug-ins out of its process. Where a package's code runs, `as_data` makes of its framework what every
framework is, with the names of functions that stay code; `with_code` puts a job's role and that code together again.
Functions that see nothing but the role (address, depend, ready, stop, clean) are asked once, and are data from then on.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from modelyard.training.frameworks.framework import Framework, Role

ASKED = frozenset({"create", "check", "restart", "status"})
"""Of roles: those that see something of a job."""
_ONCE = {"address": "ports", "depend": "edges", "ready": "readiness", "stop": "stopping", "clean": "cleaning"}

T = TypeVar("T", Role, Framework)


def as_data(framework: Framework) -> Framework:
    """The same framework; what remains code is named in `coded`. Runs the package's functions: raises what they do."""
    coded = frozenset({"status"}) if type(framework).status is not Framework.status else frozenset[str]()
    return _plain(framework, Framework, roles=tuple(map(_role_as_data, framework.roles)), coded=coded)


def with_code(role: Role, own: Role) -> Role:
    """A package's role with what a job says laid over it."""
    names = [name for name in Role.__struct_fields__ if name != "coded"]
    return msgspec.structs.replace(own, **{name: getattr(role, name) for name in names})


def _role_as_data(role: Role) -> Role:
    coded = frozenset(name for name in ASKED if getattr(type(role), name) is not getattr(Role, name))
    answered = {
        field: getattr(role, name)()
        for name, field in _ONCE.items()
        if getattr(type(role), name) is not getattr(Role, name)
    }
    return _plain(role, Role, **answered, coded=coded)


def _plain(value: T, kind: type[T], **fields: Any) -> T:
    """Without what a subclass adds."""
    found = {name: getattr(value, name) for name in kind.__struct_fields__}
    return kind(**{**found, **fields})
