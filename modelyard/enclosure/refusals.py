"""Why an image does not come, in the words of engines and registries: whether that passes, and what is to be done.

Pure. Engines hand on what a registry said as text. The words of Docker were seen; those of containerd and Podman, which
hand on the same of Go's network, were not.
"""

from __future__ import annotations

import re

from modelyard.enclosure.registries import registry_of

_DENIED = ("unauthorized", "denied", "authentication required", "basic auth")
_NOT_A_NAME = ("invalid reference", "invalid tag format")
_UNKNOWN = ("manifest unknown", "not found", "manifest for", "name unknown")
_PASSING = re.compile(
    r"connection refused|connection reset|broken pipe|unexpected eof|\beof$|no route to host|network is unreachable"
    r"|i/o timeout|handshake timeout|connection timed out|client\.timeout exceeded|deadline exceeded"
    r"|temporary failure in name resolution|server misbehaving"
    r"|too ?many ?requests|http (?:429|5\d\d)\b|service unavailable|unavailable"
    r"|internal server error|bad gateway|gateway time-?out",
    re.IGNORECASE,
)
"""The last, of servers, by their names: numbers are ports and digests too. A name that its domain does not have
("no such host") is a definite answer."""


def passing(why: str) -> str:
    """What of it another try may find gone, in its own words; empty: the answer would be the same."""
    if any(word in why.lower() for word in (*_DENIED, *_NOT_A_NAME, *_UNKNOWN)):
        return ""
    found = _PASSING.search(why.strip())
    return found[0] if found else ""


def reach(image: str) -> str:
    """What to do about a registry that is not there."""
    return (
        f"see that the node reaches {registry_of(image)}, or bring the image there: docker pull, docker load"
    )


def next_step(why: str, image: str, *, is_known: bool) -> str:
    """What to do about this answer. ``is_known``: the registry was shown a password."""
    lower, registry = why.lower(), registry_of(image)
    if any(word in lower for word in _DENIED):
        login = f"docker login {registry if registry != 'docker.io' else ''}".strip()
        who = "as who the agent runs there"
        if is_known:
            return f"what this node shows the registry is not accepted: {login} on the node, {who}, or another image"
        return f"if it needs a password: {login} on the node, {who}; or see whether the name is right"
    if any(word in lower for word in _NOT_A_NAME):
        return "write it as for docker pull: NAME:TAG, or NAME@sha256:…, in small letters"
    if any(word in lower for word in _UNKNOWN):
        return "name a tag that its registry has, or bring the image to the node: docker load"
    return reach(image)
