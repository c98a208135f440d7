"""Commands of other tools that find their files where they expect them: below the working directory.

Agents put the inputs of a command beside its working directory; these commands begin with a shell that links each
to its path, and then becomes the command. Owns that wrapping, and the way back. Pure.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

from services.graph.canvases.canvas import CommandWork
from services.graph.canvases.controls import is_inside
from services.graph.canvases.identifiers import is_name
from services.graph.imports.naming import port_name

_LINK = (
    'while [ "$1" != -- ]; do if [ -e "$YARD_INPUTS/$2" ]; then mkdir -p -- "$(dirname -- "$1")" && '
    'ln -sf -- "$YARD_INPUTS/$2" "$1" || exit 126; fi; shift 2; done; shift; exec "$@"'
)
_SHELL = ("/bin/sh", "-c", _LINK, "sh")
"""What nothing is connected to may lie in the bundle, and is left as it is."""
_SHELL_BEFORE = (
    "/bin/sh", "-c",
    'while [ "$1" != -- ]; do mkdir -p -- "$(dirname -- "$1")" && ln -sf -- "$YARD_INPUTS/$2" "$1" || exit 126; '
    'shift 2; done; shift; exec "$@"',
    "sh",
)  # fmt: skip
"""In canvases that were imported earlier."""


def file_port(path: str) -> str:
    """The port of a file: its path without what inputs of tasks may not have, and then with a mark of its own."""
    plain = port_name(path)
    if is_name(plain):
        return plain
    mark = hashlib.sha256(path.encode()).hexdigest()[:8]
    return f"file_{re.sub('[^A-Za-z0-9_.-]', '_', plain)[:80]}.{mark}"


def command_of(
    argv: Sequence[str], inputs: Sequence[str], outputs: Sequence[str], env: Mapping[str, str]
) -> CommandWork:
    """The command with files at paths relative to its working directory; paths that leave it are left out."""
    taken = [path for path in dict.fromkeys(inputs) if is_file(path)]
    links = [word for path in taken for word in (path, _file_name(file_port(path)))]
    whole = (*_SHELL, *links, "--", *argv) if links else tuple(argv)
    given = {file_port(path): path for path in outputs if is_file(path)}
    return CommandWork(whole, given, dict(env))


def is_file(path: str) -> bool:
    """Whether it can be an input or output of a command."""
    return is_inside(path) and path not in ("", "--", ".")


def inputs_of(work: CommandWork) -> list[str]:
    """The paths of the inputs that the command links."""
    links, _ = _parts(work)
    return links


def argv_of(work: CommandWork) -> list[str]:
    """The command without the linking."""
    _, argv = _parts(work)
    return argv


def _parts(work: CommandWork) -> tuple[list[str], list[str]]:
    argv = list(work.argv)
    if tuple(argv[: len(_SHELL)]) not in (_SHELL, _SHELL_BEFORE) or "--" not in argv:
        return [], argv
    end = argv.index("--")
    return argv[len(_SHELL) : end : 2], argv[end + 1 :]


def _file_name(name: str) -> str:
    """How agents call the file of an input."""
    return name.replace("/", "_").replace("\0", "_").lstrip(".") or "_"
