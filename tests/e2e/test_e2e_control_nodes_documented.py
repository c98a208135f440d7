"""docs/control-nodes.md, typed in line by line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.yard import ROOT, new_yard
from tests.support.yard_process import environment

TEXT = (ROOT / "docs" / "control-nodes.md").read_text()


def test_every_line_of_the_page_on_control_nodes_works_in_order(tmp_path: Path) -> None:
    for name, canvas in re.findall(r"Save this as `([\w.]+)`:\n\n```json\n(.*?)```", TEXT, re.DOTALL):
        (tmp_path / name).write_text(canvas)
    blocks = re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    script = "\n".join(
        f"{{ {line}\n}} >{number}.out 2>{number}.err || echo FAILED >>{number}.err"
        for number, line in enumerate(lines)
    )
    with new_yard() as yard:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**environment(yard.state), "PATH": path}
        subprocess.run(
            ["bash", "-c", script], env=env, cwd=tmp_path, stdin=subprocess.DEVNULL, timeout=150, check=True
        )
        said = {line: (tmp_path / f"{number}.err").read_text() for number, line in enumerate(lines)}
        told = {line: (tmp_path / f"{number}.out").read_text() for number, line in enumerate(lines)}
        assert not [(line, text) for line, text in said.items() if "FAILED" in text]
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
