"""`yard graph import` and `export`: canvases of other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import UsageError
from cli.invocation import Invocation, command, new_part
from cli.output.render import show_one
from cli.projects import Project, Version, found_or_made, project_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelyard.v1 import canvas_pb2

part = new_part()

FORMATS = "canvas|comfyui|comfyui-api|react-flow|wfformat|elyra|kfp"
FINDINGS_SHOWN = 30


@command(part, "import")
async def import_(
    yard: Invocation,
    file: Annotated[str, typer.Argument(help="Another tool's document; - reads stdin")],
    into: Annotated[
        str, typer.Option(help="Save it as a new version of this project", show_default="only convert")
    ] = "",
    format: Annotated[str, typer.Option(help=FORMATS, show_default="found out")] = "",
    parent: Annotated[int, typer.Option(help="The version that it replaces", show_default="the latest")] = -1,
    to: Annotated[str, typer.Option(help="Where to write the canvas", show_default="stdout")] = "-",
    bundle: Annotated[
        str,
        typer.Option(metavar="DIR", help="The directory with the scripts and files that its commands expect"),
    ] = "",
) -> None:
    """Read a canvas of another tool. What was not understood is told; nothing of the document is executed."""
    from cli.output.graphs import version_name, write_hints, write_problems

    if bundle and not Path(bundle).is_dir():
        raise UsageError(f"--bundle {bundle}: there is no such directory")
    content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    async with yard.client() as client:
        project = await found_or_made(client, into) if into else None
        base = 0 if project is None else project.latest_version if parent < 0 else parent
        digest = await client.artifacts.bundle(bundle) if bundle else ""
        answer = await client.projects.import_(
            content, format=format, project=project.id if project else "", parent=base, bundle_digest=digest
        )
    write_findings(answer.findings)
    write_needs(answer.bundle_needs, bundle)
    write_hints(answer.hints)
    if yard.output != "table":
        show_one(yard.output, answer, (), lambda item: version_name(item.version))
    elif project is not None:
        sys.stdout.write(version_name(answer.version) + "\n")
        write_problems(answer.problems)
        yard.say(f"read as {answer.format}; next: yard graph show {answer.version.project_id}")
    else:
        _write(answer.canvas_json.encode() + b"\n", to)
        yard.say(f"read as {answer.format}; to keep it: yard graph import {file} --into NAME")


@command(part)
async def export(
    yard: Invocation,
    project: Project,
    version: Version = 0,
    format: Annotated[str, typer.Option(help=f"{FORMATS}|svg")] = "canvas",
    to: Annotated[str, typer.Option(help="Where to write it", show_default="stdout")] = "-",
) -> None:
    """Write a version in another tool's form. Or as a picture; what that form cannot say is told."""
    async with yard.client() as client:
        answer = await client.projects.export(await project_id(client, project), version, format=format)
    write_findings(answer.findings)
    _write(answer.document, to)


def write_findings(findings: Sequence[canvas_pb2.ImportFinding]) -> None:
    """Each with its place, to stderr: stdout has the document."""
    for finding in findings[:FINDINGS_SHOWN]:
        sys.stderr.write(f"{finding.path or 'document'}: {finding.message}\n")
    if len(findings) > FINDINGS_SHOWN:
        sys.stderr.write(f"… {len(findings) - FINDINGS_SHOWN} more; -o json has all of them\n")


def write_needs(needs: Sequence[canvas_pb2.BundleNeed], bundle: str) -> None:
    """Which nodes got the directory and what they will not find there; or that they need one. To stderr."""
    nodes = ", ".join(need.node for need in needs[:FINDINGS_SHOWN])
    if needs and not bundle:
        sys.stderr.write(
            f"{len(needs)} nodes need the document's directory: --bundle DIR gives it to {nodes}\n"
        )
        return
    missing = [
        (need.node, file) for need in needs for file in need.files if not (Path(bundle) / file).exists()
    ]
    for node, file in missing[:FINDINGS_SHOWN]:
        sys.stderr.write(f"{node}: {file} is not in {bundle}: the node will not find it\n")
    if needs:
        sys.stderr.write(f"{bundle} was given to {nodes}\n")


def _write(content: bytes, to: str) -> None:
    if to != "-":
        Path(to).write_bytes(content)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
