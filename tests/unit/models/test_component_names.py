"""Names of a component's files stay below it, whoever wrote them (S2.1, safety)."""

from __future__ import annotations

import pytest

from modelyard.v1 import model_pb2 as pb
from services.models.catalogue.component import ComponentInvalid, check

DIGEST = "ab" * 32


def files(*paths: str, digest: str = DIGEST) -> list[pb.ComponentFile]:
    return [pb.ComponentFile(path=path, digest=digest) for path in paths]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "../m.onnx",
            "a/../../m.onnx",
            "a/..",
            "..",
            "/etc/passwd",
            "//m.onnx",
            "a\\..\\m.onnx",
            "C:\\m.onnx",
        ),
        *("", ".", "./m.onnx", "a//m.onnx", "a//", "/", "../", "./", "a/./m.onnx"),
        *(
            "m\0.onnx",
            "m\n.onnx",
            "m\x1b[2J.onnx",
            "m\u202eonnx.",
            "m\u2028.onnx",
            "x" * 901,
            "a/" * 451 + "m",
            "x" * 256,
            "a/" + "ü" * 128,
        ),
    ],
)
def test_name_that_leaves_or_is_no_name_is_refused_with_its_field(path: str) -> None:
    with pytest.raises(ComponentInvalid) as refused:
        check(files("fine.onnx", path))
    assert refused.value.field == "files[1].path"


@pytest.mark.parametrize(
    "paths",
    [("m", "m"), ("m", "m/weights"), ("m/weights", "m"), ("a/b/c", "a/b"), ("m", "m/"), ("m/", "m/weights")],
)
def test_name_that_is_taken_is_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(ComponentInvalid) as refused:
        check(files(*paths))
    assert refused.value.field == "files[1].path"


def test_names_that_differ_by_case_or_composition_are_two_files() -> None:
    check(files("\u00fc.onnx", "u\u0308.onnx"))
    check(files("Model.onnx", "model.onnx", "M/x", "m/x"))
    check(files("m.onnx", "tokens/"))
    check(files("./"))


def test_many_files_are_refused_before_any_is_looked_at() -> None:
    with pytest.raises(ComponentInvalid, match="100000 files"):
        check(files("../m") * 100_000)


@pytest.mark.parametrize(
    "digest", ["", "sha256:" + DIGEST, DIGEST.upper(), DIGEST[:-1], f"{DIGEST}\n", "../" + DIGEST]
)
def test_digest_that_is_none_is_refused(digest: str) -> None:
    with pytest.raises(ComponentInvalid) as refused:
        check(files("m.onnx", digest=digest))
    assert refused.value.field == "files[0].digest"
