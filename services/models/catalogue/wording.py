"""What callers may name things, and how much they may say of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from modelyard.documents.problems import Refused
from modelyard.models import Facts, read_config
from modelyard.models.reading import MODEL_NAME
from services.chassis.errors import InvalidArgument
from services.models.catalogue.model import AliasInvalid

CONFIG_BYTES_MOST = 512 << 10
TEXT_LENGTH = 2_000
LABELS_MOST = 64
LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
LABEL_LENGTH = 256
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,63}")
_LINEAGE = {
    "job_id": re.compile(r"j-[0-9]{1,15}"),
    "run_id": re.compile(r"r-[0-9]{1,15}"),
    "task_id": re.compile(r"t-[0-9]{1,15}(\.[0-9]{1,9})?"),
}


class ModelNameInvalid(InvalidArgument):
    """A model's name has letters, digits, '.', '_' and '-', at most 100."""


class LabelsInvalid(InvalidArgument):
    """A label has a name and a value that people can read."""


class TextTooLong(InvalidArgument):
    """A text is longer than it may be."""


class LineageInvalid(InvalidArgument):
    """Where a version comes from is named by a job, a run or a task."""


class ConfigInvalid(InvalidArgument):
    """The model.yaml has errors; all of them are told."""


def check_model_name(name: str, field: str = "model") -> str:
    """Raises ModelNameInvalid."""
    if not MODEL_NAME.fullmatch(name):
        raise ModelNameInvalid(
            f"{name[:80]!r} is no name of a model: letters, digits, '.', '_' and '-', at most 100", field=field,
            next_step="yard model push FILE --name NAME",
        )  # fmt: skip
    return name


def check_alias(name: str) -> str:
    """Raises AliasInvalid."""
    if not _ALIAS.fullmatch(name) or name.isdecimal():
        raise AliasInvalid(
            f"{name[:80]!r} is no alias: letters, digits, - and _, and no number", field="alias"
        )
    return name


def check_labels(labels: Mapping[str, str], field: str = "labels") -> dict[str, str]:
    """Raises LabelsInvalid."""
    if len(labels) > LABELS_MOST:
        raise LabelsInvalid(f"{len(labels)} labels are more than {LABELS_MOST}", field=field)
    for name, value in labels.items():
        if not LABEL_NAME.fullmatch(name):
            raise LabelsInvalid(f"{name[:80]!r} is no name of a label", field=field)
        if len(value) > LABEL_LENGTH or not value.isprintable():
            raise LabelsInvalid(
                f"the label {name} has no value of at most {LABEL_LENGTH} characters", field=field
            )
    return dict(labels)


def check_text(text: str, field: str) -> str:
    """Raises TextTooLong."""
    if len(text) > TEXT_LENGTH:
        raise TextTooLong(f"{field} has {len(text)} characters, {TEXT_LENGTH} are the most", field=field)
    return text


def check_lineage(ids: Mapping[str, str], part: str, parent: str) -> None:
    """Raises LineageInvalid."""
    for field, text in ids.items():
        if text and not _LINEAGE[field].fullmatch(text):
            raise LineageInvalid(
                f"{text[:40]!r} names nothing",
                field=f"lineage.{field}",
                next_step="for example j-7, r-12 or t-105",
            )
    for field, text in (("part", part), ("parent", parent)):
        if len(text) > 300 or not text.isprintable():
            raise LineageInvalid(
                f"{field} has more than 300 characters, or some that cannot be read", field=f"lineage.{field}"
            )


def check_config(text: str, model: str = "", field: str = "config") -> Facts:
    """What a model.yaml declares; `model`: whose it is to be.

    Raises ConfigInvalid with line and column of everything that is wrong.
    """
    size = len(text.encode(errors="replace"))
    if size > CONFIG_BYTES_MOST:
        raise ConfigInvalid(f"the model.yaml has {size} bytes, {CONFIG_BYTES_MOST} are the most", field=field)
    try:
        facts = read_config(text)
    except Refused as refused:
        problems = refused.problems
        raise ConfigInvalid(
            "\n".join(str(problem) for problem in problems[:50]), field=field,
            next_step="correct it; docs/models.md says what each field is",
            metadata={"reasons": ",".join(dict.fromkeys(problem.reason.value for problem in problems))},
        ) from refused  # fmt: skip
    name = facts.get("name")
    if model and name is not None and name.value != model:
        raise ConfigInvalid(
            f"name: it says {name.value}, and the model is {model}",
            field=field,
            next_step=f"name: {model}, or leave it out",
        )
    return facts
