"""Work as tasks: what leaves for the scheduler, and what its end says (the edge)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec

from modelyard.models import Provenance, facts_in, facts_out, inspection_in, inspection_out
from modelyard.v1 import task_pb2 as pb
from services.models.catalogue import events as ev
from services.models.catalogue.component import attachments_of
from services.models.catalogue.effects import Begin
from services.models.catalogue.model import Cause, WorkKind
from services.models.catalogue.state import Version
from services.models.catalogue.store import Submitted
from services.models.surroundings.association import (
    DEFAULT_RUNTIMES,
    ENVIRONMENT,
    HOLDER_BYTES,
    PROBE_PROGRAM,
    Association,
    Proved,
    RuntimeMap,
    TriedImage,
    enclosure_of,
    node_labels,
    seat_memory_bytes,
)
from services.models.surroundings.environment import environment_of

COMPONENT = "component"
CONFIG = "config.json"
FOUND = "found.json"
FOUND_BYTES_MOST = 8 << 20
INSPECT_S, PROBE_S = 300, 900
LOOK_S = 240
"""A look at files takes no longer; its task has some more time, to say so."""
LOOKING_CPU = 0.1
"""What is looked at and tried for seconds waits for no whole core."""
INSPECT_MEMORY_LEAST, LIBRARIES_BYTES = 512 << 20, 128 << 20
READ_BYTES_MOST = 2 << 30
"""No format is read whole beyond it: what protobuf can hold."""
LOOK_PIDS = 64
LOOK_PROGRAM = ("python", "-m", "modelyard.enclosure.probing", "--look")
"""Of the bundle, as what it shuts in: an older agent looks with this service's eyes."""
ATTEMPTS = 3
BESIDE = ("msgspec>=0.20", "PyYAML>=6")
"""What our own code needs in an environment where it looks at files."""
MEMORY_MOST = 1 << 50
_PROBED = frozenset({"datatype", "shape", "codec", "columns", "labels"})
_CAUSES = {
    pb.TASK_CAUSE_NODE_LOST: Cause.LOST,
    pb.TASK_CAUSE_PREEMPTED: Cause.LOST,
    pb.TASK_CAUSE_DRAINED: Cause.LOST,
    pb.TASK_CAUSE_SETUP: Cause.SETUP,
    pb.TASK_CAUSE_CANCELLED: Cause.CANCELLED,
}


def fits_of(begins: Iterable[Begin], runtimes: RuntimeMap) -> dict[Proved, Association]:
    """In what each revision that is tried now will be tried, and serve."""
    return {
        (one.version.model, one.version.version, one.revision.revision): runtimes.find(
            one.revision.config.runtime
        )
        for one in begins
        if one.work.kind is WorkKind.PROBE and one.revision.config is not None
    }


def submitted(begin: Begin, program_digest: str, runtimes: RuntimeMap = DEFAULT_RUNTIMES) -> Submitted:
    """The work with the request that does it; the same every time that it is sent."""
    version, work = begin.version, begin.work
    config = b""
    spec = pb.TaskSpec(
        name=f"{version.model}-{version.version}-{work.kind.value}",
        bundle_digest=program_digest,
        outputs=[FOUND],
        delivery=pb.DELIVERY_AT_LEAST_ONCE,
        labels={"model": version.model, "version": str(version.version)},
    )
    if work.kind is WorkKind.INSPECT:
        _inspect(spec, begin)
    else:
        assert begin.revision.config is not None
        config = json.dumps(msgspec.to_builtins(begin.revision.config)).encode()
        runtime = begin.revision.config.runtime
        fit = runtimes.find(runtime)
        _probe(spec, begin, fit, sha256(config).hexdigest())
        spec.environment.CopyFrom(environment_of(runtime, fit))
    spec.attachments.extend(attachments_of(version.files, COMPONENT))
    spec.notification.silent = True
    spec.retry.max_attempts = ATTEMPTS
    spec.retry.on.extend([pb.TASK_CAUSE_NODE_LOST, pb.TASK_CAUSE_DRAINED])
    request = pb.SubmitTasksRequest(request_id=str(uuid.uuid4()), specs=[spec])
    return Submitted(
        work.number, version.account, version.model, version.version, request.SerializeToString(), config
    )


def _inspect(spec: pb.TaskSpec, begin: Begin) -> None:
    file = declared_file(begin.revision.declared)
    memory = 2 * min(begin.version.size_bytes, READ_BYTES_MOST) + LIBRARIES_BYTES + HOLDER_BYTES
    memory = max(INSPECT_MEMORY_LEAST, memory)
    enclosure = {
        "kind": ENVIRONMENT, "memory_bytes": memory - HOLDER_BYTES, "pids": LOOK_PIDS, "time_s": LOOK_S,
    }  # fmt: skip
    argv = [*LOOK_PROGRAM, "--component", COMPONENT, "--output", FOUND]
    spec.command.argv.extend([*argv, "--enclosure", json.dumps(enclosure)])
    spec.command.argv.extend([f"--file={file}"] if file else [])
    spec.resources.cpu, spec.resources.cpu_limit = LOOKING_CPU, 1.0
    spec.resources.memory_bytes = memory
    spec.timeouts.run_timeout.seconds = INSPECT_S
    if begin.work.libraries:
        spec.environment.requirements = "\n".join((*BESIDE, *begin.work.libraries)) + "\n"


def _probe(spec: pb.TaskSpec, begin: Begin, fit: Association, config_digest: str) -> None:
    """In what a frame of it will be in: its environment or container, its limits, no network."""
    argv = [PROBE_PROGRAM, "--component", COMPONENT, "--config", CONFIG]
    argv += ["--enclosure", json.dumps(enclosure_of(fit))]
    argv += ["--may-unpickle"] if begin.may_unpickle else []
    argv += [f"--trusted-type={one}" for one in begin.trusted_types]
    spec.command.argv.extend([*argv, "--output", FOUND])
    spec.attachments.add(path=CONFIG, digest=config_digest)
    spec.resources.cpu, spec.resources.cpu_limit = min(LOOKING_CPU, fit.cpu), fit.cpu
    spec.resources.gpu = fit.gpu
    spec.resources.memory_bytes = seat_memory_bytes(fit)
    spec.placement.labels.update(node_labels(fit))
    spec.timeouts.run_timeout.seconds = PROBE_S


def declared_file(document: str) -> str:
    """Which file is to be loaded first, where its owner says so."""
    from modelyard.documents.problems import Refused
    from modelyard.models import read_config

    try:
        fact = read_config(document).get("component.file")
    except Refused:
        return ""
    return str(fact.value) if fact is not None else ""


# What its end says


def found_in(outcome: pb.TaskOutcome) -> tuple[str, int]:
    """Digest and size of what it wrote; none: ("", 0)."""
    for output in outcome.result.outputs:
        if output.name == FOUND:
            return output.digest, output.size_bytes
    return "", 0


def failure_of(version: Version, outcome: pb.TaskOutcome) -> ev.WorkFailed:
    """A task that did not succeed."""
    error = outcome.error
    cause = _CAUSES.get(error.cause, Cause.DIED)
    if outcome.state == pb.TASK_STATE_CANCELLED and cause is Cause.DIED:
        cause = Cause.CANCELLED
    message = error.message or pb.TaskState.Name(outcome.state).removeprefix("TASK_STATE_").lower()
    log = f" (yard tasks logs {outcome.task_id})" if outcome.attempt else ""
    return failed(version, cause, f"{message}{log}")


def failed(version: Version, cause: Cause, message: str) -> ev.WorkFailed:
    assert version.work is not None
    return ev.WorkFailed(
        version.model, version.version, version.work.number, cause=cause, message=message[:4_000]
    )


def read(version: Version, content: bytes) -> tuple[ev.WorkEvent, bytes]:
    """What a task has found, and the golden example as it is kept. Its words are those of code that nobody trusts."""
    assert version.work is not None
    key = version.model, version.version, version.work.number
    try:
        document = json.loads(content)
        if "error" in document:
            error = document["error"]
            message, field = _text(error["message"]), _text(error.get("field", ""))
            code = _word(error.get("reason") or error["code"])
            return ev.WorkRefused(*key, code=code, message=message, field=field), b""
        if version.work.kind is WorkKind.INSPECT:
            inspection = inspection_in(document["inspection"])
            _require_storable(inspection_out(inspection))
            return ev.Inspected(*key, inspection=inspection), b""
        return _probed(key, document)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        message = _text(f"what it wrote cannot be read: {type(error).__name__}: {error}")
        return failed(version, Cause.SENSELESS, message), b""


def _probed(key: tuple[str, int, int], document: dict[str, Any]) -> tuple[ev.WorkEvent, bytes]:
    golden = document.get("golden") or {}
    facts = facts_in(
        {path: entry for path, entry in document["facts"].items() if is_probed(path)}, Provenance.PROBED
    )
    _require_storable(facts_out(facts))
    example = json.dumps(golden["example"]).encode() if golden.get("example") is not None else b""
    probed = ev.Probed(
        *key, facts=facts, golden_digest=_text(golden.get("digest", "")),
        golden_example=sha256(example).hexdigest() if example else "",
        load_s=min(float(document.get("load_s", 0.0)), PROBE_S),
        memory_bytes=min(int(document.get("memory_bytes", 0)), MEMORY_MOST),
        image=_image(document.get("image")),
        warnings=tuple(_text(one)[:500] for one in list(document.get("warnings") or ())[:20]),
    )  # fmt: skip
    return probed, example


def _require_storable(found: object) -> None:
    """Raises ValueError, TypeError or OverflowError for what no disk takes: half characters, endless numbers."""
    msgspec.msgpack.encode(found)


def _image(said: object) -> TriedImage:
    """As the process beside the probe has said it; what is wrong with it is not known."""
    if not isinstance(said, dict) or not said.get("digest"):
        return TriedImage()
    return TriedImage(*(_text(said.get(name, ""))[:500] for name in ("asked", "name", "digest", "source")))


def is_probed(path: str) -> bool:
    """Whether a run can tell the field; of anything else it has no word."""
    own = path.removeprefix("component.")
    return own in ("inputs", "outputs", "serving.max_batch") or (
        own.startswith(("inputs[", "outputs[")) and own.rpartition("].")[2] in _PROBED
    )


def _text(value: object) -> str:
    text = str(value)
    return "".join(one if one.isprintable() or one == "\n" else "?" for one in text)[:4_000]


def _word(value: object) -> str:
    text = str(value).upper()[:60]
    return text if text.replace("_", "").isalnum() and text.isascii() else "PROBE_REFUSED"
