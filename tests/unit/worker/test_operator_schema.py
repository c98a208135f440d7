import dataclasses
import enum
from pathlib import Path
from typing import Any, Literal

import pytest

from modelyard import Context, File, Input, describe, operator
from modelyard.operator.declaration import declared
from modelyard.operator.schema import shape


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Box:
    width: int
    label: str = "box"


@operator(name="train", version="3")
def train(
    ctx: Context,
    data: Input[bytes],
    epochs: int,
    rate: float = 0.1,
    mode: Literal["fast", "slow"] = "fast",
    colour: Colour = Colour.RED,
    boxes: list[Box] | None = None,
    extra: Input[Any] = None,
) -> File:
    """Trains a model. And then some more

    that nobody reads."""
    raise AssertionError


def test_describe_full_signature_gives_schema_and_ports() -> None:
    described = describe(train)
    assert described["name"] == "train"
    assert described["version"] == "3"
    assert described["summary"] == "Trains a model."
    schema = described["params_schema"]
    assert schema["required"] == ["epochs"]
    assert schema["properties"]["epochs"] == {"type": "integer"}
    assert schema["properties"]["rate"] == {"type": "number", "default": 0.1}
    assert schema["properties"]["mode"] == {"enum": ["fast", "slow"], "default": "fast"}
    assert schema["properties"]["colour"] == {"enum": ["red", "blue"], "default": "red"}
    assert schema["additionalProperties"] is False
    assert described["inputs"] == [
        {"name": "data", "type": "bytes", "required": True},
        {"name": "extra", "type": "json", "required": False},
    ]
    assert described["outputs"] == [{"name": "result", "type": "file", "required": True}]


@pytest.mark.parametrize(
    ("annotation", "given", "wanted"),
    [
        (int, 3.0, 3),
        (float, 3, 3.0),
        (Colour, "blue", Colour.BLUE),
        (Box, {"width": 2.0}, Box(2)),
        (list[Colour], ["red"], [Colour.RED]),
        (set[int], [1, 1, 2], {1, 2}),
        (tuple[int, Colour], [1, "red"], (1, Colour.RED)),
        (tuple[int, ...], [1, 2], (1, 2)),
        (dict[str, Colour], {"a": "red"}, {"a": Colour.RED}),
        (Colour | None, None, None),
        (Colour | int, "red", Colour.RED),
        (Path, "a/b", Path("a/b")),
    ],
)
def test_convert_checked_json_becomes_annotated_type(annotation: Any, given: Any, wanted: Any) -> None:
    convert = shape(annotation).convert
    assert convert is not None
    assert convert(given) == wanted
    assert type(convert(given)) is type(wanted)


def test_signature_with_unsupported_type_names_operator_and_parameter() -> None:
    def bad(connection: complex) -> None: ...

    with pytest.raises(TypeError, match="parameter 'connection' of operator 'bad': complex cannot"):
        describe(bad)


def test_signature_with_bytes_parameter_proposes_an_input_port() -> None:
    def bad(data: bytes) -> None: ...

    with pytest.raises(TypeError, match=r"data: Input\[bytes\]"):
        describe(bad)


def test_operator_module_is_the_decorator_too() -> None:
    import modelyard.operator as module

    @module
    def plain(n: int = 1) -> int:
        return n + 1

    assert plain(2) == 3
    assert declared(plain).name == "plain"
