"""Which nodes of an imported document need a bundle, and that they get it."""

from __future__ import annotations

import copy
import json
from typing import Any

from services.graph.canvases.identifiers import is_name
from services.graph.imports import formats
from services.graph.imports.commands import file_port
from services.graph.imports.formats import Imported
from tests.support.foreign_canvases import ELYRA, WFFORMAT

DIGEST = "a" * 64


def read(document: Any, bundle: str = "") -> Imported:
    return formats.read(json.dumps(document).encode(), bundle_digest=bundle)


def bundled(imported: Imported) -> dict[str, str]:
    """Digests by node, of the drawing and of bodies."""
    bodies = [
        ("", imported.canvas),
        *((f"{name}/", each.canvas) for name, each in imported.canvas.subgraphs.items()),
    ]
    return {
        path + node.id: node.bundle_digest
        for path, body in bodies
        for node in body.nodes
        if node.bundle_digest
    }


def test_elyra_scripts_get_the_bundle_also_within_a_pipeline_of_the_same_names() -> None:
    document = copy.deepcopy(ELYRA)
    main, inner = document["pipelines"]
    inner["nodes"].append({**copy.deepcopy(main["nodes"][0]), "inputs": []})
    without, given = read(document), read(document, DIGEST)
    needs = {need.place: need.files for need in without.needs}
    assert {"load", "fit"} <= set(needs) and any(place.endswith("/load") for place in needs)
    assert not bundled(without) and bundled(given) == dict.fromkeys(needs, DIGEST)
    assert given.needs == without.needs
    told = {finding.message for finding in without.findings} - {finding.message for finding in given.findings}
    assert told == {
        f"runs {file!r} of the node's bundle: give it one" for files in needs.values() for file in files
    }
    assert not any("env_vars" in finding.path for finding in without.findings)


def test_wfformat_programs_below_the_directory_and_files_that_nothing_makes_need_it() -> None:
    document = copy.deepcopy(WFFORMAT)
    execution = document["workflow"]["execution"]["tasks"]
    execution[0]["command"] = {"program": "bin/make.sh", "arguments": []}
    document["workflow"]["specification"]["tasks"][0]["inputFiles"] = ["raw.txt"]
    found = read(document)
    assert [(need.place, need.files) for need in found.needs] == [("make_1", ("bin/make.sh", "raw.txt"))]
    assert bundled(read(document, DIGEST)) == {"make_1": DIGEST}


def test_code_of_ones_own_needs_it_unless_it_has_a_place() -> None:
    own = {"format": "canvas/1", "nodes": [
        {"id": "a", "operator": "train:fit"}, {"id": "b", "operator": "train:fit", "bundle_digest": "b" * 64},
        {"id": "c", "operator": "train:fit", "environment": {"requirements": ["x"]}},
    ]}  # fmt: skip
    found = read(own)
    assert [(need.place, need.files) for need in found.needs] == [("a", ())]
    assert any(finding.node == "a" and "code of its own" in finding.message for finding in found.findings)
    assert bundled(read(own, DIGEST)) == {"a": DIGEST, "b": "b" * 64}


def test_bundle_that_nobody_needs_is_told_and_given_to_none() -> None:
    document = {"format": "canvas/1", "nodes": [{"id": "a", "operator": "echo"}]}
    found = read(document, DIGEST)
    assert not bundled(found)
    assert [finding.message for finding in found.findings] == [
        "no node of the document needs a bundle; it was given to none"
    ]


def test_exported_and_imported_again_it_is_the_same_canvas_with_its_bundle() -> None:
    given = read(ELYRA, DIGEST)
    text, _ = formats.write(given.canvas, "elyra")
    again = formats.read(text)
    assert again.canvas == given.canvas
    assert not [finding for finding in again.findings if finding.is_need]


def test_files_whose_names_no_input_can_have_get_ports_of_their_own() -> None:
    names = ["1.txt", "a b.txt", "a_b.txt", "größe.csv", "data/x.txt", "[1].txt"]
    ports = [file_port(name) for name in names]
    assert len(set(ports)) == len(names) and all(is_name(port) for port in ports)
    assert (ports[2], ports[4]) == ("a_b.txt", "data_x.txt")
