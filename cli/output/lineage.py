"""Lineage as a tree of lines, as a drawing's text for Graphviz, and as one for Mermaid. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple, TypeAlias

from cli.output.nouns import clock
from modelyard.v1 import lineage_pb2 as pb

Key: TypeAlias = tuple[int, str]

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

WORDS: dict[int, str] = {
    pb.THING_KIND_ARTIFACT: "artefact", pb.THING_KIND_TASK: "task", pb.THING_KIND_RUN: "run",
    pb.THING_KIND_NODE: "node", pb.THING_KIND_CANVAS: "canvas", pb.THING_KIND_JOB: "job",
    pb.THING_KIND_SWEEP: "sweep", pb.THING_KIND_FRAMEWORK: "framework", pb.THING_KIND_MODEL_VERSION: "model",
    pb.THING_KIND_ALIAS: "alias", pb.THING_KIND_DEPLOYMENT: "deployment", pb.THING_KIND_FRAME: "frame",
    pb.THING_KIND_CALLS: "calls",
}  # fmt: skip
_SHAPES: dict[int, str] = {
    pb.THING_KIND_ARTIFACT: "note", pb.THING_KIND_TASK: "box", pb.THING_KIND_JOB: "box3d",
    pb.THING_KIND_MODEL_VERSION: "cylinder", pb.THING_KIND_RUN: "folder", pb.THING_KIND_CANVAS: "component",
}  # fmt: skip


class _Step(NamedTuple):
    """A line further in: which way it goes, to what, as what."""

    arrow: str
    thing: pb.Thing
    relation: str


def reference(thing: pb.Thing) -> str:
    """By what `yard lineage` finds it again."""
    if thing.kind == pb.THING_KIND_ARTIFACT:
        return f"sha256:{thing.id}"
    return thing.id.partition("/")[0] if thing.kind == pb.THING_KIND_CALLS else thing.id


def look_at(thing: pb.Thing) -> str:
    """The command that shows more of it; empty: there is none."""
    if thing.is_hidden:
        return ""
    run, _, node = thing.id.partition("/")
    found: dict[int, str] = {
        pb.THING_KIND_ARTIFACT: f"yard artifacts get {thing.id} {_file(thing)}",
        pb.THING_KIND_TASK: f"yard tasks get {thing.id}",
        pb.THING_KIND_RUN: f"yard graph show {thing.id}",
        pb.THING_KIND_NODE: f"yard graph result {run} {node}",
        pb.THING_KIND_CANVAS: f"yard graph get {thing.id.partition(':')[0]}",
        pb.THING_KIND_JOB: f"yard train get {thing.id}",
        pb.THING_KIND_SWEEP: f"yard train sweep get {thing.id}",
        pb.THING_KIND_FRAMEWORK: f"yard train frameworks {thing.id.partition(':')[0]}",
        pb.THING_KIND_MODEL_VERSION: f"yard model get {thing.id}",
        pb.THING_KIND_ALIAS: f"yard model history {thing.id.partition('@')[0]}",
        pb.THING_KIND_DEPLOYMENT: f"yard model deployments {thing.id}",
        pb.THING_KIND_FRAME: "yard model frames",
        pb.THING_KIND_CALLS: f"yard model usage {run.partition(':')[0]}",
    }
    return found.get(thing.kind, "")


def _file(thing: pb.Thing) -> str:
    """A name to save it under, that a shell takes as it is."""
    name = PurePosixPath(thing.name).name
    return name if _PLAIN_NAME.fullmatch(name) else thing.id[:12]


def title(thing: pb.Thing) -> str:
    """Kind, id and name in a few words."""
    word = WORDS.get(thing.kind, "thing")
    if thing.is_hidden:
        shown = "" if thing.id.startswith("hidden-") else f" {_short(thing)}"
        return f"{word}{shown} (hidden: not yours to see, or not kept any more)"
    # Files that were fetched are called by their contents.
    name = thing.name if thing.name != thing.id else ""
    return f"{word} {_short(thing)}" + (f" {_quoted(name)}" if name else "")


def _short(thing: pb.Thing) -> str:
    return f"sha256:{thing.id[:12]}…" if thing.kind == pb.THING_KIND_ARTIFACT else thing.id


def _quoted(name: str) -> str:
    plain = "".join(char if char.isprintable() else "?" for char in name)
    return plain if len(plain) <= 40 else plain[:39] + "…"


def tree(found: pb.LineageGraph) -> str:
    """The subject, and from there a line for each thing: what it comes from first, then what was made of it."""
    rows = [*_rows(found)]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(4)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(line.rstrip() + "\n" for line in lines)


def _rows(found: pb.LineageGraph) -> Iterator[tuple[str, str, str, str]]:
    things = {_key(one): one for one in found.things}
    root = _key(found.subject)
    yield _row(0, "", things[root], "", is_again=False)
    shown = {root}
    for ways in (_ways(found, things, up=True), _ways(found, things, up=False)):
        # Without recursion: a chain may be long.
        stack = [(1, step) for step in reversed(ways.get(root, []))]
        while stack:
            depth, step = stack.pop()
            key = _key(step.thing)
            is_again = key in shown
            if is_again and step.arrow == "=":
                # Both sides tell of what lies beside.
                continue
            yield _row(depth, step.arrow, step.thing, step.relation, is_again=is_again)
            if not is_again:
                shown.add(key)
                stack += [(depth + 1, one) for one in reversed(ways.get(key, []))]


def _ways(found: pb.LineageGraph, things: dict[Key, pb.Thing], *, up: bool) -> dict[Key, list[_Step]]:
    """By thing: the steps in one direction, and to what lies beside."""
    ways: dict[Key, list[_Step]] = {}
    for edge in found.edges:
        source, target = _key(edge.source), _key(edge.target)
        if edge.is_beside:
            ways.setdefault(source, []).append(_Step("=", things[target], edge.relation))
            ways.setdefault(target, []).append(_Step("=", things[source], edge.relation))
        elif up:
            ways.setdefault(target, []).append(_Step("←", things[source], edge.relation))
        else:
            ways.setdefault(source, []).append(_Step("→", things[target], edge.relation))
    return ways


def _row(
    depth: int, arrow: str, thing: pb.Thing, relation: str, *, is_again: bool
) -> tuple[str, str, str, str]:
    what = "  " * max(0, depth - 1) + (f"{arrow} " if arrow else "") + title(thing)
    if relation:
        what += f" ({_quoted(relation)})"
    if is_again:
        return f"{what} ↑ shown above", "", "", ""
    return what, clock(thing.time)[:19].replace("T", " "), thing.state, look_at(thing)


def _key(thing: pb.Thing) -> Key:
    return thing.kind, thing.id


def dot(found: pb.LineageGraph) -> str:
    """For Graphviz: `yard lineage REF -o dot | dot -Tsvg`."""
    names = {_key(one): f"n{number}" for number, one in enumerate(found.things)}
    lines = ["digraph lineage {", '  rankdir=LR; node [fontname="sans-serif" fontsize=10];']
    for one in found.things:
        label = json.dumps(f"{title(one)}\n{one.state}".strip(), ensure_ascii=False)
        style = (
            " style=dashed" if one.is_hidden else " penwidth=2" if _key(one) == _key(found.subject) else ""
        )
        lines.append(f"  {names[_key(one)]} [label={label} shape={_SHAPES.get(one.kind, 'ellipse')}{style}];")
    for edge in found.edges:
        label = json.dumps(edge.relation, ensure_ascii=False)
        kind = " dir=none style=dotted" if edge.is_beside else ""
        lines.append(f"  {names[_key(edge.source)]} -> {names[_key(edge.target)]} [label={label}{kind}];")
    return "\n".join([*lines, "}", ""])


def mermaid(found: pb.LineageGraph) -> str:
    """For documents: a block ```mermaid."""
    names = {_key(one): f"n{number}" for number, one in enumerate(found.things)}
    lines = ["flowchart LR"]
    lines += [f'  {names[_key(one)]}["{_plain(title(one))}"]' for one in found.things]
    for edge in found.edges:
        arrow = "-.-" if edge.is_beside else "-->"
        lines.append(
            f'  {names[_key(edge.source)]} {arrow}|"{_plain(edge.relation)}"| {names[_key(edge.target)]}'
        )
    return "\n".join([*lines, ""])


def _plain(text: str) -> str:
    """Without what Mermaid reads as its own."""
    return "".join(
        f"#{ord(char)};" if char in '"#<>&`|[]{}' or not char.isprintable() else char for char in text
    )
