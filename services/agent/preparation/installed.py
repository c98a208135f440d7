"""Packages that this interpreter has already, as an environment of their own: for nodes that reach no package index.

Owns which distributions satisfy requirements, with all that those need, and putting their files into another
environment. Takes nothing that is not asked for, and nothing whose files are not all known.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
import threading
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_SAME = {
    "xgboost": ("xgboost-cpu",),
    "tensorflow": ("tensorflow-cpu",),
    "onnxruntime": ("onnxruntime-gpu",),
    "opencv-python": ("opencv-python-headless",),
    "psycopg2": ("psycopg2-binary",),
}
"""Distributions that are built of the same source, in the same versions, and bring the same modules."""

_WITH_BYTECODE = ".with-bytecode"
_COMPILED_LEAST = 0.9
"""Of its sources; the rest is for other versions of Python, and is not imported."""

_copying = threading.Lock()
"""Several environments are made at a time, and have much in common."""


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


def put(distributions: Iterable[metadata.Distribution], environment: Path, kept: Path) -> bool:
    """Their files, in the environment; whether all of their bytecode came along, which else has to be made.

    Each is copied once, into `kept`, since whoever writes into an environment must not change this interpreter's; what
    environments have of it are links to the copy, as uv's are to its cache. Programs of theirs in bin/ are left out.
    Raises OSError.
    """
    target, is_whole = site_packages(environment), True
    for distribution in distributions:
        source = kept / f"{canonicalize_name(distribution.metadata['Name'])}-{distribution.version}"
        with _copying:
            if not source.exists():
                _copy(distribution, source)
        shutil.copytree(source, target, copy_function=_linked, dirs_exist_ok=True)
        is_whole = is_whole and (source / _WITH_BYTECODE).exists()
    (target / _WITH_BYTECODE).unlink(missing_ok=True)
    return is_whole


def _copy(distribution: metadata.Distribution, place: Path) -> None:
    """All or nothing. Bytecode comes along, and holds: a copy has the time of its source."""
    half = place.with_name(f"{place.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    sources, compiled = 0, 0
    for file in distribution.files or ():
        source = Path(str(distribution.locate_file(file)))
        is_compiled = "__pycache__" in file.parts
        if ".." in file.parts or file.is_absolute() or (is_compiled and not source.exists()):
            continue
        sources, compiled = sources + (file.suffix == ".py"), compiled + is_compiled
        (half / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, half / file)
    if compiled >= sources * _COMPILED_LEAST:
        (half / _WITH_BYTECODE).touch()
    half.rename(place)


def _linked(source: str, target: str) -> None:
    """One file of two packages is that of the later."""
    Path(target).unlink(missing_ok=True)
    os.link(source, target)


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
    names = (requirement.name, *_SAME.get(canonicalize_name(requirement.name), ()))
    distribution = next((known for known in map(_known, names) if known is not None), None)
    if distribution is None:
        raise NotInstalled(f"{requirement.name} is not installed")
    direct = distribution.read_text("direct_url.json") or ""
    if distribution.read_text("RECORD") is None or '"editable":true' in direct.replace(" ", ""):
        raise NotInstalled(f"{requirement.name} is installed in a way that says not which files are its own")
    return distribution


def _known(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
