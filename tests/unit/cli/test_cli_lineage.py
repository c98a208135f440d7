"""Lineage as lines and as drawings: nothing a name holds breaks them (issue 7.1)."""

from __future__ import annotations

from cli.output import lineage
from modelyard.v1 import lineage_pb2 as pb

DATA = pb.Thing(kind=pb.THING_KIND_ARTIFACT, id="a" * 64, name='x"];\n<b>|evil.csv', state="5 bytes")
TASK = pb.Thing(kind=pb.THING_KIND_TASK, id="t-1", name="train", state="succeeded")
NODE = pb.Thing(kind=pb.THING_KIND_NODE, id="r-1/train", name="train.run")
SECRET = pb.Thing(kind=pb.THING_KIND_JOB, id="hidden-1", is_hidden=True)


def graph() -> pb.LineageGraph:
    found = pb.LineageGraph(subject=TASK, things=[TASK, DATA, NODE, SECRET])
    found.edges.add(source=DATA, target=TASK, relation="input data")
    found.edges.add(source=NODE, target=TASK, relation="ran as", is_beside=True)
    found.edges.add(source=TASK, target=SECRET, relation="handed in")
    return found


def test_tree_has_a_line_for_each_thing_with_the_next_command() -> None:
    first, *rest = lineage.tree(graph()).splitlines()
    assert first.startswith("task t-1 train") and first.endswith("yard tasks get t-1")
    assert [line[0] for line in rest] == ["←", "=", "→"]
    assert rest[0].endswith(f"yard artifacts get {'a' * 64} {'a' * 12}")
    assert rest[1].endswith("yard graph result r-1 train")
    assert "job (hidden:" in rest[2] and "yard" not in rest[2]


def test_drawings_hold_what_names_hold() -> None:
    dot, mermaid = lineage.dot(graph()), lineage.mermaid(graph())
    assert dot.startswith("digraph") and dot.rstrip().endswith("}") and '\\"];' in dot
    assert len(mermaid.splitlines()) == 1 + 4 + 3 and '"];' not in mermaid.splitlines()[2][:-2]


def test_thing_is_found_again_by_its_reference() -> None:
    calls = pb.Thing(kind=pb.THING_KIND_CALLS, id="iris:3/ada")
    assert [lineage.reference(one) for one in (TASK, calls)] == ["t-1", "iris:3"]
    assert lineage.reference(DATA) == f"sha256:{'a' * 64}"
