"""How a process that was forked from a warm parent becomes ``python …``, with its modules imported already.

Owns the reading of an interpreter's arguments and the way to the user's first line and from their last. Must be called
in a process that has one thread and is nothing else.
"""

import builtins
import contextlib
import faulthandler
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, NoReturn

from modelyard.worker.warm.shedding import close_others, reseed

# Whatever is read before the first line of a program is as it was when the parent was born.
_EARLY = ("LD_", "PYTHON", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_")
# These are obeyed all the same.
_OBEYED = ("PYTHONUNBUFFERED", "PYTHONFAULTHANDLER")
_FLAGS = ("-u", "-B", "-s")


class Program(NamedTuple):
    """What the interpreter is to run: a file, "-m" with a module, "-c" with code."""

    kind: str
    target: str
    arguments: list[str]


def program_of(arguments: Sequence[str]) -> Program | None:
    """The arguments behind the interpreter's own name; None: only an interpreter of its own understands them."""
    rest = list(arguments)
    while rest and rest[0] in _FLAGS:
        rest.pop(0)
    if not rest:
        return None
    if rest[0] in ("-m", "-c"):
        return Program(rest[0], rest[1], rest[2:]) if len(rest) > 1 else None
    return None if rest[0].startswith("-") else Program("", rest[0], rest[1:])


def may_become(env: Mapping[str, str], born_with: Mapping[str, str]) -> bool:
    """Whether nothing in the environment would have had to be known earlier."""
    names = {name for name in (*env, *born_with) if name.startswith(_EARLY) and name not in _OBEYED}
    return all(env.get(name) == born_with.get(name) for name in names)


def become(
    program: Program, env: Mapping[str, str], directory: str, fds: Sequence[int], cgroups: Sequence[str]
) -> NoReturn:
    """Runs the program to its end, and ends with it."""
    code = 1
    try:
        os.setsid()
        for group in cgroups:
            Path(group, "cgroup.procs").write_text("0", encoding="ascii")
        _dress(env, directory, fds)
        code = _run(program)
    except BaseException:  # nobody is above: its last words are all that is heard of it
        traceback.print_exc()
    finally:
        code = _leave(code)
        os._exit(code)


def _dress(env: Mapping[str, str], directory: str, fds: Sequence[int]) -> None:
    for target, fd in enumerate(fds):
        os.dup2(fd, target)
    close_others(set())
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)
    for number in (
        signal.SIGCHLD,
        signal.SIGTERM,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGALRM,
        signal.SIGXFSZ,
    ):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout, sys.stderr = _writer(1, "strict"), _writer(2, "backslashreplace")
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
    if env.get("PYTHONFAULTHANDLER"):
        faulthandler.enable(sys.stderr)
    else:
        faulthandler.disable()
    # So that whoever keeps the seat may ask where it stands.
    faulthandler.register(signal.SIGUSR1, sys.stderr, all_threads=True)
    reseed()


def _writer(fd: int, errors: str) -> io.TextIOWrapper:
    is_unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    raw = io.FileIO(fd, "w", closefd=False)
    stream = io.TextIOWrapper(
        io.BufferedWriter(raw),
        "utf-8",
        errors,
        write_through=is_unbuffered,
        line_buffering=is_unbuffered or fd == 2,
    )
    stream.mode = "w"  # type: ignore[misc]
    return stream


def _run(program: Program) -> int:
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    sys.modules["__main__"] = main
    sys.argv = [program.target if not program.kind else program.kind, *program.arguments]
    sys.orig_argv = [
        sys.executable,
        *([program.kind] if program.kind else []),
        program.target,
        *program.arguments,
    ]
    try:
        _execute(program, main)
    except SystemExit as end:
        return _code_of(end)
    except BaseException as error:  # a program may end by anything: it is shown as an interpreter shows it
        _show(error)
        return 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _execute(program: Program, main: ModuleType) -> None:
    if program.kind == "-m":
        import runpy

        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - a string is what sys.path holds
        # What `python -m` itself calls.
        runpy._run_module_as_main(program.target)  # type: ignore[attr-defined]
        return
    if program.kind == "-c":
        sys.path.insert(0, "")
        exec(compile(program.target, "<string>", "exec"), main.__dict__)
        return
    path = Path(program.target)
    if path.is_dir() or path.suffix in (".zip", ".pyz"):
        import runpy

        runpy.run_path(program.target, run_name="__main__")
        return
    sys.path.insert(0, str(path.absolute().parent))
    main.__file__ = program.target
    exec(compile(path.read_bytes(), program.target, "exec"), main.__dict__)


def _code_of(end: SystemExit) -> int:
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _show(error: BaseException) -> None:
    """Its traceback from the user's own first line on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in (__file__, "<frozen runpy>"):
        frames = frames.tb_next
    sys.excepthook(type(error), error.with_traceback(frames), frames)


def _leave(code: int) -> int:
    """What an interpreter does before it ends."""
    import atexit

    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except (
        BaseException
    ):  # what a program leaves to be done may raise anything; an interpreter tells it, and ends so
        with contextlib.suppress(OSError):
            os.write(2, traceback.format_exc().encode())
        return code or 120
    return code
