"""From a source to a job file: finds the one job in it, has it converted, and tells what was left out. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import msgspec

from modelyard.documents.problems import Position, Problem, Reason, Refused, shown
from modelyard.documents.yaml_text import TEXT_BYTES_MOST
from modelyard.training.imports import (
    jax_job,
    jobset,
    mpi_job,
    paddle_job,
    pytorch_job,
    tf_job,
    train_job,
    volcano,
    xgboost_job,
)
from modelyard.training.imports.drafts import Draft
from modelyard.training.imports.remarks import Remarks
from modelyard.training.imports.source import WRITTEN_BY_THE_CLUSTER, Object, objects, rest
from modelyard.training.imports.surroundings import HELPING, Surroundings
from modelyard.training.imports.texts import TextsTooLarge

KINDS: dict[tuple[str, str], Callable[[Object, Surroundings], Draft]] = {
    ("kubeflow.org", "PyTorchJob"): pytorch_job.convert,
    ("kubeflow.org", "TFJob"): tf_job.convert,
    ("kubeflow.org", "MPIJob"): mpi_job.convert,
    ("kubeflow.org", "XGBoostJob"): xgboost_job.convert,
    ("kubeflow.org", "JAXJob"): jax_job.convert,
    ("kubeflow.org", "PaddleJob"): paddle_job.convert,
    ("trainer.kubeflow.org", "TrainJob"): train_job.convert,
    ("jobset.x-k8s.io", "JobSet"): jobset.convert,
    ("batch.volcano.sh", "Job"): volcano.convert,
}
"""What can be imported, by group and kind."""


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """A job file, and what became of the rest of its source."""

    document: str
    findings: tuple[Problem, ...]
    """What was left out or means something else, in the order of the source."""
    kind: str
    name: str


def convert(text: str | bytes, name: str = "") -> Imported:
    """The one job of a text, or the one of that name. Raises `Refused` with everything that is wrong with it."""
    remarks = Remarks()
    found = objects(text, remarks)
    remarks.refuse()
    job = _chosen(found, name, remarks)
    remarks.refuse()
    assert job is not None
    around = Surroundings(
        namespace=job.metadata.word("namespace") or "default",
        objects={(one.kind, one.name): one for one in found if one.kind in HELPING},
    )
    draft = _drafted(job, around, remarks)
    rest(job.metadata, quiet=WRITTEN_BY_THE_CLUSTER)
    rest(job.section, quiet=WRITTEN_BY_THE_CLUSTER)
    remarks.refuse()
    document = draft.text(
        f"From {shown(job.title, 200)} of {job.group}; what was left out: yard train import."
    )
    if len(document.encode()) > TEXT_BYTES_MOST:
        _refuse_size(job, remarks)
    return Imported(document=document, findings=remarks.remarks(), kind=job.kind, name=job.name)


def _drafted(job: Object, around: Surroundings, remarks: Remarks) -> Draft:
    try:
        return KINDS[job.group, job.kind](job, around)
    except TextsTooLarge:
        _refuse_size(job, remarks)


def _refuse_size(job: Object, remarks: Remarks) -> NoReturn:
    message = "the job file would be too large, with all references filled in"
    remarks.add(Reason.TOO_LARGE, message, job.section.at, "use fewer variables in variables")
    raise Refused(remarks.all())


def _chosen(found: list[Object], name: str, remarks: Remarks) -> Object | None:
    jobs = [one for one in found if (one.group, one.kind) in KINDS]
    wanted = [one for one in jobs if name in ("", one.name)]
    if len(wanted) == 1:
        for other in found:
            if other is not wanted[0] and other.kind not in HELPING:
                _tell_other(other, remarks)
        return wanted[0]
    at = Position()
    kinds = ", ".join(sorted({kind for _, kind in KINDS}))
    if not jobs:
        there = ", ".join(
            dict.fromkeys(shown(f"{one.group}/{one.kind}" if one.group else one.kind) for one in found[:20])
        )
        message = f"there is no job in it, but {there}" if there else "there is no job in it"
        remarks.add(Reason.UNKNOWN_KIND, message, at, f"what can be imported: {kinds}")
    elif name and not wanted:
        names = ", ".join(shown(one.name) for one in jobs[:20])
        remarks.add(Reason.BAD_NAME, f"there is no job {shown(name)!r} in it", at, f"one of {names}")
    else:
        names = ", ".join(shown(one.name) for one in wanted[:20])
        message = f"it holds {len(wanted)} jobs, and a job file has one: {names}"
        remarks.add(Reason.MALFORMED, message, at, "choose one by its name: --name")
    return None


def _tell_other(other: Object, remarks: Remarks) -> None:
    remarks.add(Reason.NOT_CONVERTED, f"{shown(other.title)} is left out", other.section.at)
