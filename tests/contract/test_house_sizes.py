"""Files and functions that a reader can hold: a file of at most 400 lines, a function of at most 70. There are no
exceptions; what was made by a generator is not counted."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE_LINES_MOST = 400
FUNCTION_LINES_MOST = 70


def sources() -> Iterator[Path]:
    for folder in ("modelyard", "services", "cli", "bench", "protos"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.stem.endswith(("_pb2", "_pb2_grpc")):
                yield path


def lengths_of_functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_files_of_the_house_are_no_longer_than_can_be_held() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in sources()}
    assert len(lengths) > 500
    too_long = {str(path): length for path, length in lengths.items() if length > FILE_LINES_MOST}
    assert not too_long, f"look for the seam: {too_long}"


def test_functions_of_the_house_are_no_longer_than_can_be_held() -> None:
    too_long = {
        f"{path.relative_to(ROOT)}:{name}": length
        for path in sources()
        for name, length in lengths_of_functions(path)
        if length > FUNCTION_LINES_MOST
    }
    assert not too_long, f"think again: {too_long}"
