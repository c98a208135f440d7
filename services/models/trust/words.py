"""Whose components may do what opening them does: the server's own lists. Pure.

Said by who runs the service, in its option ``trust`` and in a file (`trust.file`); nothing that a component, its
model.yaml or a caller says is asked. A word is WHO, whose pickles (and archives of torch.export) are opened in frames,
or WHO=TYPE+TYPE, for whom skops constructs these types beside those that it knows as harmless. WHO is an account, one
model of an account (ada/iris), or a component by its digest (sha256:…); `*` with types is everybody.
"""

from __future__ import annotations

import re

import msgspec

from modelyard.models.pickled_names import DANGEROUS, SUSPICIOUS
from modelyard.models.values import Format

EVERYBODY = "*"
_WHO = re.compile(r"[^\s,=+*/]+(/[^\s,=+*/]+)?")
_TYPE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NO_TYPES = frozenset(name for name in DANGEROUS | SUSPICIOUS if "." not in name) | {
    "builtins",
    "inspect",
    "pickle",
    "posixpath",
    "types",
}
"""Modules of whose names none is what a model is made of, and by many of which anything can be called."""

OPENING_RUNS = {
    Format.PICKLE: "opening a pickle runs whatever is in it; keep it as skops or ONNX",
    Format.TORCH_EXPORT: "opening an archive of torch.export unpickles and evaluates whatever is in it; keep it as ONNX"
    " or TorchScript",
}
"""Formats whose files look like data and run as they are opened, and what to do instead. TorchScript, and a class in
Python, are code that says so; code needs no trust, as it is shut in."""


class Trust(msgspec.Struct, frozen=True):
    """What was said."""

    opened: frozenset[str] = frozenset()
    """Who: their pickles and archives of torch.export may be opened."""
    types: dict[str, frozenset[str]] = {}
    """By who."""

    def opens(self, account: str, model: str, digest: str) -> str:
        """Which word lets a component's files be opened though that runs what is in them; empty: none does."""
        return next((who for who in _names(account, model, digest) if who in self.opened), "")

    def constructs(self, account: str, model: str, digest: str) -> tuple[str, ...]:
        """Which types skops may construct for a component beside its own, sorted."""
        found = (self.types.get(who, frozenset()) for who in (EVERYBODY, *_names(account, model, digest)))
        return tuple(sorted(frozenset[str]().union(*found)))


NOBODY = Trust()


def read_trust(text: str) -> Trust:
    """The option. Raises ValueError."""
    opened: set[str] = set()
    types: dict[str, frozenset[str]] = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        who, has_types, said = part.partition("=")
        who = who.strip().removeprefix("sha256:")
        if who == EVERYBODY and not has_types:
            raise ValueError(f"{part!r} would open everybody's pickles; name accounts, models or digests")
        if who != EVERYBODY and not _WHO.fullmatch(who):
            raise ValueError(
                f"{part!r} is not WHO or WHO=TYPE+TYPE, where WHO is ACCOUNT, ACCOUNT/MODEL or sha256:…"
            )
        if not has_types:
            opened.add(who)
            continue
        types[who] = types.get(who, frozenset()) | _types(said, part)
    return Trust(frozenset(opened), types)


def both(one: Trust, other: Trust) -> Trust:
    """What either lets happen."""
    names = one.types.keys() | other.types.keys()
    none = frozenset[str]()
    types = {name: one.types.get(name, none) | other.types.get(name, none) for name in sorted(names)}
    return Trust(one.opened | other.opened, types)


def _types(said: str, part: str) -> frozenset[str]:
    found = frozenset(filter(None, (one.strip() for one in said.split("+"))))
    if not found:
        raise ValueError(f"{part!r} names no type")
    for one in sorted(found):
        if not _TYPE.fullmatch(one):
            raise ValueError(f"{one!r} is no type: write package.module.Class")
        if one.partition(".")[0] in _NO_TYPES:
            raise ValueError(f"{one} can call anything: no model needs it, and it is never trusted")
    return found


def _names(account: str, model: str, digest: str) -> tuple[str, ...]:
    """The words that mean a component, from the widest to the narrowest."""
    return account, f"{account}/{model}", digest
