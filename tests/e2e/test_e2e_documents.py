"""Pages of docs/ typed line by line on one yard: what each says its reader has is made before (issue 7.5)."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.documents import Typed, console_lines, type_in
from tests.support.documents_world import write_canvases, write_models, write_tables
from tests.support.receiver import Receiver
from tests.support.yard import Yard, new_yard

MODELS = "docs/models.md"
QUERY = '{"sql": "select city from self", "to": "csv"}'
GREETER = "yard model push greeter.py --alias champion --label team=language"
UP = "yard up --models --detach"


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """In place of the check after every test: the yard lives longer than one."""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="yard-reader-"))
    write_models(made)
    write_canvases(made)
    write_tables(made)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def yard(place: Path) -> Iterator[Yard]:
    """Brought up as docs/models.md says."""
    with new_yard(is_up=False, environ={"MODELYARD_PARAM_QUERIES": QUERY}) as made:
        options = (
            f'port_base = {made.port}\nagents = 2\ncpu = 8\nmemory = "4Gi"\nnotify_allow = "127.0.0.1"\n'
        )
        (made.state / "yard.toml").write_text(options)
        assert UP in console_lines(MODELS)
        [up] = type_in([UP], made.state, place, made.environ)
        assert up.code == 0, f"{up}\n{made.logs()}"
        yield made


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    await made.start()
    yield made
    await made.stop()


def type_page(
    yard: Yard,
    place: Path,
    page: str,
    *,
    before: Mapping[str, str] | None = None,
    instead: Mapping[str, str] | None = None,
) -> dict[str, Typed]:
    """Every line of the page, by its command without the remark; none may fail.

    ``before``: what is typed before the line that begins so. ``instead``: what the page can only name, here.
    """
    lines = []
    for line in console_lines(page):
        if line == UP:
            continue
        lines += [more for beginning, more in (before or {}).items() if line.startswith(beginning)]
        for word, found in (instead or {}).items():
            line = line.replace(word, found)
        lines.append(line)
    unused = [word for word in (before or {}) if not any(one.startswith(word) for one in console_lines(page))]
    assert not unused, f"{page} has no line that begins so: {unused}"
    results = type_in(lines, yard.state, place, {"EDITOR": "true"}, timeout_s=540)
    failed = [typed for typed in results if typed.code]
    assert not failed, f"{page}: {failed}"
    return {re.sub(r" +#.*", "", typed.line): typed for typed in results}


@pytest.mark.timeout(600)
@pytest.mark.asyncio
async def test_page_on_models_works_as_it_stands(yard: Yard, place: Path, receiver: Receiver) -> None:  # S2
    pushes = [f"yard model push version-{number}/iris.onnx & " for number in (2, 3, 4)]
    mail = f"yard contacts add mail '{receiver.url}' && yard contacts test mail"
    said = await asyncio.to_thread(
        type_page, yard, place, MODELS,
        before={
            "yard model alias set iris": f"{''.join(pushes)} wait",
            "yard model history": "yard accounts add bob && yard accounts add ada",
            "yard model call iris --input x=@": "yard model push cats.py & yard model push both.py & wait",
            "yard model call cats --input image=@cat.png --contact": mail,
        },
        instead={" --from 3 ": " ", "yard model rm iris:2": "yard model rm iris:2 --yes"},
    )  # fmt: skip
    assert "champion points at greeter:1" in said[GREETER].stderr
    assert said["yard model why iris"].stdout.startswith("version 4 of iris: f-")
    assert receiver.received[-1].document["call"]["model"] == "cats"


@pytest.mark.timeout(600)
@pytest.mark.asyncio
async def test_page_on_contacts_works_as_it_stands(yard: Yard, place: Path, receiver: Receiver) -> None:
    (place / "train.py").write_text("print('fitted')\n")
    await asyncio.to_thread(
        type_page, yard, place, "docs/contacts.md",
        before={
            "yard graph run ocr --contact team  ": "yard graph save ocr ocr.json",
            "yard model call": "yard model load iris || yard model push iris.onnx",
        },
        instead={
            "jsons://hooks.example.org/yard": receiver.url,
            "python train.py": "--attach train.py -- python train.py",
            "-- --attach": "--attach",
            "EVENT": "$(yard contacts deliveries -o name | head -1)",
        },
    )  # fmt: skip
    events = [one.document["event"] for one in receiver.received]
    assert {"test", "task.succeeded", "run.succeeded", "call.succeeded"} <= set(events)


@pytest.mark.timeout(600)
def test_page_on_operators_works_as_it_stands(yard: Yard, place: Path) -> None:
    type_page(yard, place, "docs/operators.md")


@pytest.mark.timeout(600)
def test_page_on_operations_backs_up_restores_and_upgrades(yard: Yard, place: Path) -> None:  # S0.9
    services = ("scheduler", "store", "graph", "trainer", "models")
    before = {name: pid for name in services if (pid := yard.pid(name))}
    assert len(before) > 3
    type_page(yard, place, "docs/operations.md", instead={"/var/lib/modelyard": str(place / "restored")})
    assert (place / "restored" / "scheduler" / "scheduler.db").exists()
    assert all(yard.pid(name) not in (0, pid) for name, pid in before.items()), before


@pytest.mark.timeout(600)
def test_page_on_triggers_works_as_it_stands(yard: Yard, place: Path) -> None:  # S1
    said = type_page(
        yard, place, "docs/triggers.md",
        before={"yard trigger create champion": "yard model push greeter.py --name digits --alias champion"},
    )  # fmt: skip
    backfill = "yard trigger backfill nightly --from 2026-01-01 --to 2026-02-01 --dry-run"
    assert "2026-01-01" in said[backfill].stdout
