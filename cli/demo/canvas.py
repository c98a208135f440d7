"""The canvas of `yard demo`: data preparation on two nodes, two frameworks, a comparison, and the better one served."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MODEL, DEPLOYMENT = "digits", "digits-live"
FRAMEWORKS = {"lightgbm": "model.txt", "xgboost": "model.json"}
"""Which are compared, and the file that each makes."""
HALVES = ("first", "second")
_JOBS = {"lightgbm": "framework: lightgbm\nparams: {arguments: false}", "xgboost": "framework: xgboost"}
_PACKAGES = {"lightgbm": ["lightgbm", "scipy"], "xgboost": ["xgboost-cpu", "scipy"]}


def document(bundle: str, nodes: tuple[str, str]) -> str:
    """`bundle`: the digest of the programs' directory; `nodes`: those that prepare data."""
    work = [
        {**_command("load", "load.py", {"digits": "digits.npz"}, bundle), "label": "real data"},
        *(_prepare(half, bundle, node) for half, node in enumerate(nodes)),
        {**_command("join", "join.py", {"data": "prepared.npz"}, bundle), "record": True},
        *(_train(name, file, bundle) for name, file in FRAMEWORKS.items()),
        {"id": "compare", "operator": "compare:compare", "bundle_digest": bundle, "record": True},
        {"id": "better", "branch": {"cases": [_case(name) for name in FRAMEWORKS]}},
        *(_push(name, file) for name, file in FRAMEWORKS.items()),
        _deploy(),
    ]  # fmt: skip
    return json.dumps({"nodes": work, "edges": list(_edges())})


def _command(
    name: str, program: str, outputs: Mapping[str, str], bundle: str, *arguments: str
) -> dict[str, Any]:
    return {
        "id": name, "command": {"argv": ["python", program, *arguments], "outputs": outputs}, "bundle_digest": bundle,
        "resources": {"cpu": 0.5},
    }  # fmt: skip


def _prepare(half: int, bundle: str, node: str) -> dict[str, Any]:
    made = _command(f"prepare-{HALVES[half]}", "prepare.py", {"half": "half.npz"}, bundle, str(half))
    return {**made, "placement": {"node": node}}


def _train(name: str, file: str, bundle: str) -> dict[str, Any]:
    job = f"""kind: Job
{_JOBS[name]}
name: digits-{name}
argv: [python, train_{name}.py]
resources: {{cpu: 0.5}}
progress: {{log: "round (?P<step>[0-9]+)/(?P<total>[0-9]+) loss=(?P<loss>[0-9.]+)"}}
roles:
  worker: {{count: 2, clean: {{keep: [{file}]}}}}
"""
    params = {"job": job, "bundle": bundle, "data_name": "data.npz", "keep": f"worker-0/{file}"}
    return {"id": f"train-{name}", "operator": "train.run", "initial_params": params, "record": True}


def _case(name: str) -> dict[str, Any]:
    return {"port": name, "condition": {"path": "winner", "comparison": "equal", "value": name}}


def _push(name: str, file: str) -> dict[str, Any]:
    config = json.dumps({"runtime": {"requirements": _PACKAGES[name]}})
    params = {"name": MODEL, "filename": file, "alias": "champion", "config": config, "summary": f"by {name}"}
    return {"id": f"push-{name}", "operator": "model.push", "initial_params": params, "trigger": "all_done"}


def _deploy() -> dict[str, Any]:
    params = {"routes": [f"{MODEL}:champion"], "name": DEPLOYMENT}
    return {
        "id": "deploy",
        "operator": "model.deploy",
        "initial_params": params,
        "trigger": "any_done",
        "record": True,
    }


def _edges() -> Any:
    for name in HALVES:
        yield {
            "source": "load",
            "source_port": "digits",
            "target": f"prepare-{name}",
            "target_port": "digits",
        }
        yield {"source": f"prepare-{name}", "source_port": "half", "target": "join", "target_port": name}
    for name in FRAMEWORKS:
        train, push = f"train-{name}", f"push-{name}"
        yield {"source": "join", "source_port": "data", "target": train, "target_port": "data"}
        yield {"source": train, "source_port": "file", "target": "compare", "target_port": name}
        yield {"source": train, "source_port": "file", "target": push, "target_port": "component"}
        yield {"source": "better", "source_port": name, "target": push, "kind": "order"}
        yield {"source": push, "target": "deploy", "kind": "order"}
    yield {"source": "join", "source_port": "data", "target": "compare", "target_port": "data"}
    yield {"source": "compare", "source_port": "verdict", "target": "better", "target_port": "value"}
