"""Every operator that is shipped, in one canvas over two agents, and what each says of bad input (S1.4, S1.5)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from modelyard.amounts import CALLS_SERVICES
from modelyard.catalog import OPERATORS
from modelyard.v1 import canvas_pb2
from tests.support.yard import Yard, new_yard

pytest.importorskip("polars")
pytest.importorskip("sklearn")
DONE = canvas_pb2.EXECUTION_STATE_DONE
CITIES = "city,people,side\nRome,3,a\nOslo,1,b\nBern,,a\nParis,4,b\n"
NUMBERS = "x,y,side\n" + "".join(f"{i},{i * 2 % 7},{'ab'[i % 2]}\n" for i in range(24))
FILES = {
    "cities": CITIES, "numbers": NUMBERS, "text": 'a b\nc "d" é\n\nlast', "empty": "", "header": "a,b\n",
    "ragged": "a,b\n1,2\n3\n", "parquet": "PAR1junk", "words": "x,z\nfoo,1\n", "one": "x,one\n1,a\n2,a\n",
    "unnamed": "x,y\n1,2\n", "others": "x,y,side\n1,2,7\n",
}  # fmt: skip
PICTURE = "from PIL import Image; Image.effect_noise((400, 200), 50).save('out.png')"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with new_yard(agents=2) as yard:
        yield yard


class Sheet:
    """A canvas under way: sources are commands that write a file, each with the port `out`."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []
        for name, content in FILES.items():
            self.source(name, ["python", "-c", "import sys; open('out', 'w').write(sys.argv[1])", content])
        self.source("picture", ["python", "-c", PICTURE], "out.png")
        self.source("broken", ["sh", "-c", f'python -c "{PICTURE}"; head -c 2000 out.png > out'])
        self.source("noise", ["python", "-c", "open('out', 'wb').write(bytes(range(256)) * 4)"])

    def source(self, name: str, argv: list[str], path: str = "out") -> None:
        command = {"argv": argv, "outputs": {"out": path}}
        self.nodes.append({"id": name, "command": command, "resources": {"cpu": 0.2}})

    def add(self, name: str, operator: str, params: dict[str, Any], inputs: dict[str, str]) -> None:
        self.nodes.append(
            {
                "id": name, "operator": operator, "initial_params": params, "record": True, "resources": {"cpu": 0.2},
            }
        )  # fmt: skip
        for port, source in inputs.items():
            giver, _, given = source.partition(".")
            self.edges.append(
                {
                    "id": f"e{len(self.edges)}", "source": giver, "target": name, "target_port": port,
                    "source_port": given or ("out" if giver in {*FILES, "picture", "broken", "noise"} else ""),
                }
            )  # fmt: skip

    async def run(self, yard: Yard, name: str) -> dict[str, canvas_pb2.ExecutionNode]:
        """The nodes after a run, by id."""
        document = json.dumps({"format": "canvas/1", "nodes": self.nodes, "edges": self.edges})
        async with yard.client() as client:
            project = (await client.projects.create(name)).id
            answer = await client.projects.save(project, document)
            assert not answer.problems, answer.problems
            run = await client.runs.wait((await client.runs.start(project)).id)
            return {node.node_id: node for node in await client.runs.nodes(run.id)}


@pytest.mark.asyncio
async def test_every_shipped_operator_does_its_work_in_a_canvas(yard: Yard) -> None:
    # S1.3, S1.4, S1.5: operators by their addresses, results by ports
    sheet = Sheet()
    add = sheet.add
    add("echo", "echo", {"value": {"a": 1}}, {})
    add("pi", "pi", {"digits": 20}, {})
    add("sleep", "sleep", {"seconds": 0.01}, {})
    add("fail", "fail", {"message": "on purpose"}, {})
    add("list", "files.list", {}, {})
    add("read", "files.read", {}, {"file": "text"})
    add("convert", "image.convert", {"to": "webp"}, {"image": "picture"})
    add("describe", "image.describe", {}, {"image": "convert"})
    add("grey", "image.grayscale", {}, {"image": "picture"})
    add("small", "image.resize", {"width": 10, "height": 10}, {"image": "grey"})
    add("plot", "plot.table", {"y": ["y"], "x": "x"}, {"table": "numbers"})
    add("shell", "shell.run", {"command": "wc -c"}, {"input": "text"})
    add("split", "table.split", {"seed": 1}, {"table": "numbers"})
    add(
        "fit", "sklearn.fit", {"estimator": "logistic-regression", "target": "side"}, {"table": "split.train"}
    )
    add("predict", "sklearn.predict", {"to": "csv"}, {"model": "fit", "table": "split.test"})
    add("score", "sklearn.score", {}, {"model": "fit", "table": "split.test"})
    add("parquet2", "table.convert", {}, {"table": "predict"})
    add("summary", "table.describe", {}, {"table": "cities"})
    add("filter", "table.filter", {"column": "people", "value": 2, "comparison": ">"}, {"table": "cities"})
    add("join", "table.join", {"on": ["city"]}, {"left": "cities", "right": "filter"})
    add("preview", "table.preview", {}, {"table": "join"})
    add(
        "query",
        "table.query",
        {"sql": "select max(people) as most from self", "to": "csv"},
        {"table": "cities"},
    )
    add("most", "files.read", {}, {"file": "query"})
    add("count", "text.count", {}, {"text": "text"})
    add("pieces", "text.split", {}, {"text": "text"})
    add("whole", "text.join", {"between": "|"}, {"texts": "pieces"})
    add("replaced", "text.replace", {"find": "a", "replacement": "A"}, {"text": "whole"})
    used = {node["operator"].partition("@")[0] for node in sheet.nodes if "operator" in node}
    # Those that call services have proofs of their own: test_e2e_graph_training, test_e2e_graph_models.
    assert used == {name for name in OPERATORS if not name.startswith(CALLS_SERVICES)}
    nodes = await sheet.run(yard, "every-operator")
    assert [name for name, node in nodes.items() if node.state != DONE] == ["fail"]
    assert nodes["fail"].error.message == "RuntimeError: on purpose"

    def value(name: str) -> Any:
        return json.loads(nodes[name].outputs[0].value_json)

    assert value("pi") == "3.14159265358979323846"
    assert value("describe")["format"] == "webp"
    assert value("shell").split() == ["18"]
    assert value("score")["rows"] == 6
    assert (value("preview")["rows"], value("most")) == (2, "most\n4\n")
    assert value("count") == {"lines": 4, "words": 6, "characters": 17}
    assert value("replaced") == 'A b|c "d" é|lAst'
    assert {node.node for node in nodes.values()} == {"node-1", "node-2"}


RIDGE = {"estimator": "ridge", "target": "y"}
BAD: list[tuple[str, dict[str, Any], dict[str, str], str, str]] = [
    ("table.describe", {}, {"table": "empty"}, "the table is empty", "first line must name"),
    ("table.describe", {}, {"table": "ragged"}, "row 2 has 1 cells", "a cell for each column"),
    ("table.describe", {}, {"table": "noise"}, "input 'table' of operator 'table.describe' is not UTF-8 text", ""),
    ("table.filter", {"column": "no", "value": 1}, {"table": "cities"}, "no column 'no'", "city, people, side"),
    ("table.convert", {}, {"table": "empty"}, "the file is empty", "Parquet, or CSV"),
    ("table.convert", {}, {"table": "noise"}, "the file is no table", "Parquet, or CSV"),
    ("table.convert", {}, {"table": "parquet"}, "the file is no table", "Parquet, or CSV"),
    ("table.query", {"sql": "select no from self"}, {"table": "cities"}, 'unable to find column "no"', "called self"),
    ("table.query", {"sql": "selekt"}, {"table": "cities"}, "Expected: an SQL statement", "called self"),
    ("table.query", {"sql": " "}, {"table": "cities"}, "the query is empty", "select * from self"),
    ("table.join", {"on": ["y"]}, {"left": "cities", "right": "numbers"}, "the left table has no", "city, people"),
    ("table.join", {"on": []}, {"left": "cities", "right": "numbers"}, "on names no column", "in common"),
    ("table.join", {"on": ["x"]}, {"left": "numbers", "right": "words"}, "x Int64 and String", "cast"),
    ("table.split", {}, {"table": "header"}, "the table has 0 rows", "more rows"),
    ("sklearn.fit", {"estimator": "ridge"}, {"table": "numbers"}, "ridge needs a target", "name the column"),
    ("sklearn.fit", {**RIDGE, "target": "no"}, {"table": "numbers"}, "has no column 'no'", "x, y, side"),
    ("sklearn.fit", RIDGE, {"table": "numbers"}, "column 'side' is String", "encode it"),
    ("sklearn.fit", {**RIDGE, "target": "side", "features": ["x"]}, {"table": "numbers"}, "learns", "classifier"),
    ("sklearn.fit", {**RIDGE, "target": "a"}, {"table": "header"}, "the table has no rows", "table.preview"),
    ("sklearn.fit", {"estimator": "k-means", "features": ["people"]}, {"table": "cities"}, "1 empty cells", "coalesce"),
    (
        "sklearn.fit", {"estimator": "logistic-regression", "target": "one"}, {"table": "one"}, "one class only: 'a'",
        "two classes",
    ),
    (
        "sklearn.fit", {**RIDGE, "features": ["x"], "settings": {"alpha": "big"}}, {"table": "numbers"},
        "ridge cannot learn this: The 'alpha' parameter", "settings",
    ),
    ("sklearn.predict", {}, {"model": "cities", "table": "numbers"}, "the file is no model", "sklearn.fit"),
    ("sklearn.predict", {}, {"model": "fit", "table": "cities"}, "no column 'x'", "city, people, side"),
    ("sklearn.predict", {"column": "x"}, {"model": "fit", "table": "numbers"}, "column 'x' already", "another name"),
    ("sklearn.score", {}, {"model": "fit", "table": "unnamed"}, "no column 'side'", "x, y"),
    ("sklearn.score", {}, {"model": "fit", "table": "others"}, "was taught other classes", "same kind"),
    ("plot.table", {"y": ["no"]}, {"table": "numbers"}, "no column 'no'", "x, y, side"),
    ("plot.table", {"y": ["side"]}, {"table": "numbers"}, "column 'side' is String", "columns of numbers"),
    ("plot.table", {"y": ["a"]}, {"table": "header"}, "the table has no rows", "table.preview"),
    ("image.resize", {"width": 5, "height": 5}, {"image": "cities"}, "no image of a known format", "whole PNG"),
    ("image.grayscale", {}, {"image": "broken"}, "the image is damaged", "whole PNG"),
    ("image.convert", {}, {"image": "empty"}, "the file is empty", "whole PNG"),
    ("shell.run", {"command": "echo oh dear >&2; exit 7"}, {}, "ended with code 7: oh dear", "set check to false"),
    ("shell.run", {"command": "kill -9 $$"}, {}, "ended by signal 9 (SIGKILL)", "set check to false"),
    ("shell.run", {"command": "no-such-program"}, {}, "no-such-program: not found", "set check to false"),
    ("shell.run", {"command": " "}, {}, "the command is empty", ""),
    ("shell.run", {"command": "head -c 3000000 /dev/zero"}, {}, "3000000 bytes, and 1 MiB is the most", "outputs"),
    ("text.join", {}, {"texts": "summary"}, "texts is no list", "connect several nodes"),
    ("sleep", {"seconds": -1}, {}, "seconds must not be negative", ""),
]  # fmt: skip


@pytest.mark.asyncio
async def test_operators_say_what_is_wrong_with_their_input_and_what_to_do(yard: Yard) -> None:
    # S1.7: a failed node has an error that its reader can act on
    sheet = Sheet()
    sheet.add(
        "fit", "sklearn.fit", {"estimator": "logistic-regression", "target": "side"}, {"table": "numbers"}
    )
    sheet.add("summary", "table.describe", {}, {"table": "cities"})
    for number, (operator, params, inputs, _, _) in enumerate(BAD):
        sheet.add(f"bad{number}", operator, params, inputs)
    nodes = await sheet.run(yard, "bad-input")
    sources = [name for name, node in nodes.items() if not name.startswith("bad") and node.state != DONE]
    assert not sources, nodes[sources[0]].error
    for number, (operator, _, _, message, step) in enumerate(BAD):
        error = nodes[f"bad{number}"].error
        assert message in error.message, (operator, error.message)
        assert step in error.next_step, (operator, error.next_step)
        assert "Error:" not in error.message and "\n" not in error.message, error.message
        assert not error.traceback, error.traceback
