"""What a frame is started with: a JSON file named by MODELYARD_FRAME, and its callers' secret. Standard library only.

    {component, config, listen, golden, may_unpickle, answer_bytes_most, example?, trusted_types?, message_bytes_most?}

`config` is model.yaml as plain data. A probe knows it in part: datatypes, shapes and outputs may be missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

FILE_VARIABLE = "MODELYARD_FRAME"
SECRET_VARIABLE = "MODELYARD_FRAME_SECRET"
ANSWER_BYTES_MOST = 256 << 20
MESSAGE_BYTES_MOST = 1 << 30
_SILENT = ("ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY")
"""ONNX Runtime for one sends names and digests of models to its maker, from 1.29 on."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class BadLaunch(ValueError):
    """The file cannot be read, or says something else than it should; the message names the field."""


@dataclass(frozen=True, slots=True)
class Spec:
    """An input or an output as model.yaml has it."""

    name: str
    datatype: str = ""
    """Empty: not known yet."""
    shape: tuple[int, ...] | None = None
    codec: str = "tensor"
    columns: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    is_optional: bool = False
    plain: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Spec:
        shape = plain.get("shape")
        return cls(
            name=str(plain["name"]),
            datatype=str(plain.get("datatype") or ""),
            shape=None if shape is None else tuple(map(int, shape)),
            codec=str(plain.get("codec") or "tensor"),
            columns=tuple(plain.get("columns") or ()),
            labels=tuple(plain.get("labels") or ()),
            is_optional=bool(plain.get("is_optional")),
            plain=plain,
        )


@dataclass(frozen=True, slots=True)
class Settings:
    """What a frame needs of model.yaml."""

    name: str
    format: str
    file: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    pre: tuple[Mapping[str, Any], ...]
    post: tuple[Mapping[str, Any], ...]
    visualise: tuple[Mapping[str, Any], ...]
    threads: int
    library_threads: int
    """Of each computation."""
    has_gpu: bool
    max_batch: int
    is_idempotent: bool
    plain: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Settings:
        """Raises BadLaunch."""
        try:
            runtime, serving = plain.get("runtime") or {}, plain.get("serving") or {}
            threads = max(1, int(runtime.get("threads") or 1))
            return cls(
                name=str(plain.get("name") or ""),
                format=str(plain["format"]),
                file=str(plain.get("file") or ""),
                inputs=tuple(map(Spec.of, plain.get("inputs") or ())),
                outputs=tuple(map(Spec.of, plain.get("outputs") or ())),
                pre=tuple(plain.get("pre") or ()),
                post=tuple(plain.get("post") or ()),
                visualise=tuple(plain.get("visualise") or ()),
                threads=threads,
                library_threads=max(1, int(float(runtime.get("cpu") or 1)) // threads),
                has_gpu=float(runtime.get("gpu") or 0) > 0,
                max_batch=int(serving.get("max_batch") or 0),
                is_idempotent=bool(serving.get("is_idempotent", True)),
                plain=plain,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadLaunch(f"config: {type(error).__name__} {error}") from None

    def of_component(self) -> Settings:
        """With what the component itself takes and gives, where steps make that something else."""
        inputs, outputs = (
            tuple(map(Spec.of, self.plain.get(f"component_{side}") or ())) for side in ("inputs", "outputs")
        )
        return replace(self, inputs=inputs or self.inputs, outputs=outputs or self.outputs)


@dataclass(frozen=True, slots=True)
class Launch:
    """All of it."""

    component: Path
    settings: Settings
    listen: str = ""
    golden: Mapping[str, Any] | None = None
    """{inputs, outputs?, parameters?, digest}; in the launch file `inputs` may be the path of a file with the rest."""
    example: Mapping[str, Any] | None = None
    may_unpickle: bool = False
    trusted_types: tuple[str, ...] = ()
    """Of skops, beside its own; only the server says them."""
    answer_bytes_most: int = ANSWER_BYTES_MOST
    message_bytes_most: int = MESSAGE_BYTES_MOST


def read_launch(path: Path) -> Launch:
    """Raises BadLaunch."""
    try:
        plain = json.loads(path.read_bytes())
        return launch_of(plain)
    except OSError as error:
        raise BadLaunch(f"{path}: {error.strerror}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise BadLaunch(f"{path}: {type(error).__name__} {error}") from None
    except ValueError as error:
        raise BadLaunch(f"{path}: {error}") from None


def launch_of(plain: Mapping[str, Any]) -> Launch:
    """From plain data. Raises BadLaunch, KeyError, TypeError."""
    golden = plain.get("golden") or None
    if golden is not None and isinstance(golden["inputs"], str):
        # The file that a probe's example was kept in.
        golden = {
            **json.loads(Path(golden["inputs"]).read_bytes()),
            "digest": str(golden.get("digest") or ""),
        }
    return Launch(
        component=Path(plain["component"]),
        settings=Settings.of(plain["config"]),
        listen=str(plain.get("listen") or ""),
        golden=golden,
        example=plain.get("example") or None,
        may_unpickle=plain.get("may_unpickle") is True,
        trusted_types=tuple(map(str, plain.get("trusted_types") or ())),
        answer_bytes_most=int(plain.get("answer_bytes_most") or ANSWER_BYTES_MOST),
        message_bytes_most=int(plain.get("message_bytes_most") or MESSAGE_BYTES_MOST),
    )


def prepare_libraries(settings: Settings, environ: MutableMapping[str, str] = os.environ) -> None:
    """Tells libraries how many threads one computation has, and to report to nobody what they are used for.

    Before any of them, numpy included, is loaded.
    """
    for name in _THREADS:
        environ.setdefault(name, str(settings.library_threads))
    for name in _SILENT:
        environ.setdefault(name, "1")
