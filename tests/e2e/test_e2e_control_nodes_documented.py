"""docs/control-nodes.md, typed in line by line."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.documents import console_lines, text, type_in
from tests.support.yard import new_yard

PAGE = "docs/control-nodes.md"


def test_every_line_of_the_page_on_control_nodes_works_in_order(tmp_path: Path) -> None:
    for name, canvas in re.findall(r"Save this as `([\w.]+)`:\n\n```json\n(.*?)```", text(PAGE), re.DOTALL):
        (tmp_path / name).write_text(canvas)
    with new_yard() as yard:
        results = type_in(console_lines(PAGE), yard.state, tmp_path, timeout_s=150)
        assert not [typed for typed in results if typed.code]
        said = {typed.line: typed.stderr for typed in results}
        told = {typed.line: typed.stdout for typed in results}
        assert "hint" not in "".join(text for line, text in said.items() if " save " in line)
        assert 'kept.result\t"short enough"\n' in told["yard graph run branching"]
        [longer] = [text for line, text in told.items() if "six seven" in line]
        assert 'cut.result\t"too long"\n' in longer and "kept" not in longer
        assert "took 'long'" in told["yard graph show r-2"]
        assert "each/0 … each/2" in told["yard graph show r-3 each"]
        assert "3 items" in told["yard graph show r-3"]
        assert "each/1/count" in told["yard graph show r-3 each/1"]
        assert "each/2/count" in said["yard graph run mapping --bodies"]
        assert "each/2/count" not in said["yard graph run mapping --watch"]
        assert 'grow.number\t"192"\n' in told["yard graph run growing"]
        assert "6 rounds, the condition holds" in told["yard graph show r-5 grow"]
        assert "yard graph approve r-6 release" in told["yard graph show $run"]
        assert 'done.result\t"released"\n' in told["yard graph watch $run"]
        assert ": looks well" in told["yard graph show $run release"]
        assert yard.cli("down").code == 0
