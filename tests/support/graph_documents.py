"""Canvas documents, and a bundle of operators that leave a mark each time that they run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.bundle import pack_directory
from modelyard.client.aio import Client

CODE = """
import json
import os
import time
from pathlib import Path
from typing import Any

from modelyard import Context, Input, operator


def _mark(marks: str, name: str) -> None:
    descriptor = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (name + "\\n").encode())
    os.close(descriptor)


def begin(marks: str, name: str, value: int = 1, sleep_s: float = 0.0) -> int:
    _mark(marks, name)
    time.sleep(sleep_s)
    return value


def add(marks: str, name: str, values: Input[Any] = None, plus: int = 0, sleep_s: float = 0.0) -> int:
    _mark(marks, name)
    time.sleep(sleep_s)
    numbers = values if isinstance(values, list) else [values]
    return sum(number or 0 for number in numbers) + plus


def fails(marks: str, name: str, values: Input[Any] = None, unless: str = "") -> int:
    _mark(marks, name)
    if unless and Path(unless).exists():
        return 5
    raise ValueError("this node always fails")


def step(
    marks: str,
    name: str,
    values: Input[Any] = None,
    plus: int = 0,
    fail_on: Any = (),
    unless: str = "",
    sleep_s: float = 0.0,
) -> Any:
    _mark(marks, f"{name}:{json.dumps(values, separators=(',', ':'))}")
    time.sleep(sleep_s)
    if values in fail_on and not (unless and Path(unless).exists()):
        raise ValueError(f"{values} is not wanted")
    return [value + plus for value in values] if isinstance(values, list) else values + plus


def same(marks: str, name: str, values: Input[Any] = None) -> Any:
    _mark(marks, name)
    return values


def numbers(marks: str, name: str, count: int = 3, value: Any = None) -> Any:
    _mark(marks, name)
    return list(range(count)) if value is None else value


def beside(marks: str, name: str, values: Input[Any] = None, sleep_s: float = 0.05) -> int:
    here = Path(marks + ".d")
    here.mkdir(exist_ok=True)
    own = here / str(time.monotonic_ns())
    own.touch()
    time.sleep(sleep_s)
    found = len(list(here.iterdir()))
    own.unlink()
    return found


def large(marks: str, name: str, values: Input[Any] = None, size: int = 200_000) -> Any:
    _mark(marks, name)
    return ["x" * 100] * (size // 100)


def count(marks: str, name: str, values: Input[list[Any]]) -> list[int]:
    _mark(marks, name)
    return [len(json.dumps(value)) for value in values]


def slow(marks: str, name: str, ctx: Context) -> int:
    for step in range(1, 13):
        ctx.progress(step / 12, f"step {step}")
        time.sleep(0.15)
    return 1


@operator(outputs={"low": "json", "high": "json"})
def split(marks: str, name: str, values: Input[list[Any]]) -> dict[str, Any]:
    _mark(marks, name)
    return {"low": min(values), "high": max(values)}
"""


async def bundle(client: Client) -> str:
    """The digest of the operators' bundle, once it is in the store."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "marking.py").write_text(CODE)
        archive, digest = pack_directory(Path(folder))
        await client.artifacts.put(archive)
        archive.unlink()
        return digest


def node(name: str, function: str, marks: Path, digest: str, **fields: Any) -> dict[str, Any]:
    """A node that runs a function of the bundle."""
    params = {"marks": str(marks), "name": name, **fields.pop("params", {})}
    return {
        "id": name, "operator": f"marking:{function}", "bundle_digest": digest, "initial_params": params,
        "resources": {"cpu": 0.2}, **fields,
    }  # fmt: skip


def document(nodes: Sequence[dict[str, Any]], edges: Sequence[tuple[str, ...]], **fields: Any) -> str:
    """A canvas; an edge is (source, target) or (source, target, target port[, source port])."""
    lines = [
        {
            "id": f"e{number}", "source": edge[0], "target": edge[1],
            "target_port": edge[2] if len(edge) > 2 else "values",
            "source_port": edge[3] if len(edge) > 3 else "result", **fields.get("edge", {}),
        }
        for number, edge in enumerate(edges)
    ]  # fmt: skip
    extra = {key: value for key, value in fields.items() if key != "edge"}
    return json.dumps({"format": "canvas/1", "nodes": list(nodes), "edges": lines, **extra})


def body(
    nodes: Sequence[dict[str, Any]],
    edges: Sequence[tuple[str, ...]],
    inputs: dict[str, str],
    outputs: dict[str, str],
) -> dict[str, Any]:
    """A sub-graph; what goes in and what comes out by name: "node", or "node.port"."""

    def ports(named: dict[str, str], port: str) -> list[dict[str, str]]:
        ends = {name: (*end.split("."), port)[:2] for name, end in named.items()}
        return [{"name": name, "node": node, "port": port} for name, (node, port) in ends.items()]

    canvas = json.loads(document(nodes, edges))
    return {"canvas": canvas, "inputs": ports(inputs, "values"), "outputs": ports(outputs, "result")}
