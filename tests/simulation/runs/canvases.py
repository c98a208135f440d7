"""Random canvases: branches, gates, maps, loops and sub-graphs within each other, with every policy that there is."""

from __future__ import annotations

import random
from typing import Any

from services.graph.model import Graph, Order
from tests.support.canvases import canvas_of, planned

DEPTH_MOST = 2
TIMEOUT_SHORT_S = 0.05
_TAKES = {"branch": "value", "gate": "value", "map": "items", "loop": "x", "subgraph": "x"}
_GIVES = {"branch": ("low", "else"), "gate": ("value",), "map": ("x",), "loop": ("x",), "subgraph": ("x",)}


def random_graph(seed: int, order: Order) -> Graph:
    """The same seed gives the same canvas, and its graph in either order."""
    return planned(canvas_of(**random_document(seed)), order)


def random_document(seed: int) -> dict[str, Any]:
    """A valid canvas as plain objects."""
    chance = random.Random(seed)
    subgraphs: dict[str, Any] = {}
    drawn = _Drawing(chance, subgraphs, 0)
    drawn.fill(chance.randint(2, 10))
    return {"nodes": drawn.nodes, "edges": drawn.edges, "subgraphs": subgraphs}


class _Drawing:
    """One canvas, the outer one or that of a sub-graph."""

    def __init__(self, chance: random.Random, subgraphs: dict[str, Any], depth: int) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []
        self._chance = chance
        self._subgraphs = subgraphs
        self._depth = depth

    def fill(self, count: int) -> None:
        chance = self._chance
        for _ in range(count):
            kinds = ["op", "branch", "gate"] + (
                ["map", "loop", "subgraph"] if self._depth < DEPTH_MOST else []
            )
            kind = chance.choices(kinds, [7, 1, 1, 2, 1, 1][: len(kinds)])[0]
            if kind == "op" or not self.nodes:
                self._op(chance.choice(("text", "number", "list")))
            elif kind == "map":
                self._map()
            else:
                self._control(kind)
        chance.shuffle(self.nodes)

    def _add(self, **fields: Any) -> dict[str, Any]:
        chance = self._chance
        node = {
            "id": f"n{len(self.nodes)}",
            "drag_in_time": f"2026-01-01T00:00:{chance.randint(0, 59):02}Z",
            **fields,
        }
        if chance.random() < 0.25 and "subgraph" not in fields:
            node["trigger"] = chance.choice(("all_done", "any_done"))
        if chance.random() < 0.15 and "subgraph" not in fields:
            node["record"] = True
        self.nodes.append(node)
        return node

    def _op(self, gives: str) -> dict[str, Any]:
        chance = self._chance
        node = self._add(operator=chance.choices(("noop", "notify"), (5, 1))[0])
        node["initial_params"] = {
            "name": f"{self._depth}{node['id']}{chance.randint(0, 99)}", "gives": gives,
            "is_refused": chance.random() < 0.03,
        }  # fmt: skip
        if chance.random() < 0.1:
            node["cache"] = "off"
        earlier = self.nodes[:-1]
        for source in chance.sample(earlier, min(len(earlier), chance.choice((0, 1, 1, 2, 3)))):
            self._edge(source, node)
        return node

    def _control(self, kind: str) -> None:
        chance = self._chance
        source = chance.choice(self.nodes)
        if kind == "branch":
            condition = {
                "path": chance.choice(("", "", "0")),
                "comparison": chance.choice(("less", "exists")),
            }
            if condition["comparison"] == "less":
                condition["value"] = 60
            node = self._add(branch={"cases": [{"port": "low", "condition": condition}]})
        elif kind == "gate":
            node = self._add(gate={"message": "?"})
            if chance.random() < 0.3:
                node["timeout_s"] = TIMEOUT_SHORT_S
        elif kind == "loop":
            work: dict[str, Any] = {"subgraph": self._body(), "max_iterations": chance.randint(1, 4)}
            if chance.random() < 0.6:
                work["until"] = {"path": "", "comparison": "less", "value": 40}
            node = self._add(loop=work)
        else:
            node = self._add(subgraph={"subgraph": self._body()})
        self._edge(source, node)
        if chance.random() < 0.3 and kind == "gate":
            self._edge(chance.choice(self.nodes[:-1]), node)

    def _map(self) -> None:
        chance = self._chance
        items = self._op("list")
        is_batch = chance.random() < 0.25
        work: dict[str, Any] = {"subgraph": self._batch_body() if is_batch else self._body()}
        if is_batch:
            work["batch_size"] = chance.randint(1, 3)
        if chance.random() < 0.4:
            work["max_parallel"] = chance.randint(1, 2)
        if chance.random() < 0.5:
            work["min_success_ratio"] = chance.choice((0.0, 0.5))
        self._edge(items, self._add(map=work))

    def _edge(self, source: dict[str, Any], target: dict[str, Any]) -> None:
        chance = self._chance
        is_order = chance.random() < 0.1 and "operator" in target
        edge: dict[str, Any] = {"source": source["id"], "target": target["id"]}
        if is_order:
            edge["kind"] = "order"
        else:
            edge |= {"source_port": chance.choice(_gives(source)), "target_port": _takes(target)}
        if chance.random() < 0.3:
            edge["on_error"] = chance.choices(("skip", "fail_run"), (2, 1))[0]
        self.edges.append(edge)

    def _body(self) -> str:
        chance = self._chance
        known = [
            name for name, made in self._subgraphs.items() if made and name.startswith(f"s{self._depth + 1}")
        ]
        if known and chance.random() < 0.3:
            return chance.choice(known)
        name = f"s{self._depth + 1}-{len(self._subgraphs)}"
        self._subgraphs[name] = None
        inner = _Drawing(chance, self._subgraphs, self._depth + 1)
        inner.fill(chance.randint(1, 4))
        taker, giver = chance.choice(inner.nodes), chance.choice(inner.nodes)
        takers = [taker] if chance.random() < 0.7 else inner.nodes[:2]
        self._subgraphs[name] = {
            "canvas": {"nodes": inner.nodes, "edges": inner.edges},
            "inputs": [{"name": "x", "node": node["id"], "port": _takes(node)} for node in takers],
            "outputs": [{"name": "x", "node": giver["id"], "port": chance.choice(_gives(giver))}],
        }
        return name

    def _batch_body(self) -> str:
        name = "batch"
        each = {"operator": "noop", "initial_params": {"name": "each", "gives": "each"}}
        self._subgraphs[name] = {
            "canvas": {
                "nodes": [{"id": "a", **each}, {"id": "b", **each}],
                "edges": [{"source": "a", "target": "b"}],
            },
            "inputs": [{"name": "x", "node": "a", "port": "value"}],
            "outputs": [{"name": "x", "node": "b", "port": "result"}],
        }
        return name


def _takes(node: dict[str, Any]) -> str:
    return next((port for kind, port in _TAKES.items() if kind in node), "value")


def _gives(node: dict[str, Any]) -> tuple[str, ...]:
    return next((ports for kind, ports in _GIVES.items() if kind in node), ("result",))
