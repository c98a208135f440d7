"""Models and their versions in words, with what to do next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cli.output.nouns import age, clock, counted
from modelyard.quantities import format_size

if TYPE_CHECKING:
    from cli.output.render import Columns
    from modelyard.v1 import model_pb2 as pb

_EXAMPLES = {
    "shape": "[-1, 4]",
    "datatype": "FP32",
    "inputs": "[{name: x, datatype: FP32, shape: [-1, 4]}]",
    "outputs": "[{name: y, datatype: FP32, shape: [-1]}]",
}


def state_of(state: int) -> str:
    """One or two words."""
    from modelyard.v1 import model_pb2 as pb

    name = pb.ModelVersionState.Name(state)  # type: ignore[arg-type]
    return name.removeprefix("MODEL_VERSION_STATE_").lower().replace("_", " ")


def format_of(version: pb.ModelVersion) -> str:
    """As model.yaml has it; empty: not known yet."""
    from modelyard.v1 import model_pb2 as pb

    if not version.component.format:
        return ""
    name = pb.ComponentFormat.Name(version.component.format)
    return name.removeprefix("COMPONENT_FORMAT_").lower().replace("_", "-")


def _aliases(model: pb.Model) -> str:
    return " ".join(f"{alias.name}={alias.version}" for alias in model.aliases)


def _labels(labels: object) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(labels.items()))  # type: ignore[attr-defined]


def _role(access: pb.ModelAccess) -> str:
    from modelyard.v1 import model_pb2 as pb

    return f"{access.account}:{pb.ModelRole.Name(access.role).removeprefix('MODEL_ROLE_').lower()}"


MODEL_COLUMNS: Columns = [
    ("MODEL", lambda model: model.name),
    ("LATEST", lambda model: str(model.latest_version or "")),
    ("ALIASES", _aliases),
    ("OWNER", lambda model: model.account),
    ("AGE", lambda model: age(model.create_time)),
    ("SUMMARY", lambda model: model.summary[:60]),
]

VERSION_COLUMNS: Columns = [
    ("VERSION", lambda one: str(one.version)),
    ("STATE", lambda one: state_of(one.state)),
    ("FORMAT", format_of),
    ("SIZE", lambda one: format_size(one.component.size_bytes)),
    ("CONFIG", lambda one: f"r{one.config_revision}" if one.config_revision else ""),
    ("CALLS", lambda one: str(one.call_count or "")),
    ("LOADED ON", lambda one: " ".join(one.nodes)),
    ("AGE", lambda one: age(one.create_time)),
    ("WHY", lambda one: one.message[:80]),
]

CHANGE_COLUMNS: Columns = [
    ("TIME", lambda one: clock(one.time)),
    ("ALIAS", lambda one: one.alias),
    ("FROM", lambda one: str(one.from_version or "")),
    ("TO", lambda one: str(one.to_version or "")),
    ("WHO", lambda one: one.account),
    ("COMMENT", lambda one: one.comment),
]

USAGE_COLUMNS: Columns = [
    ("DAY", lambda one: one.day_time.ToJsonString()[:10]),
    ("VERSION", lambda one: str(one.version)),
    ("ACCOUNT", lambda one: one.account),
    ("CALLS", lambda one: str(one.call_count)),
    ("FAILURES", lambda one: str(one.failure_count or "")),
    ("COMPUTED", lambda one: f"{one.compute_s:.3g} s"),
]


def described(
    model: pb.Model, version: pb.ModelVersion, config: pb.ModelConfigRevision | None
) -> list[tuple[str, str]]:
    """A version as it explains itself: what it is, takes and gives, where it is, who calls it, what comes next."""
    named = [alias.name for alias in model.aliases if alias.version == version.version]
    rows = [
        ("model", f"{version.model}:{version.version}" + (f"  ({', '.join(named)})" if named else "")),
        ("state", state_of(version.state) + (f": {version.message}" if version.message else "")),
        ("summary", model.summary),
        ("owner", model.account),
        ("access", " ".join(map(_role, model.access))),
        ("labels", _labels(version.labels)),
        ("component", f"{format_of(version) or 'not known yet'}, {_files(version)}, "
                      f"{format_size(version.component.size_bytes)}, sha256:{version.component.digest[:12]}"),
        ("made by", _origin(version)),
    ]  # fmt: skip
    if config is not None:
        rows += _protocol(config)
        rows.append(("config", _proof(config)))
        rows += [("known", _known(config)), ("runs in", config.association.why)]
        rows.append(("image", _image(config.association)))
    rows += [("note", warning) for warning in version.warnings]
    rows.append(("trusted", _trusted(version.trust)))
    rows += [
        ("loaded on", ", ".join(version.nodes) or "no node"),
        ("calls", _calls(version)),
        ("age", age(version.create_time)),
        ("next", next_step(version)),
    ]  # fmt: skip
    return [(title, text) for title, text in rows if text]


def _trusted(trust: pb.ModelTrust) -> str:
    """What the server's own list lets it do."""
    opened = (
        f"its pickles and .pt2 are opened in frames: {trust.opened_by} is on the server's list"
        if trust.opened_by
        else ""
    )
    types = f"skops may construct {', '.join(trust.types)}" if trust.types else ""
    return "; ".join(filter(None, (opened, types)))


def _calls(version: pb.ModelVersion) -> str:
    if not version.call_count:
        return "none yet"
    return f"{version.call_count}, the last {age(version.last_call_time)} ago"


def _origin(version: pb.ModelVersion) -> str:
    lineage = version.lineage
    found = [one for one in (lineage.job_id, lineage.run_id, lineage.task_id) if one]
    found += [lineage.part] if lineage.part else []
    found += [f"from version {lineage.parent}"] if lineage.parent else []
    return " ".join(found)


def _protocol(config: pb.ModelConfigRevision) -> Iterator[tuple[str, str]]:
    """Inputs and outputs, a line each."""
    import yaml

    try:
        document = yaml.safe_load(config.document) or {}
    except yaml.YAMLError:
        return
    for side, title in (("inputs", "takes"), ("outputs", "gives")):
        for tensor in document.get(side) or ():
            shape = "×".join("any" if size == -1 else str(size) for size in tensor.get("shape") or ())
            kind = " ".join(filter(None, (tensor.get("datatype", "?"), shape or "?")))
            codec = tensor.get("codec", "tensor")
            yield title, f"{tensor.get('name')}: {kind}" + (f", as {codec} too" if codec != "tensor" else "")


def _files(version: pb.ModelVersion) -> str:
    paths = [file.path for file in version.component.files]
    packed = [path for path in paths if path.endswith("/")]
    words = [counted(len(paths) - len(packed), "file")] if len(paths) > len(packed) else []
    words += ["all of it packed"] if "./" in packed else [f"{one} packed" for one in packed[:3]]
    return " and ".join(words)


def _image(association: pb.RuntimeAssociation) -> str:
    """What the container's image resolved to; its frames are made of no other."""
    return f"{association.image} is {association.image_digest[:19]}" if association.image_digest else ""


def _proof(config: pb.ModelConfigRevision) -> str:
    words = [f"revision {config.revision}", state_of(config.state)]
    if config.load_s:
        words.append(f"loads in {config.load_s:.2g} s and holds {format_size(config.memory_bytes)}")
    if config.golden_digest:
        words.append("its answer to an example is compared at each load")
    return ", ".join(words)


def _known(config: pb.ModelConfigRevision) -> str:
    from modelyard.v1 import model_pb2 as pb

    words = (
        pb.Provenance.Name(one.provenance).removeprefix("PROVENANCE_").lower() for one in config.provenance
    )
    return ", ".join(f"{count} fields {word}" for word, count in Counter(words).most_common())


def next_step(version: pb.ModelVersion) -> str:
    """A command."""
    from modelyard.v1 import model_pb2 as pb

    reference = f"{version.model}:{version.version}"
    if version.state == pb.MODEL_VERSION_STATE_READY:
        return f"yard model call {reference}"
    if version.state == pb.MODEL_VERSION_STATE_NEEDS_ANSWER:
        return answer_to(reference, version.questions)
    if version.state == pb.MODEL_VERSION_STATE_FAILED:
        log = f"yard tasks logs {version.task_id}" if version.task_id else ""
        return " ; ".join(filter(None, (log, f"yard model config edit {reference}")))
    return (
        f"yard tasks explain {version.task_id}" if version.task_id else "it waits for an agent: yard nodes ls"
    )


def answer_to(reference: str, questions: Sequence[pb.ComponentQuestion]) -> str:
    """The command that answers these questions, with examples for values."""
    words = [f"{one.field}={_example(one)}" for one in questions[:6]]
    return shlex.join(["yard", "model", "config", "set", reference, *words])


def _example(question: pb.ComponentQuestion) -> str:
    known = _EXAMPLES.get(question.field.rpartition(".")[2], "")
    if known and (not question.choices or known in question.choices):
        return known
    return question.choices[0] if question.choices else "VALUE"
