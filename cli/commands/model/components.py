"""`yard model`: what a trained file takes and gives, found out without running any of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.documents import read_document
from cli.errors import CommandError, UsageError
from cli.invocation import Invocation, command, new_part
from cli.output.render import show_document, to_document

if TYPE_CHECKING:
    from modelyard.models import Determined, Facts, Inspection

part = new_part()


@command(part)
def inspect(
    yard: Invocation,
    component: Annotated[Path, typer.Argument(help="A trained file, or a directory with one")],
    config: Annotated[
        str, typer.Option(help="A model.yaml with what you know, any part; - reads stdin")
    ] = "",
    file: Annotated[str, typer.Option(help="Which of several files is loaded first")] = "",
) -> int:
    """Print the model.yaml of a component. Nothing of it is run, and no yard is needed."""
    from modelyard.model_messages import described

    found, inspection = _determined(component, _declared(config), file)
    for warning in found.warnings:
        yard.say(f"note: {warning}")
    if yard.output != "table":
        show_document(yard.output, to_document(described(found, inspection)))
    elif found.config is not None:
        from modelyard.models import write_config

        sys.stdout.write(write_config(found.config, found.facts))
    else:
        _tell(yard, found)
    return exit_codes.DONE if found.config is not None else exit_codes.INVALID_SPECIFICATION


@command(part)
def schema(yard: Invocation) -> int:
    """Print the JSON Schema of model.yaml, for editors."""
    from modelyard.models.schemas import text_of

    sys.stdout.write(text_of())
    return exit_codes.DONE


def _tell(yard: Invocation, found: Determined) -> None:
    """Why there is no model.yaml."""
    for refusal in found.refusals:
        yard.say(f"cannot be served: {refusal}")
    if found.refusals:
        return
    for question in found.questions:
        yard.say(f"not known: {question.field}: {question.question} ({question.why})")
    if any(question.is_probed for question in found.questions):
        yard.say("a run on an example would tell; until then say it in a file:")
    elif found.questions:
        yard.say("only you know it; say it in a file:")
    if found.questions:
        yard.say("  inputs: [{name: x, datatype: FP32, shape: [-1, 4]}]   and give it with --config")


def _declared(file: str) -> Facts:
    from modelyard.documents.problems import Refused
    from modelyard.models import read_config

    if not file:
        return {}
    try:
        return read_config(read_document(file))
    except Refused as refused:
        raise CommandError(
            "\n".join(f"{file}:{problem}" for problem in refused.problems),
            code=exit_codes.INVALID_SPECIFICATION,
        ) from refused


def _determined(component: Path, declared: Facts, file: str) -> tuple[Determined, Inspection]:
    from modelyard.inspection import ComponentUnknown, LibraryMissing, inspect_component
    from modelyard.models import determine

    said = declared.get("component.file")
    try:
        inspection = inspect_component(component, file or (said.value if said is not None else ""))
        size = sum(one.stat().st_size for one in _files(component))
    except ComponentUnknown as error:
        raise CommandError(f"{component}: {error}", code=exit_codes.INVALID_SPECIFICATION) from error
    except LibraryMissing as error:
        raise CommandError(str(error), code=exit_codes.WORK_FAILED) from error
    except OSError as error:
        raise UsageError(f"{component}: {error.strerror}", next_step="give a file or a directory") from error
    name = component.resolve().name.removesuffix(component.suffix)
    return determine(declared, inspection, name=name, size_bytes=size), inspection


def _files(component: Path) -> list[Path]:
    return [one for one in component.rglob("*") if one.is_file()] if component.is_dir() else [component]
