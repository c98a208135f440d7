"""Facts and findings as plain JSON values and back: between processes, and onto a disk. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Annotated, Any

import msgspec

from modelyard.models.facts import Fact, Facts, Inspection
from modelyard.models.values import Codec, Datatype, Format, Provenance, Step

FACTS_MOST = 20_000
_Rows = Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]
NAMES_MOST, NAME_LENGTH = 1_000, 300
_Size = Annotated[int, msgspec.Meta(ge=-1, le=(1 << 62))]
_STEPS = ("pre", "post", "visualise")


class NotFacts(ValueError):
    """A document is no facts; the message says where."""


def facts_out(facts: Facts) -> dict[str, list[Any]]:
    """By path: value, provenance, why."""
    return {path: [_plain(fact.value), fact.provenance.value, fact.why] for path, fact in facts.items()}


def facts_in(document: Mapping[str, Any], provenance: Provenance | None = None) -> Facts:
    """Back again; with `provenance` its entries are value and why. Raises NotFacts: the text is another process's."""
    if not isinstance(document, Mapping) or len(document) > FACTS_MOST:
        raise NotFacts(f"not a map of at most {FACTS_MOST} facts")
    found: Facts = {}
    for path, entry in document.items():
        try:
            if provenance is not None:
                value, why = entry
                said = provenance
            else:
                value, word, why = entry
                said = Provenance(word)
            found[str(path)] = Fact(typed(str(path), value), said, str(why))
        except (ValueError, TypeError, msgspec.ValidationError) as error:
            raise NotFacts(f"{str(path)[:200]}: {error}") from error
    return found


def inspection_out(found: Inspection) -> dict[str, Any]:
    """An inspection for another process."""
    return {
        "format": found.format.value,
        "file": found.file,
        "facts": facts_out(found.facts),
        "refusals": list(found.refusals),
        "warnings": list(found.warnings),
        "has_example": found.has_example,
    }


def inspection_in(document: Mapping[str, Any]) -> Inspection:
    """Back again. Raises NotFacts."""
    try:
        return Inspection(
            format=Format(document["format"]),
            file=str(document["file"]),
            facts=facts_in(document["facts"]),
            refusals=[str(one) for one in document["refusals"]],
            warnings=[str(one) for one in document["warnings"]],
            has_example=bool(document.get("has_example", False)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotFacts(str(error)) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Step):
        return {"op": value.op, "code": value.code, "options": [list(one) for one in value.options]}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    return value


def typed(path: str, value: Any) -> Any:
    """A plain value as the field of this path has it. Raises ValueError, TypeError."""
    if path in _STEPS:
        return tuple(_step(one) for one in _sequence(value))
    name = path.rpartition(".")[2]
    return _TYPES.get(name, _as_is)(value) if "." in path or path in ("inputs", "outputs") else value


def _step(value: Any) -> Step:
    options = tuple((str(name), inner) for name, inner in value["options"])
    return Step(op=str(value["op"]), code=str(value["code"]), options=options)


def _sequence(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise TypeError("not a list")
    return tuple(value)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(msgspec.convert(value, list[str]))


def _names(value: Any) -> tuple[str, ...]:
    names = _texts(value)
    if len(names) > NAMES_MOST or len(set(names)) < len(names):
        raise ValueError(f"more than {NAMES_MOST} names, or one twice")
    if any(not name or len(name) > NAME_LENGTH for name in names):
        raise ValueError(f"a name with nothing in it, or more than {NAME_LENGTH} characters")
    return names


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(msgspec.convert(value, list[_Size]))


def _rows(value: Any) -> int:
    return msgspec.convert(value, _Rows)


def _datatype(value: Any) -> str:
    return str(Datatype(value).value)


def _as_is(value: Any) -> Any:
    return value


_TYPES: dict[str, Callable[[Any], Any]] = {
    "format": Format,
    "codec": Codec,
    "datatype": _datatype,
    "shape": _shape,
    "columns": _texts,
    "labels": _texts,
    "requirements": _texts,
    "system": _texts,
    "inputs": _names,
    "outputs": _names,
    "max_batch": _rows,
}
