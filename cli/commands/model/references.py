"""How versions are named on the command line: model:version, or --version beside the model."""

from __future__ import annotations

from cli.errors import UsageError


def named(text: str, version: str = "") -> tuple[str, str]:
    """Model and version; the version is empty where nobody says it. Raises UsageError where both say another."""
    from modelyard.client.models import reference

    name, found = reference(text)
    if found and version and found != version:
        raise UsageError(f"{text} names version {found}, and --version {version}")
    return name, version or found
