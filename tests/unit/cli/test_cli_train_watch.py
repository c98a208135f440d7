"""A job on a terminal and in a pipe: bars, curves, and no more lines than something has happened (S3.9, issue 5.7)."""

from __future__ import annotations

import io
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.errors import CommandError, UsageError
from cli.following.jobs import best_of, followed
from cli.output import plotting
from cli.output.curves import chart
from cli.output.job_board import JobBoard, curve_lines, instance_line, instance_lines, job_line
from cli.output.job_logs import JsonLines, PrefixedLines
from modelyard.v1 import job_pb2

RUNNING, ENDED = job_pb2.INSTANCE_STATE_RUNNING, job_pb2.INSTANCE_STATE_SUCCEEDED


def job(ratio: float = 0.5, state: job_pb2.JobState.ValueType = job_pb2.JOB_STATE_RUNNING) -> job_pb2.Job:
    return job_pb2.Job(
        id="j-1", name="digits", state=state, roles=[job_pb2.JobRole(name="worker", count=200)],
        progress=job_pb2.JobProgress(ratio=ratio, remaining_s=90),
    )  # fmt: skip


def instance(index: int, ratio: float | None = None, **fields: Any) -> job_pb2.Instance:
    made = job_pb2.Instance(role="worker", index=index, **{"state": RUNNING, "epoch": 1, **fields})
    made.address.node = "node-1"
    if ratio is not None:
        made.progress.ratio, made.progress.step, made.progress.total_steps = ratio, round(ratio * 1000), 1000
        made.progress.metrics.update({"accuracy": 0.5, "loss": 1 - ratio})
    return made


def curve(*values: float, name: str = "loss", role: str = "worker", index: int = 0) -> job_pb2.MetricSeries:
    points = [job_pb2.MetricPoint(step=step, value=value) for step, value in enumerate(values)]
    return job_pb2.MetricSeries(name=name, role=role, index=index, points=points, point_count=len(points))


def test_lines_tell_state_bar_what_remains_and_the_loss_first() -> None:
    assert job_line(job()) == "j-1 digits running ████████████░░░░░░░░░░░░ 50% 1m30s left"
    line = instance_line(instance(0, 0.25))
    assert "worker-0" in line and " running" in line and "node-1" in line and " 25%" in line
    assert line.endswith("step 250 of 1000, loss 0.75, accuracy 0.5")


def test_instances_that_do_not_fit_are_told_by_role_with_those_in_trouble() -> None:
    many = [instance(index, 0.5) for index in range(199)]
    many.append(instance(199, state=job_pb2.INSTANCE_STATE_BACKING_OFF, message="waits 3 s"))
    assert len(instance_lines(job(), many, 300)) == 200
    role, trouble = instance_lines(job(), many, 10)
    assert "199 running, 1 backing_off of 200" in role and " 50%" in role
    assert "worker-199" in trouble and "waits 3 s" in trouble


@pytest.mark.parametrize(
    ("points", "drawn"),
    [
        ([], []),
        ([(0, 1.0)], ["⠄⠀"]),
        ([(0, 0.0), (10, 1.0)], ["⣀⠤⠒⠉"]),
        ([(0, 1.0), (10, 0.0)], ["⠉⠒⠤⣀"]),
        ([(0, 3.0), (5, 3.0), (10, 3.0)], ["⠤⠤⠤⠤"]),
    ],
)
def test_curve_is_drawn_with_dots(points: list[tuple[int, float]], drawn: list[str]) -> None:
    assert chart(points, len(drawn[0]) if drawn else 4, 1) == drawn


def test_curve_has_its_bounds_beside_it_and_fits() -> None:
    lines = curve_lines(curve(*[1 / (step + 1) for step in range(500)]), 80)
    assert lines[0] == "  loss of worker-0: 0.002 at step 499"
    assert lines[1].startswith("           1 ┤⡇") and lines[-1].startswith("       0.002 ┤")
    assert all(len(line) <= 80 for line in lines)
    assert curve_lines(curve(1.0), 80) == []


def test_loss_is_drawn_before_other_metrics() -> None:
    found = [curve(1, 2, 3, name="accuracy"), curve(1, 2, name="loss", index=1), curve(1, 2, name="loss")]
    assert (chosen := best_of(found, ["worker"])) is not None and (chosen.name, chosen.index) == ("loss", 0)
    assert (chosen := best_of(found[:1], [])) is not None and chosen.name == "accuracy"
    assert best_of([], []) is None


class Jobs:
    """The jobs of a client: says what it was given."""

    def __init__(self, told: Sequence[job_pb2.WatchJobResponse]) -> None:
        self._told = told

    async def watch(self, job_id: str) -> AsyncIterator[job_pb2.WatchJobResponse]:
        for one in self._told:
            yield one

    async def metrics(self, job_id: str, names: Sequence[str], most: int) -> Sequence[job_pb2.MetricSeries]:
        return [curve(3.0, 2.0, 1.0)]


class Client:
    def __init__(self, *told: job_pb2.WatchJobResponse) -> None:
        self.jobs = Jobs(told)


def story() -> list[job_pb2.WatchJobResponse]:
    steps = [
        job_pb2.WatchJobResponse(job=job(step / 1000), instances=[instance(0, step / 1000)])
        for step in range(1001)
    ]
    end = instance(0, 1.0, state=ENDED)
    gone = instance(0, 1.0, state=ENDED)
    for one in (end, gone):
        one.exit.cause = job_pb2.EXIT_CAUSE_SUCCESS
    gone.address.node = ""
    over = job(1.0, job_pb2.JOB_STATE_SUCCEEDED)
    ends = [job_pb2.WatchJobResponse(job=over, instances=[one]) for one in (end, gone)]
    return [*steps, *ends]


@pytest.mark.asyncio
async def test_pipe_gets_a_line_for_each_tenth_and_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    ended = await followed(Client(*story()), "j-1")  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    assert ended.state == job_pb2.JOB_STATE_SUCCEEDED
    assert lines[1] == "j-1 running" and lines[-1] == "j-1 succeeded"
    assert 10 <= len(lines) <= 16 and not any("█" in line for line in lines)
    assert sum("worker-0 succeeded" in line for line in lines) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.asyncio
async def test_terminal_gets_bars_and_the_curve_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert JobBoard.is_wanted()
    await followed(Client(*story()), "j-1")  # type: ignore[arg-type]
    last = screen.getvalue().rpartition("\x1b[J")[2] or screen.getvalue()
    assert "100%" in last and "loss of worker-0: 1 at step 2" in last and "┤" in last
    assert all(len(line) < 60 for line in last.splitlines())


def chunk(index: int, data: bytes, stream: int = 1) -> job_pb2.StreamJobLogsResponse:
    return job_pb2.StreamJobLogsResponse(
        role="worker", index=index, epoch=2, stream=stream, offset=7, data=data
    )  # type: ignore[arg-type]


def test_lines_of_many_stand_behind_their_names_and_are_never_split(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    writer = PrefixedLines()
    for part in (
        chunk(0, b"one\ntw"), chunk(1, b"\xff\n"), chunk(0, b"o\n"), chunk(0, b"err\n", 2),
        chunk(1, b" 10%\r 20%\r\n"), chunk(1, b"rest"),
    ):  # fmt: skip
        writer.write(part)
    writer.finish()
    told = capfdbinary.readouterr()
    assert told.out.splitlines() == [
        b"worker-0 | one", b"worker-1 | \xff", b"worker-0 | two", b"worker-1 |  20%", b"worker-1 | rest"
    ]  # fmt: skip
    assert told.err == b"worker-0 | err\n"


def test_logs_as_json_are_a_line_a_piece(capsys: pytest.CaptureFixture[str]) -> None:
    JsonLines().write(chunk(3, b"a\xffb\n"))
    assert capsys.readouterr().out == (
        '{"role": "worker", "index": 3, "epoch": 2, "stream": "stdout", "offset": 7, "text": "a�b\\n"}\n'
    )


@pytest.fixture(scope="module")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Matplotlib keeps its fonts open from its first picture on."""
    plotting.draw([curve(1.0, 2.0)], str(tmp_path_factory.mktemp("fonts") / "first.png"), title="first")


@pytest.mark.parametrize("kind", plotting.FORMATS)
def test_picture_is_drawn_and_the_same_curves_give_the_same_bytes(
    tmp_path: Path, kind: str, fonts: None
) -> None:
    series = [curve(3.0, 2.0, 1.0), curve(3.0, 2.5, index=1), curve(0.1, name="accuracy")]
    for name in ("a", "b"):
        plotting.draw(series, str(tmp_path / f"{name}.{kind}"), title="j-1")
    first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert first.startswith(b"\x89PNG") if kind == "png" else b"worker-1" in first


def test_picture_of_another_kind_or_without_matplotlib_is_refused_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError):
        plotting.require("curve.bmp")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CommandError) as refused:
        plotting.require("curve.svg")
    assert "modelyard[operators]" in refused.value.next_step
