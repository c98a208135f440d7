"""From a plan and addresses to the exact processes and files of an instance. Deterministic; starts nothing. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from modelyard.documents.section import is_inside
from modelyard.training.expressions.grammar import ExpressionError
from modelyard.training.expressions.templates import Template, Tree
from modelyard.training.rendering.creation import PROCESSES_MOST, Create, File
from modelyard.training.rendering.scope import InstanceView

FILES_BYTES_MOST = 8 << 20
"""Of one instance's files."""
LAUNCH_BYTES_MOST = 8 << 20
"""Of one instance's arguments and variables."""


ADDRESSES_FILE = "../addresses.json"
"""From the instance's directory; its agent keeps it up to date: a PublishAddresses as JSON."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process: what is executed, with which variables on top of those that every command of a yard has."""

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    stdin: str = ""


class RenderedFile(msgspec.Struct, frozen=True, kw_only=True):
    """Below the instance's directory, before a process starts."""

    path: str
    content: str
    is_executable: bool = False


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to start an instance."""

    processes: tuple[Process, ...]
    files: tuple[RenderedFile, ...] = ()
    ends_together: bool = True
    imports: tuple[str, ...] = ()


class RenderError(ValueError):
    """An instance cannot be rendered. `path` is below the role: "env.RANK"."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(f"{path}: {message}")
        self.message, self.path = message, path


def made(create: Create, instance: InstanceView) -> Launch:
    """Processes and files of one instance. Raises `RenderError`."""
    names = instance.names()
    files, size = [], 0
    for index, file in enumerate(create.files):
        files.append(_file(file, instance, names, f"files[{index}]"))
        size += len(files[-1].content)
        if size > FILES_BYTES_MOST:
            raise RenderError(f"its files would have more than {FILES_BYTES_MOST} characters", "files")
    parts = sum(len(part.parts) for part in _templates(create)) + 1
    processes, size = [], 0
    for local in range(instance.role.processes):
        _spend(instance, parts, "procs")
        processes.append(_process(create, {**names, "proc": instance.process(local)}))
        size += _size(processes[-1])
        if size > LAUNCH_BYTES_MOST:
            message = f"arguments and variables would have more than {LAUNCH_BYTES_MOST} characters"
            raise RenderError(message, "env")
    return Launch(
        processes=tuple(processes),
        files=tuple(files),
        ends_together=create.ends_together,
        imports=create.imports,
    )


def with_surroundings(launch: Launch, instance: InstanceView, job: Mapping[str, Any]) -> Launch:
    """What every framework's instances get: who they are, where the others are (S3.7), where their checkpoints lie."""
    place = instance.place
    own = {
        "YARD_JOB": str(job["id"]),
        "YARD_ROLE": instance.role.name,
        "YARD_INDEX": str(instance.index),
        "YARD_COUNT": str(instance.role.count),
        "YARD_ADDRESSES": f"{place.directory}/{ADDRESSES_FILE}",
        **{f"YARD_PORT_{name.upper()}": str(port) for name, port in place.ports.items()},
    }
    if job["checkpoint_dir"]:
        own["YARD_CHECKPOINT_DIR"] = str(job["checkpoint_dir"])
    if job["resume_from"]:
        own["YARD_RESUME_FROM"] = str(job["resume_from"])
    processes = (msgspec.structs.replace(each, env={**each.env, **own}) for each in launch.processes)
    return msgspec.structs.replace(launch, processes=tuple(processes))


def telling_stacks(launch: Launch) -> Launch:
    """Python programs say where they stand when they are found hanging, without a line of theirs (S3.8)."""
    processes = (
        msgspec.structs.replace(each, env={"PYTHONFAULTHANDLER": "1", **each.env})
        for each in launch.processes
    )
    return msgspec.structs.replace(launch, processes=tuple(processes))


def _templates(create: Create) -> Iterator[Template]:
    """Those that are filled in for each process."""
    yield from (*create.argv_prepend, *create.argv, *create.argv_append)
    yield from (value for _, value in create.env)
    for _, tree in create.env_json:
        yield from tree.leaves()


def _spend(instance: InstanceView, count: int, path: str) -> None:
    try:
        instance.meter.spend(count)
    except ExpressionError as error:
        raise RenderError(error.message, path) from None


def process_count(create: Create, names: Mapping[str, Any]) -> int:
    """How many run in each instance. Raises `RenderError`."""
    if create.processes is None:
        return 1
    found = _filled(create.processes, names, "procs")
    if isinstance(found, str) and found.isdecimal() and len(found) < 6:
        found = int(found)
    if type(found) is not int or not 1 <= found <= PROCESSES_MOST:
        raise RenderError(f"it is {found!r}, and should be an integer within 1 … {PROCESSES_MOST}", "procs")
    return found


def _process(create: Create, names: Mapping[str, Any]) -> Process:
    parts = (*create.argv_prepend, *create.argv, *create.argv_append)
    words = [_optional(part, names, f"argv[{index}]") for index, part in enumerate(parts)]
    argv = tuple(word for word in words if word is not None)
    said = ((name, _optional(value, names, f"env.{name}")) for name, value in create.env)
    env = {name: value for name, value in said if value is not None}
    for name, tree in create.env_json:
        env[name] = _json(tree, names, f"env_json.{name}")
    stdin = _text(create.stdin, names, "stdin") if create.stdin else ""
    for name, value in env.items():
        if "\0" in value:
            raise RenderError("it has a character that no variable can hold", f"env.{name}")
    return Process(argv=argv, env=env, stdin=stdin)


def _file(file: File, instance: InstanceView, names: Mapping[str, Any], path: str) -> RenderedFile:
    target = _text(file.path, names, f"{path}.path")
    if not is_inside(target):
        raise RenderError(f"{target[:80]!r} does not stay below the directory", f"{path}.path")
    if file.json is not None:
        content = _json(file.json, names, f"{path}.json") + "\n"
    elif file.each and file.line is not None:
        peers = _peers(file, instance, path)
        _spend(instance, len(peers) * len(file.line.parts), f"{path}.each")
        lines = [_text(file.line, {**names, "it": peer}, f"{path}.line") + "\n" for peer in peers]
        content = "".join(lines)
    else:
        content = _text(file.content, names, f"{path}.content") if file.content else ""
    return RenderedFile(path=target, content=content, is_executable=file.is_executable)


def _peers(file: File, instance: InstanceView, path: str) -> list[InstanceView]:
    try:
        return instance.peers(file.each)
    except ExpressionError as error:
        raise RenderError(error.message, f"{path}.each") from None


def _text(template: Template, names: Mapping[str, Any], path: str) -> str:
    try:
        return template.text(names)
    except ExpressionError as error:
        raise RenderError(error.message, path) from None


def _optional(template: Template, names: Mapping[str, Any], path: str) -> str | None:
    """None where the text is one expression that comes to nothing: then it is left out."""
    is_value = len(template.parts) == 1 and not isinstance(template.parts[0], str)
    if is_value and _filled(template, names, path) is None:
        return None
    return _text(template, names, path)


def _filled(template: Template, names: Mapping[str, Any], path: str) -> Any:
    try:
        return template.value(names)
    except ExpressionError as error:
        raise RenderError(error.message, path) from None


def _json(tree: Tree, names: Mapping[str, Any], path: str) -> str:
    try:
        return json.dumps(tree.value(names))
    except ExpressionError as error:
        raise RenderError(error.message, path) from None


def _size(process: Process) -> int:
    return sum(map(len, process.argv)) + sum(len(name) + len(value) for name, value in process.env.items())
