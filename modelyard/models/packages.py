"""What may be named as a package: its name and its versions, from whatever index the node has. Pure.

Whatever else pip understands (options, addresses, paths, further lines) it would follow while an environment is made,
where nothing is shut in.
"""

from __future__ import annotations

import re

EXAMPLE = 'a package by its name, such as "numpy>=2"; another index is set on the nodes (UV_INDEX_URL)'
_PACKAGE = re.compile(
    r"(?!.*\s-)[A-Za-z0-9][A-Za-z0-9._-]*[ \t]*"
    r"(\[[A-Za-z0-9._, -]*\][ \t]*)?"
    r"([<>=!~][A-Za-z0-9.*+!<>=~, \t_-]*)?"
    r"(;[^\\$#\n\r]*)?"
)


def is_package(line: str) -> bool:
    """Whether it names a package and nothing else."""
    return _PACKAGE.fullmatch(line) is not None
