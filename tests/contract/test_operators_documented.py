"""docs/operators.md lists every operator of the catalogue as the code has it.

To bring the table up to date: `python tests/contract/test_operators_documented.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operators.md"
BEGIN, END = "<!-- operators -->", "<!-- end -->"

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from modelyard.catalog import describe_all, function_of  # noqa: E402
from modelyard.operator.declaration import declared  # noqa: E402


def _table() -> str:
    rows = [
        "| operator | what it does | parameters | inputs | outputs | needs |",
        "|---|---|---|---|---|---|",
    ]
    rows += [_row(description) for description in describe_all()]
    return "\n".join(rows)


def _row(description: dict[str, Any]) -> str:
    schema = description["params_schema"]
    required = schema.get("required", [])
    params = " ".join(name if name in required else f"[{name}]" for name in schema["properties"])
    inputs = " ".join(
        f"{port['name']}: {port['type']}" if port["required"] else f"[{port['name']}: {port['type']}]"
        for port in description["inputs"]
    )
    outputs = " ".join(f"{port['name']}: {port['type']}" for port in description["outputs"])
    effects = ", has effects" if description["has_effects"] else ""
    needs = ", ".join(declared(function_of(description["name"])).libraries)
    name = f"`{description['name']}@{description['version']}`{effects}"
    return f"| {name} | {description['summary']} | {params} | {inputs} | {outputs} | {needs} |"


def _page(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{_table()}\n{END}{rest.partition(END)[2]}"


def test_operators_are_documented_as_they_are() -> None:
    text = PAGE.read_text()
    assert text == _page(text), "run: python tests/contract/test_operators_documented.py"


if __name__ == "__main__":
    PAGE.write_text(_page(PAGE.read_text()))
