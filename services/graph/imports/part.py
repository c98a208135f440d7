"""An object of a stranger's document, read field by field.

Owns tolerance: a field of the wrong type is told and taken as absent; what nobody asked for stays in `rest`. Pure.
"""

import re
from collections.abc import Iterator
from typing import Any

from services.graph.canvases.problems import shown
from services.graph.imports.report import Report


class Part:
    """A JSON object with its place in the document. Names may also be written with underscores."""

    __slots__ = ("_used", "_value", "path", "report")

    def __init__(self, value: dict[str, Any], path: str, report: Report) -> None:
        self._value = value
        self.path = path
        self.report = report
        self._used: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._value)

    def __contains__(self, name: str) -> bool:
        return self._key(name) in self._value

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def value(self, name: str, default: Any = None) -> Any:
        """Whatever is there."""
        key = self._key(name)
        self._used.add(key)
        return self._value.get(key, default)

    def text(self, name: str, default: str = "") -> str:
        """A text; a whole number counts as one, for ids are written either way."""
        value = self.value(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return value if isinstance(value, str) else self._wrong(name, value, "text", default)

    def number(self, name: str, default: float = 0.0) -> float:
        value = self.value(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
        return float(value) if is_number else self._wrong(name, value, "a number", default)

    def integer(self, name: str, default: int = 0) -> int:
        value = self.value(name)
        is_whole = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < 2**53
            and value == int(value)
        )
        return int(value) if is_whole else self._wrong(name, value, "a whole number", default)

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.value(name)
        return value if isinstance(value, bool) else self._wrong(name, value, "true or false", default)

    def texts(self, name: str) -> list[str]:
        """The texts of a list."""
        found = []
        for number, each in enumerate(self._list(name)):
            if isinstance(each, str):
                found.append(each)
            else:
                self.report.add(f"{self.at(name)}[{number}]", f"is {shown(repr(each))}, not text; left out")
        return found

    def values(self, name: str) -> list[Any]:
        """A list of whatever."""
        return self._list(name)

    def part(self, name: str) -> "Part":
        """An object; an empty one where there is none."""
        value = self.value(name)
        if not isinstance(value, dict):
            value = self._wrong(name, value, "an object", {})
        return Part(value, self.at(name), self.report)

    def parts(self, name: str) -> list["Part"]:
        """The objects of a list."""
        found = []
        for number, each in enumerate(self._list(name)):
            path = f"{self.at(name)}[{number}]"
            if isinstance(each, dict):
                found.append(Part(each, path, self.report))
            else:
                self.report.add(path, f"is {shown(repr(each))}, not an object; left out")
        return found

    def members(self, name: str = "") -> Iterator[tuple[str, "Part"]]:
        """The objects of an object by name; of this one without a name."""
        whole = self.part(name) if name else self
        for key, each in whole._value.items():
            whole._used.add(key)
            path = whole.at(key)
            if isinstance(each, dict):
                yield key, Part(each, path, self.report)
            else:
                self.report.add(path, f"is {shown(repr(each))}, not an object; left out")

    def rest(self) -> dict[str, Any]:
        """What nobody asked for."""
        return {key: value for key, value in self._value.items() if key not in self._used}

    def tell_rest(self, node: str = "", silent: tuple[str, ...] = ()) -> None:
        """Tells each field that nobody asked for."""
        for key in self.rest():
            if key not in silent:
                self.report.add(self.at(key), "is not understood; it is kept, and has no effect", node)

    def _list(self, name: str) -> list[Any]:
        value = self.value(name)
        found: list[Any] = value if isinstance(value, list) else self._wrong(name, value, "a list", [])
        return found

    def _key(self, name: str) -> str:
        if name in self._value:
            return name
        other = re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: "_" + match[1].lower(), name)
        return other if other in self._value else name

    def _wrong(self, name: str, value: Any, wanted: str, default: Any) -> Any:
        if value is not None:
            self.report.add(self.at(name), f"is {shown(repr(value)[:100])}, not {wanted}; taken as absent")
        return default
