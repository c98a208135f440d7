"""Who this machine is to an image's registry, as `docker login` and `podman login` have kept it.

Owns which file and which entry holds for an image, and the header by which engines are told; they do not read the files
themselves. Nothing is kept here, and what is secret is in no message.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HUB, _HUB_KEY = "docker.io", "https://index.docker.io/v1/"
_HELPER_S = 20.0
_NONE_FOUND = "credentials not found"
"""Of every helper, in these words."""
_TOKEN_USER = "<token>"


class CredentialsUnreadable(Exception):
    """There are some, and they cannot be had; the message says where, and never what."""


def registry_of(image: str) -> str:
    """ "127.0.0.1:5000" of "127.0.0.1:5000/a/b:1"; of "a/b" the Docker Hub."""
    head, slash, _ = image.partition("/")
    return head if slash and ("." in head or ":" in head or head == "localhost") else HUB


def header(image: str, environ: Mapping[str, str]) -> str:
    """X-Registry-Auth for this image; empty: nobody is logged in there. Runs a helper that a file names, so it may
    block. Raises CredentialsUnreadable."""
    for path in files(environ):
        if found := _in_file(path, image, environ):
            return base64.urlsafe_b64encode(json.dumps(found).encode()).decode()
    return ""


def files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Where it may stand, the first to be believed first."""
    home = Path(environ.get("HOME") or Path("~").expanduser())
    yield Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(named)
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"


def _in_file(path: Path, image: str, environ: Mapping[str, str]) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        # Somebody else's home is none of ours to complain about; a file that was named is.
        if isinstance(error, PermissionError) and not _is_named(environ):
            return {}
        raise CredentialsUnreadable(f"{path}: {error}") from error
    try:
        said = json.loads(text)
        registry = registry_of(image)
        if helper := (said.get("credHelpers") or {}).get(registry) or said.get("credsStore"):
            key = _HUB_KEY if registry == HUB else registry
            if found := _of_helper(str(helper), key, environ):
                return {**found, "serveraddress": key}
        return _entry(said.get("auths") or {}, image, path)
    except (ValueError, AttributeError, TypeError) as error:
        raise CredentialsUnreadable(
            f"{path} is not what docker login writes: {type(error).__name__}"
        ) from error


def _is_named(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("DOCKER_CONFIG") or environ.get("REGISTRY_AUTH_FILE"))


def _entry(auths: Mapping[str, Any], image: str, path: Path) -> dict[str, str]:
    """The most particular one: Podman keeps some for a part of a registry."""
    registry = registry_of(image)
    name = image if image.startswith(f"{registry}/") else f"{registry}/{image}"
    known = {_plain(key): (key, value) for key, value in auths.items()}
    while name:
        if name in known:
            key, value = known[name]
            return {**_said(value, path), "serveraddress": key} if value else {}
        name = name.rpartition("/")[0]
    return {}


def _plain(key: str) -> str:
    """A registry's name, however it is written."""
    if key == _HUB_KEY:
        return HUB
    bare = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    return bare.removesuffix("/v1").removesuffix("/v2")


def _said(entry: Mapping[str, Any], path: Path) -> dict[str, str]:
    if token := entry.get("identitytoken"):
        return {"identitytoken": str(token)}
    if entry.get("username"):
        return {"username": str(entry["username"]), "password": str(entry.get("password", ""))}
    try:
        user, _, password = base64.b64decode(entry.get("auth", ""), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise CredentialsUnreadable(f"{path}: an entry of auths is not base64") from error
    return {"username": user, "password": password.rstrip("\0")} if user else {}


def _of_helper(helper: str, key: str, environ: Mapping[str, str]) -> dict[str, str]:
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=key,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=_HELPER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CredentialsUnreadable(
            f"{program} keeps them, and cannot be asked: {type(error).__name__}"
        ) from error
    if done.returncode:
        if _NONE_FOUND in done.stdout or _NONE_FOUND in done.stderr:
            return {}
        raise CredentialsUnreadable(f"{program} keeps them, and ended with code {done.returncode}")
    said = json.loads(done.stdout)
    user, secret = str(said.get("Username", "")), str(said.get("Secret", ""))
    return {"identitytoken": secret} if user == _TOKEN_USER else {"username": user, "password": secret}
