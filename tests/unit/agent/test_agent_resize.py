"""Attachments and resources of what a machine has: who is asked, what is held meanwhile, what is told."""

from __future__ import annotations

from pathlib import Path

from services.agent.keeping.holdings import Holdings
from services.agent.preparation.attachments import lay, place, replace, take_away
from services.agent.preparation.inputs import is_sealed, seal
from services.agent.tasks import effects as do
from services.agent.tasks.events import (
    AttachmentsPlaced,
    ClockTicked,
    HoldingChanged,
    ModifyAsked,
    WorkModified,
    WorkReported,
)
from services.agent.tasks.model import Attachment, Holding, LimitSet, NoteKind
from tests.support.agent_machine import CPU, Bench, body

NEW = Attachment("a.txt", "d" * 64)


def running(bench: Bench, *task_ids: str) -> None:
    bench.apply(ClockTicked())
    bench.ready()
    bench.start(*task_ids)
    for task_id in task_ids:
        bench.begin(task_id)
    bench.tell()


def told(bench: Bench) -> list[tuple[str, str, str]]:
    _, notes = bench.state.outbox.take(100)
    return [(note.kind.value, note.field, note.message or note.remark) for note in notes]


def cpu(cores: float) -> Holding:
    return Holding((("cpu", round(cores * CPU)),), LimitSet(cores))


def test_more_cores_are_held_at_once_and_fewer_once_the_limits_hold() -> None:  # S0.7
    bench = Bench(cpu=4 * CPU)
    running(bench, "t-1")
    for cores, held, left in ((3, 1, 1), (1, 1, 3)):
        bench.command(ModifyAsked("t-1", 1, 5 + cores, holding=cpu(cores)))
        wanted = bench.wanted(do.ChangeHolding)[-1]
        assert bench.state.free["cpu"] == held * CPU
        assert told(bench) == []
        bench.apply(HoldingChanged("t-1/1", 5 + cores, wanted.holding))
        assert bench.state.free["cpu"] == left * CPU
        assert told(bench) == [(NoteKind.MODIFIED.value, "resources", "")]
    bench.end("t-1")
    assert bench.state.free["cpu"] == 4 * CPU


def test_resources_that_there_is_no_room_for_or_that_are_in_use_are_refused() -> None:
    bench = Bench(cpu=2 * CPU)
    running(bench, "t-1")
    bench.command(ModifyAsked("t-1", 1, 5, holding=cpu(3)))
    assert told(bench) == [("MODIFIED", "resources", "the machine has no room for more cpu")]
    bench.command(ModifyAsked("t-1", 1, 6, holding=cpu(2)))
    bench.apply(HoldingChanged("t-1/1", 6, cpu(2), refused=True, message="in use"))
    assert told(bench) == [("MODIFIED", "resources", "in use")]
    assert bench.state.free["cpu"] == CPU


def test_task_that_has_not_begun_is_given_back_with_its_change() -> None:
    bench = Bench(cpu=CPU)
    running(bench, "t-1")
    bench.start("t-2")
    bench.command(ModifyAsked("t-2", 1, 5, attachments=(NEW,)))
    assert told(bench) == [("RETRACTED", "", "")]


def test_task_that_began_all_the_same_takes_its_change_then() -> None:
    bench = Bench()
    bench.apply(ClockTicked())
    bench.ready()
    bench.start("t-1")
    bench.command(ModifyAsked("t-1", 1, 5, attachments=(NEW,)))
    assert bench.wanted(do.PlaceAttachments) == []
    bench.begin("t-1")
    assert [effect.attachments for effect in bench.wanted(do.PlaceAttachments)] == [(NEW,)]


def test_attachments_are_put_in_place_before_the_task_is_told() -> None:  # S0.6 S0.7
    bench = Bench()
    running(bench, "t-1")
    bench.command(ModifyAsked("t-1", 1, 5, attachments=(NEW,)))
    bench.command(ModifyAsked("t-1", 1, 5, attachments=(NEW,)))
    assert len(bench.wanted(do.PlaceAttachments)) == 1
    bench.apply(AttachmentsPlaced("t-1/1", 5, (NEW,)))
    [tell] = bench.wanted(do.TellAttachments)
    assert tell.task.body.attachments == (NEW,)
    assert told(bench) == []
    worker, task = bench.find("t-1")
    said = WorkModified(task.work_key, 5, True, has_attachments=True)
    bench.apply(WorkReported(worker, modified=(said,)))
    assert told(bench) == [("MODIFIED", "attachments", "")]
    bench.command(ModifyAsked("t-1", 1, 6, attachments=(NEW,)))
    bench.apply(AttachmentsPlaced("t-1/1", 6, (NEW,), "the disk is full"))
    assert told(bench) == [("MODIFIED", "attachments", "the disk is full")]


def test_later_agent_process_knows_what_a_task_holds(tmp_path: Path) -> None:
    bench = Bench()
    running(bench, "t-1")
    Holdings(tmp_path / "h.json").note(bench.state.tasks["t-1/1"], cpu(2))
    again = Holdings(tmp_path / "h.json")
    assert again.laid_over("t-1/1", body()).resources == (("cpu", 2 * CPU),)
    assert again.laid_over("t-2/1", body()) == body()
    again.forget([bench.state.tasks["t-1/1"]])
    assert Holdings(tmp_path / "h.json").laid_over("t-1/1", body()) == body()


def test_changed_attachment_is_whole_and_one_that_is_taken_away_is_gone(tmp_path: Path) -> None:
    work, cached = tmp_path / "work", tmp_path / "cached"
    work.mkdir()
    cached.write_text("new")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "x").write_text("x")
    place([Attachment("d/a", "1")], work, lambda _: cached)
    replace(Attachment("d/a", "2"), work, lambda _: cached)
    replace(Attachment("t", "3", True), work, lambda _: tmp_path / "tree")
    replace(Attachment("t", "3", True), work, lambda _: tmp_path / "tree")
    assert (work / "d/a").read_text() == "new"
    assert sorted(str(path.relative_to(work)) for path in work.rglob("*")) == ["d", "d/a", "t", "t/x"]
    take_away("d/a", work)
    take_away("d/a", work)
    assert not (work / "d/a").exists()


def test_cached_file_that_somebody_wrote_to_is_known_by_its_broken_seal(tmp_path: Path) -> None:
    cached = tmp_path / "cached"
    cached.write_text("as it came")
    seal(cached)
    lay(Attachment("a", "1"), tmp_path / "own", lambda _: cached)
    (tmp_path / "own").write_text("changed")
    assert is_sealed(cached)
    cached.write_text("spoilt")
    assert not is_sealed(cached)
