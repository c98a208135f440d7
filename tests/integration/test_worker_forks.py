"""Programs that are forked from a warm parent: they must not be able to tell, but for their speed."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.frames import Message, Peer, is_alive, wait_for, worker_process
from tests.support.seat_shim import Shim

WARM = "fractions"


@pytest.fixture
def warm(place: Path) -> Iterator[Shim]:
    """An open seat whose worker was born with a module."""
    with worker_process(place, "--import", WARM) as (_, path):
        peer = Peer(path)
        shim = Shim(peer, place)
        shim.open("a")
        yield shim
        peer.close()


def run(shim: Shim, epoch: int, *argv: str, imports: tuple[str, ...] = (WARM,), **process: Any) -> Message:
    """One Python program, launched with its imports, to its end."""
    asked = {"argv": [sys.executable, *argv], **process}
    shim.order(launch={"epoch": epoch, "processes": [asked], "imports": list(imports)})
    return shim.until_state("ENDED", epoch)["exit"]


def printed(shim: Shim) -> list[str]:
    return (shim.log / "stdout").read_text().splitlines()


IS_WARM = f"import sys; print('{WARM}' in sys.modules)"


def test_program_has_what_its_parent_has_imported(warm: Shim) -> None:
    run(warm, 1, "-c", IS_WARM)
    run(warm, 2, "-c", IS_WARM)
    assert printed(warm) == ["True", "True"]


@pytest.mark.parametrize(
    "more",
    [
        {"imports": ()},
        {"imports": ("another",)},
        {"env": {"OMP_NUM_THREADS": "7"}},
        {"env": {"PYTHONPATH": "/somewhere"}},
        {"env": {"LD_PRELOAD": ""}},
    ],
)
def test_program_that_would_have_begun_otherwise_gets_an_interpreter_of_its_own(
    warm: Shim, more: Any
) -> None:
    run(warm, 1, "-c", IS_WARM, **more)
    assert printed(warm) == ["False"]


def test_flags_of_the_interpreter_that_cannot_be_obeyed_get_one_of_their_own(warm: Shim) -> None:
    run(warm, 1, "-E", "-c", IS_WARM)
    assert printed(warm) == ["False"]


def test_another_program_is_executed(warm: Shim) -> None:
    warm.order(launch={"epoch": 1, "processes": [{"argv": ["echo", "plain"]}], "imports": [WARM]})
    assert warm.until_state("ENDED")["exit"]["cause"] == "EXIT_CAUSE_SUCCESS"
    assert printed(warm) == ["plain"]


def test_script_finds_its_arguments_modules_environment_and_stdin(warm: Shim) -> None:
    (warm.work / "sub").mkdir()
    (warm.work / "sub" / "beside.py").write_text("NAME = __name__\n")
    (warm.work / "sub" / "main.py").write_text(
        "import beside, os, pickle, sys\n"
        "class Kept: pass\n"
        "assert type(pickle.loads(pickle.dumps(Kept()))) is Kept\n"
        "print(__name__, beside.NAME, sys.argv, os.environ['WORD'], sys.stdin.read(), os.getcwd(), __file__)\n"
        "print(os.environ.get('YARD_NOTHING'), os.getpid() == os.getsid(0), len(os.listdir('/proc/self/fd')))\n"
    )
    end = run(warm, 1, "-u", "sub/main.py", "--lr", "1", env={"WORD": "word"}, stdin="typed")
    assert end["cause"] == "EXIT_CAUSE_SUCCESS", end
    first, second = printed(warm)
    assert first == f"__main__ beside ['sub/main.py', '--lr', '1'] word typed {warm.work} sub/main.py"
    assert second.split()[:2] == ["None", "True"]
    # Those of its three streams and of the listing itself.
    assert int(second.split()[2]) == 4


def test_module_and_code_run_as_an_interpreter_would_run_them(warm: Shim) -> None:
    (warm.work / "package").mkdir()
    (warm.work / "package" / "__init__.py").write_text("")
    (warm.work / "package" / "__main__.py").write_text(
        "import sys; print(__name__, __package__, sys.argv[1:])\n"
    )
    run(warm, 1, "-m", "package", "a")
    run(warm, 2, "-c", "import sys; print(__name__, sys.argv, sys.path[0] == '')", "b")
    assert printed(warm) == ["__main__ package ['a']", "__main__ ['-c', 'b'] True"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(3)", {"exit_code": 3}),
        ("raise SystemExit('why')", {"exit_code": 1}),
        ("raise ValueError('bad')", {"exit_code": 1}),
        ("import os; os.kill(os.getpid(), 15)", {"signal": 15}),
        ("import atexit; atexit.register(print, 'last'); import sys; sys.exit()", {"exit_code": 0}),
        (
            "import threading, time; threading.Thread(target=lambda: (time.sleep(.2), print('late'))).start()",
            {},
        ),
    ],
)
def test_program_ends_as_it_would_have(warm: Shim, code: str, expected: dict[str, int]) -> None:
    end = run(warm, 1, "-c", code)
    assert expected.items() <= end.items()
    told = end["last_lines"]
    assert "reborn" not in "\n".join(told)
    if "ValueError" in code:
        assert told[-3:] == [
            "Traceback (most recent call last):",
            '  File "<string>", line 1, in <module>',
            "ValueError: bad",
        ]
    assert ("last" in told) == ("last" in code)
    assert ("late" in told) == ("late" in code)


def test_forked_program_is_stopped_like_any_other_and_its_parent_goes_on(warm: Shim) -> None:
    code = "import os, time; os.fork() or os.setsid(); print('r', flush=True); time.sleep(60)"
    asked = {"argv": [sys.executable, "-c", code]}
    warm.order(
        launch={"epoch": 1, "processes": [asked, asked], "imports": [WARM], "signs": [{"id": 1, "log": "r"}]}
    )
    pids = warm.until_state("RUNNING")["pids"]
    warm.until_told("sign")
    shim = warm.peer.frames[0]["inventory"]["pid"]
    assert [psutil.Process(pid).ppid() for pid in pids] == [shim, shim]
    warm.order(stop={"epoch": 1, "signal": "SIGTERM", "grace_ms": 100})
    assert warm.until_state("ENDED")["exit"]["signal"] in (signal.SIGTERM, signal.SIGKILL)
    assert not any(map(is_alive, pids))
    wait_for(lambda: len(psutil.Process(shim).children(recursive=True)) == 1)
    run(warm, 2, "-c", IS_WARM)
    assert printed(warm)[-1] == "True"


def test_forked_program_tells_its_stacks_unasked(warm: Shim) -> None:
    code = "import time\ndef stuck():\n    print('r', flush=True)\n    time.sleep(60)\nstuck()"
    asked = {"argv": [sys.executable, "-c", code]}
    warm.order(launch={"epoch": 1, "processes": [asked], "imports": [WARM], "signs": [{"id": 1, "log": "r"}]})
    warm.until_told("sign")
    warm.order(dump_stacks={})
    assert "line 4 in stuck" in warm.until_told("stacks")
    warm.close()
