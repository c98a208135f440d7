"""Lines of logs: whole ones, long ones, and the last ones."""

from __future__ import annotations

from pathlib import Path

from modelyard.worker.seats.tails import LINE_BYTES, Tail, last_lines


def test_lines_come_whole_and_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    tail = Tail(str(log), 7)
    assert tail.lines() == []
    with log.open("a") as file:
        file.write("one\ntw")
        file.flush()
        assert tail.lines() == ["one"]
        file.write("o\r\nthree")
        file.flush()
        assert [line for line in tail.lines() if line] == ["two"]
        assert tail.lines(is_over=True) == ["three"]
        assert tail.lines(is_over=True) == []


def test_only_the_beginning_of_a_long_line_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    tail = Tail(str(log), 0)
    assert tail.lines() == []
    log.write_text("x" * 10_000)
    assert tail.lines() == ["x" * LINE_BYTES]
    with log.open("a") as file:
        file.write("x" * 10_000)
        file.flush()
        assert tail.lines() == []
        file.write("x\nnext\n")
        file.flush()
        assert tail.lines() == ["next"]


def test_progress_bar_is_a_line_for_each_of_its_states(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"10%\r20%\r30%\ndone\r\n")
    assert [line for line in Tail(str(log), 0).lines() if line] == ["10%", "20%", "30%", "done"]
    assert last_lines([str(log)], [0], 1) == ["30%", "done"]


def test_last_lines_are_those_of_the_last_file_and_before_them_of_the_others(tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    out.write_text("".join(f"o{n}\n" for n in range(100)))
    err.write_text("old\n── epoch 2 ──\n" + "".join(f"e{n}\n" for n in range(5)))
    paths = [str(out), str(err)]
    found = last_lines(paths, [0, 4], 2)
    assert found == [*(f"o{n}" for n in range(85, 100)), *(f"e{n}" for n in range(5))]
    assert last_lines(paths, [1000, 1000], 2) == []
    assert last_lines([str(tmp_path / "none")], [0], 1) == []
