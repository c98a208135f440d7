"""In whose name the scheduler refers to artefacts at the store. Pure."""

import hashlib
from collections.abc import Iterable


def holder_of(account: str, digests: Iterable[str]) -> str:
    """Who refers to a set of artefacts for an account's specifications; empty: there is nothing to refer to."""
    named = "\0".join(sorted(set(digests)))
    return "inputs:" + hashlib.sha256(f"{account}\0{named}".encode()).hexdigest()[:32] if named else ""


def old_holder_of(account: str, body: bytes) -> str:
    """Of a specification that was submitted when each referred for itself."""
    return "spec:" + hashlib.sha256(account.encode() + b"\0" + body).hexdigest()[:32]
