"""The two doors of the yard, with the same words: the command line, and the contract by grpcurl.

A requirement is met when it is met through both; its test is written once and takes a door.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypedDict

from tests.support.grpcurl import CONTACTS, NODES, TASKS, Grpcurl, Refused, contract_names
from tests.support.yard import Yard

Document = dict[str, Any]


class Wish(TypedDict, total=False):
    """Of a command, what the tests ask for."""

    node: str
    labels: Mapping[str, str]
    cpu: float
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    attach: Path
    quote: str
    contact: str
    modify_signal: str
    priority: int
    hold: bool
    preemptible: bool
    preempts: bool
    array: int
    gang: str


class Door(Protocol):
    """Whatever is refused raises `Refused` with the reason in it."""

    def submit(self, argv: Sequence[str], wish: Wish | None = None) -> str: ...
    def task(self, task_id: str) -> Document: ...
    def wait(self, task_id: str) -> Document: ...
    def stdout(self, task_id: str) -> str: ...
    def cancel(self, task_id: str) -> None: ...
    def label(self, node: str, key: str, value: str) -> None: ...
    def occupancy(self, window_s: int) -> list[Document]: ...
    def explain(self, task_id: str) -> Document: ...
    def quote(self, node: str, cpu: float, ttl: str = "30s") -> Document: ...
    def modify(self, task_id: str, **changes: Any) -> dict[str, str]: ...
    def contact(self, name: str, url: str) -> None: ...


class CommandLine:
    def __init__(self, yard: Yard, token: str = "") -> None:
        self._yard = yard
        self._extra = {"YARD_TOKEN": token} if token else None

    def _text(self, *words: str) -> str:
        done = self._yard.cli(*words, extra=self._extra)
        if done.code:
            raise Refused(done.stderr)
        return done.stdout

    def _json(self, *words: str) -> Document:
        found: Document = contract_names(json.loads(self._text(*words, "-o", "json")))
        return found

    def submit(self, argv: Sequence[str], wish: Wish | None = None) -> str:
        words: list[str] = []
        for key, value in (wish or {}).items():
            flag = (
                "--" + key.removesuffix("s").replace("_", "-")
                if key in _MAPS
                else "--" + key.replace("_", "-")
            )
            if key in _MAPS:
                assert isinstance(value, Mapping)
                words += [word for pair in value.items() for word in (flag, f"{pair[0]}={pair[1]}")]
            else:
                words += [flag] if value is True else [flag, str(value)]
        document = json.loads(self._text("run", "--detach", *words, "-o", "json", "--", *argv))
        task_id: str = document["taskId"]
        return task_id

    def task(self, task_id: str) -> Document:
        return self._json("tasks", "get", task_id)

    def wait(self, task_id: str) -> Document:
        self._yard.cli("tasks", "wait", task_id, extra=self._extra)
        return self.task(task_id)

    def stdout(self, task_id: str) -> str:
        return self._text("tasks", "logs", "-f", task_id)

    def cancel(self, task_id: str) -> None:
        self._text("tasks", "cancel", task_id)

    def label(self, node: str, key: str, value: str) -> None:
        self._text("nodes", "label", node, f"{key}={value}")

    def occupancy(self, window_s: int) -> list[Document]:
        found: list[Document] = self._json("nodes", "occupancy", "--window", str(window_s))["nodes"]
        return found

    def explain(self, task_id: str) -> Document:
        return self._json("tasks", "explain", task_id)

    def quote(self, node: str, cpu: float, ttl: str = "30s") -> Document:
        return self._json("nodes", "quote", node, "--cpu", str(cpu), "--ttl", ttl)

    def modify(self, task_id: str, **changes: Any) -> dict[str, str]:
        words = []
        for key, value in changes.items():
            pairs = [f"{k}={v}" for k, v in value.items()] if key == "params" else [str(value)]
            words += [word for text in pairs for word in ("--" + key.removesuffix("s"), text)]
        answer = self._json("tasks", "modify", task_id, *words)
        return {
            v["path"].removesuffix("_json"): v["kind"].removeprefix("FIELD_VERDICT_KIND_")
            for v in answer["verdicts"]
        }

    def contact(self, name: str, url: str) -> None:
        self._text("contacts", "add", name, url)
        self._text("contacts", "test", name)


_MAPS = ("labels", "params", "inputs")


class Contract:
    """By grpcurl alone."""

    def __init__(self, yard: Yard, token: str = "") -> None:
        self._curl = Grpcurl(yard, token)

    def submit(self, argv: Sequence[str], wish: Wish | None = None) -> str:
        asked: Wish = wish or {}
        spec: Document = {"command": {"argv": list(argv)}, "placement": {}}
        if "cpu" in asked:
            spec["resources"] = {"cpu": asked["cpu"]}
        for key in ("node", "labels", "quote"):
            if key in asked:
                spec["placement"][key] = asked[key]  # type: ignore[literal-required]
        for key in ("params", "priority", "hold"):
            if key in asked:
                spec[key] = asked[key]  # type: ignore[literal-required]
        if "inputs" in asked:
            data = {k: base64.b64encode(v.encode()).decode() for k, v in asked["inputs"].items()}
            spec["inputs"] = {name: {"data": text} for name, text in data.items()}
        if "attach" in asked:
            file = asked["attach"]
            spec["attachments"] = [
                {"path": file.name, "digest": self._curl.put(file.read_bytes(), file.name)}
            ]
        if "modify_signal" in asked:
            spec["command"]["modify_signal"] = asked["modify_signal"]
        if "contact" in asked:
            spec["notification"] = {"contact": asked["contact"]}
        if "array" in asked:
            spec |= {"array_size": asked["array"], "gang": {"name": asked["gang"]}}
        if asked.get("preemptible") or asked.get("preempts"):
            spec["preemption"] = {key: True for key in ("preemptible", "preempts") if key in asked}
        return self._curl.submit(**spec)

    def task(self, task_id: str) -> Document:
        return self._curl.task(task_id)

    def wait(self, task_id: str) -> Document:
        return self._curl.wait(task_id)

    def stdout(self, task_id: str) -> str:
        text = self._curl.raw(f"{TASKS}/StreamLogs", {"task_id": task_id, "follow": True})
        decoder, found = json.JSONDecoder(), b""
        while text := text.strip():
            message, end = decoder.raw_decode(text)
            if message["stream"] == "LOG_STREAM_STDOUT":
                found += base64.b64decode(message["data"])
            text = text[end:]
        return found.decode()

    def cancel(self, task_id: str) -> None:
        self._curl.call(f"{TASKS}/CancelTasks", {"task_ids": [task_id]})

    def label(self, node: str, key: str, value: str) -> None:
        self._curl.call(f"{NODES}/UpdateNodeLabels", {"node": node, "set_labels": {key: value}})

    def occupancy(self, window_s: int) -> list[Document]:
        found: list[Document] = self._curl.call(f"{NODES}/GetOccupancy", {"window_s": window_s})["nodes"]
        return found

    def explain(self, task_id: str) -> Document:
        return self._curl.call(f"{TASKS}/ExplainTask", {"task_id": task_id})

    def quote(self, node: str, cpu: float, ttl: str = "30s") -> Document:
        item = {"resources": {"cpu": cpu}, "placement": {"node": node}}
        found: Document = self._curl.call(f"{NODES}/CreateQuote", {"items": [item], "ttl": ttl})["quote"]
        return found

    def modify(self, task_id: str, **changes: Any) -> dict[str, str]:
        return self._curl.verdicts(task_id, **changes)

    def contact(self, name: str, url: str) -> None:
        self._curl.call(f"{CONTACTS}/CreateContact", {"name": name, "url": url})
        self._curl.call(f"{CONTACTS}/TestContact", {"name": name})
