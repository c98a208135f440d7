"""Passwords of registries, as docker login and podman login keep them: which entry is an image's, and what is told."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.enclosure.registries import CredentialsUnreadable, header, registry_of

ADA = {"auth": base64.b64encode(b"ada:a:b").decode()}


def shown(folder: Path, image: str, said: Any, **environ: str) -> Any:
    """What an engine is shown for an image; None: nothing."""
    (folder / "config.json").write_text(said if isinstance(said, str) else json.dumps(said))
    found = header(image, {"DOCKER_CONFIG": str(folder), "HOME": "/nonexistent", **environ})
    return json.loads(base64.urlsafe_b64decode(found)) if found else None


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("python:3.11", "docker.io"),
        ("team/name", "docker.io"),
        ("localhost/a", "localhost"),
        ("host:5000/a/b:1", "host:5000"),
        ("ghcr.io/a@sha256:0", "ghcr.io"),
    ],
)
def test_registry_of_an_image_is_its_first_part_if_that_is_a_host(image: str, registry: str) -> None:
    assert registry_of(image) == registry


@pytest.mark.parametrize(
    ("key", "image"),
    [
        ("host:5000", "host:5000/a:1"),
        ("https://host:5000/v2/", "host:5000/a:1"),
        ("https://index.docker.io/v1/", "python:3.11"),
        ("quay.io/team", "quay.io/team/a:1"),
    ],
)
def test_entry_is_found_however_its_registry_is_written(tmp_path: Path, key: str, image: str) -> None:
    said = {"auths": {key: ADA, "other.io": {"auth": "!"}, "quay.io": {}}}
    assert shown(tmp_path, image, said) == {"username": "ada", "password": "a:b", "serveraddress": key}
    assert shown(tmp_path, "elsewhere.io/a", said) is None


def test_token_is_shown_in_the_place_of_a_password(tmp_path: Path) -> None:
    said = {"auths": {"ghcr.io": {"identitytoken": "t"}}}
    assert shown(tmp_path, "ghcr.io/a", said) == {"identitytoken": "t", "serveraddress": "ghcr.io"}


def test_podmans_file_is_read_where_dockers_has_nothing(tmp_path: Path) -> None:
    other = tmp_path / "auth.json"
    other.write_text(json.dumps({"auths": {"quay.io": ADA}}))
    assert shown(tmp_path, "quay.io/a", {}, REGISTRY_AUTH_FILE=str(other))["username"] == "ada"


def test_helper_is_asked_and_may_know_none(tmp_path: Path) -> None:
    program = tmp_path / "docker-credential-here"
    program.write_text(
        "#!/bin/sh\nread host\n"
        'case $host in known.io) echo \'{"Username": "<token>", "Secret": "t"}\';;\n'
        "gone.io) exit 3;;\n"
        "*) echo credentials not found in native keychain; exit 1;; esac\n"
    )
    program.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    said = {"credsStore": "here", "auths": {"unknown.io": ADA}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path["PATH"])
        assert shown(tmp_path, "known.io/a", said, **path)["identitytoken"] == "t"
        assert shown(tmp_path, "unknown.io/a", said, **path)["username"] == "ada"
        with pytest.raises(
            CredentialsUnreadable, match="docker-credential-here keeps them, and ended with code 3"
        ):
            shown(tmp_path, "gone.io/a", said, **path)
        with pytest.raises(CredentialsUnreadable, match=r"docker-credential-none .* cannot be asked"):
            shown(tmp_path, "known.io/a", {"credHelpers": {"known.io": "none"}}, **path)


@pytest.mark.parametrize("said", ["{", "[]", '{"auths": {"a.io": {"auth": "secret!"}}}', '{"auths": 3}'])
def test_what_cannot_be_read_is_told_by_its_file_and_without_its_content(tmp_path: Path, said: str) -> None:
    with pytest.raises(CredentialsUnreadable, match=r"config\.json") as wrong:
        shown(tmp_path, "a.io/b", said)
    assert "secret" not in str(wrong.value)
