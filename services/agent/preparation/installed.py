"""Packages that this interpreter has already, as an environment of their own: for nodes that reach no package index.

Owns which distributions satisfy requirements, with all that those need, and putting their files into another
environment. Takes nothing that is not asked for, and nothing whose files are not all known.
"""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


class NotInstalled(Exception):
    """Something that is required is not here, or not in that version; the message names it."""


def satisfying(requirements: str) -> list[metadata.Distribution]:
    """Distributions of this interpreter that are all that a requirements file asks for, by name.

    Raises NotInstalled, also for what a file may say besides names and versions: options, addresses, files.
    """
    found: dict[str, metadata.Distribution] = {}
    wanted = [_requirement(line) for line in requirements.splitlines() if line.partition("#")[0].strip()]
    seen: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        if str(requirement) in seen or not _applies(requirement, ("",)):
            continue
        seen.add(str(requirement))
        name = canonicalize_name(requirement.name)
        distribution = found[name] = found.get(name) or _distribution(requirement)
        if not requirement.specifier.contains(distribution.version, prereleases=True):
            raise NotInstalled(f"{requirement} is wanted, and {distribution.version} is here")
        extras = ("", *requirement.extras)
        needs = (Requirement(text) for text in distribution.requires or ())
        wanted += [_without_marker(need) for need in needs if _applies(need, extras)]
    return [found[name] for name in sorted(found)]


def put(distributions: Iterable[metadata.Distribution], environment: Path) -> None:
    """Copies of their files: whoever writes into the environment must not change this interpreter's. Programs of
    theirs in bin/ are left out. Raises OSError."""
    target = site_packages(environment)
    for distribution in distributions:
        for file in distribution.files or ():
            if ".." in file.parts or file.is_absolute() or "__pycache__" in file.parts:
                continue
            source, place = Path(str(distribution.locate_file(file))), target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)


def lock_of(distributions: Iterable[metadata.Distribution]) -> str:
    """What they are, as a requirements file."""
    return "".join(f"{canonicalize_name(one.name)}=={one.version}\n" for one in distributions)


def site_packages(environment: Path) -> Path:
    """Of an environment of this interpreter's version."""
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))


def _requirement(line: str) -> Requirement:
    text = line.partition(" #")[0].strip()
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise NotInstalled(f"{text}: {error}") from None
    if requirement.url:
        raise NotInstalled(f"{text} names an address")
    return requirement


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    place = {name: str(value) for name, value in default_environment().items()}
    return marker is None or any(marker.evaluate({**place, "extra": extra}) for extra in extras)


def _without_marker(requirement: Requirement) -> Requirement:
    """It has been found to apply."""
    requirement.marker = None
    return requirement


def _distribution(requirement: Requirement) -> metadata.Distribution:
    try:
        distribution = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        raise NotInstalled(f"{requirement.name} is not installed") from None
    direct = distribution.read_text("direct_url.json") or ""
    if distribution.read_text("RECORD") is None or '"editable":true' in direct.replace(" ", ""):
        raise NotInstalled(f"{requirement.name} is installed in a way that says not which files are its own")
    return distribution
