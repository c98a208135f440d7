"""Why a value does not fit, in words that help: what libraries say of it, with what was perhaps meant. Pure."""

import re
from collections.abc import Iterable, Mapping

import msgspec

from modelyard.nearest import nearest
from services.graph.canvases.canvas import (
    BranchWork,
    CaseWork,
    CommandWork,
    ConditionWork,
    GateWork,
    LoopWork,
    MapWork,
    SubgraphPort,
    SubgraphWork,
)
from services.graph.canvases.problems import shown
from services.graph.model import CachePolicy, Comparison, OnError, Trigger

_LENGTH_MOST = 200
_NO_FIELD = re.compile(r"unknown field `(.*)`$", re.DOTALL)
_NO_WORD = re.compile(r"Invalid enum value '(.*)'$", re.DOTALL)
_NO_SETTING = re.compile(
    r'^Message type ".*?" has no field named "(.*?)" at ".*?"\.\s+Available Fields\(except extensions\): "\[(.*)\]"',
    re.DOTALL,
)
_PARTS: Mapping[str, tuple[type[msgspec.Struct], ...]] = {
    "command": (CommandWork,),
    "branch": (BranchWork, CaseWork, ConditionWork),
    "map": (MapWork,),
    "loop": (LoopWork, ConditionWork),
    "subgraph": (SubgraphWork,),
    "gate": (GateWork,),
    "": (SubgraphPort,),
}
_WORDS = {"trigger": Trigger, "cache": CachePolicy, "on_error": OnError, "comparison": Comparison}


def of_document(field: str, message: str) -> str:
    """What msgspec says of the value at a path, "branch.cases[0].condition"."""
    unknown = _NO_FIELD.search(message)
    if unknown is not None:
        kinds = _PARTS.get(re.split(r"[.\[]", field, maxsplit=1)[0], ())
        return _no_field(unknown[1], [name for kind in kinds for name in kind.__struct_fields__])
    wrong = _NO_WORD.search(message)
    words = _WORDS.get(field.rpartition(".")[2])
    if wrong is not None and words is not None:
        listed = ", ".join(repr(word.value) for word in words)
        return f"there is no {shown(wrong[1])!r}; choose one of {listed}"
    return message[:_LENGTH_MOST]


def of_setting(message: str) -> str:
    """What protobuf says of a message's JSON form."""
    unknown = _NO_SETTING.match(message)
    if unknown is None:
        return message[:_LENGTH_MOST]
    known = re.findall(r"'(\w+)'", unknown[2])
    return _no_field(unknown[1], [re.sub("([A-Z])", r"_\1", name).lower() for name in known])


def _no_field(name: str, known: Iterable[str]) -> str:
    listed = list(dict.fromkeys(known))
    close = nearest(re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name[:_LENGTH_MOST]).lower(), listed)
    step = f"did you mean {close!r}?" if close else f"there are: {', '.join(listed)}"
    return f"there is no field {shown(name)!r}; {step}"
