"""Other tools' documents as canvases (N5): what maps to what, and what is told."""

import json
from typing import Any

import pytest

from services.graph.canvases.canvas import Canvas, Node
from services.graph.canvases.operators import Operator, Port
from services.graph.canvases.validation import validate
from services.graph.imports import formats
from services.graph.imports.report import ImportRefused
from services.graph.model import CachePolicy, FormatUnknown, Trigger
from tests.support.foreign_canvases import ELYRA, KFP, PROMPT, REACT_FLOW, SAMPLES, WFFORMAT, WORKFLOW


def _read(value: Any, name: str = "", **offered: Operator) -> formats.Imported:
    return formats.read(json.dumps(value).encode(), name, offered)


def _nodes(canvas: Canvas) -> dict[str, Node]:
    return {node.id: node for node in canvas.nodes}


def _edges(canvas: Canvas) -> set[str]:
    return {f"{e.source}.{e.source_port}->{e.target}.{e.target_port}" for e in canvas.edges}


@pytest.mark.parametrize("name", SAMPLES)
def test_format_is_found_out(name: str) -> None:
    assert _read(SAMPLES[name]).format == name


@pytest.mark.parametrize("name", SAMPLES)
def test_import_then_export_gives_the_document_back(name: str) -> None:
    canvas = _read(SAMPLES[name]).canvas
    document, findings = formats.write(canvas, name)
    assert json.loads(document) == SAMPLES[name]
    assert findings == ()


def test_comfyui_prompt_links_become_edges_and_the_rest_parameters() -> None:
    imported = _read(PROMPT)
    nodes = _nodes(imported.canvas)
    assert [node.id for node in imported.canvas.nodes] == ["3", "4", "10"]
    assert nodes["4"].operator == "placeholder:CheckpointLoaderSimple"
    assert nodes["3"].label == "Sampler"
    assert nodes["3"].initial_params == {"seed": 18446744073709551615, "cfg": 8.0}
    assert _edges(imported.canvas) == {"4.0->3.model", "3.0->10.samples", "4.2->10.vae"}
    assert nodes["10"].position is not None and nodes["10"].position.x > nodes["3"].position.x  # type: ignore[union-attr]
    assert [finding.node for finding in imported.findings if "placeholder" in finding.message] == [
        "3",
        "4",
        "10",
    ]


def test_offered_operators_are_no_placeholders_and_name_their_outputs() -> None:
    loader = Operator("comfyui.CheckpointLoaderSimple", outputs=(Port("model"), Port("clip"), Port("vae")))
    canvas = formats.read(json.dumps(PROMPT).encode(), "", {loader.name: loader}).canvas
    assert _nodes(canvas)["4"].operator == "comfyui.CheckpointLoaderSimple"
    assert "4.model->3.model" in _edges(canvas)


def test_comfyui_workflow_has_subgraphs_reroutes_and_both_kinds_of_links() -> None:
    imported = _read(WORKFLOW)
    canvas = imported.canvas
    assert _nodes(canvas)["7"].subgraph is not None
    assert "5" not in _nodes(canvas) and "6" not in _nodes(canvas)
    assert _edges(canvas) == {"1.MODEL->7.model", "7.image->8.images"}
    body = canvas.subgraphs["b9a4d7c2-0000-4000-8000-000000000001"]
    assert [(port.name, port.node, port.port) for port in body.inputs] == [("model", "2", "model")]
    assert [(port.name, port.node, port.port) for port in body.outputs] == [("image", "3", "IMAGE")]
    assert _edges(body.canvas) == {"2.LATENT->3.samples"}
    assert _nodes(body.canvas)["2"].initial_params == {"seed": 5, "steps": 20}
    told = {finding.path: finding.message for finding in imported.findings}
    assert "muted" in told["nodes[4].mode"]
    assert "runs nothing" in told["nodes[2]"]


def test_react_flow_groups_handles_and_parameters() -> None:
    imported = _read(REACT_FLOW, echo=Operator("echo"))
    nodes = _nodes(imported.canvas)
    assert nodes["a"].operator == "echo"
    assert nodes["a"].initial_params == {"value": 3}
    assert nodes["b"].group == "g"
    assert nodes["b"].position is not None and (nodes["b"].position.x, nodes["b"].position.y) == (110, 25)
    assert _edges(imported.canvas) == {"a.result->b.left"}
    assert any(finding.path == "nodes[1].data.colour" for finding in imported.findings)


def test_wfformat_commands_have_their_files_as_ports() -> None:
    nodes = _nodes(_read(WFFORMAT).canvas)
    command = nodes["sum_2"].command
    assert command is not None
    assert command.argv[:2] == ("/bin/sh", "-c")
    assert command.argv[-4:] == ("--", "wc", "-l", "data/numbers.txt")
    assert "data/numbers.txt" in command.argv and "data_numbers.txt" in command.argv
    assert nodes["make_1"].command is not None
    assert nodes["make_1"].command.outputs == {"data_numbers.txt": "data/numbers.txt"}
    assert nodes["make_1"].resources == {"cpu": 2.0, "memory_bytes": 1000000}
    assert nodes["rest_3"].operator == "sleep" and nodes["rest_3"].initial_params == {"seconds": 0.5}
    edges = _read(WFFORMAT).canvas.edges
    assert {(e.source, e.source_port, e.target, e.target_port, e.is_order) for e in edges} == {
        ("make_1", "data_numbers.txt", "sum_2", "data_numbers.txt", False),
        ("sum_2", "", "rest_3", "", True),
    }


def test_elyra_scripts_pass_files_on_to_all_that_follow() -> None:
    imported = _read(ELYRA)
    nodes = _nodes(imported.canvas)
    assert nodes["load"].command is not None and nodes["load"].command.argv == ("python", "load.py")
    assert nodes["load"].command.env == {"N": "3"}
    assert nodes["load"].resources == {"cpu": 1.0, "memory_bytes": 2000000000}
    assert (nodes["load"].environment, nodes["fit"].environment) == ({"image": "example/image:1"}, None)
    (told,) = [finding for finding in imported.findings if "runtime_image" in finding.path]
    assert told.node == "load" and "kept as environment.image" in told.message
    assert nodes["show"].command is not None
    assert nodes["show"].command.argv[-3:] == ("papermill", "show.ipynb", "show-output.ipynb")
    assert nodes["inner"].subgraph is not None and nodes["inner"].subgraph.subgraph == "sub"
    assert _edges(imported.canvas) == {
        "load.data.csv->fit.data.csv",
        "load.data.csv->show.data.csv",
        "fit.model.json->show.model.json",
        "show.->inner.",
    }
    assert _nodes(imported.canvas.subgraphs["sub"].canvas)["other"].operator == "placeholder:run-query"


def test_elyra_image_of_the_pipeline_is_that_of_scripts_that_name_none() -> None:
    document = json.loads(json.dumps(ELYRA))
    main = document["pipelines"][0]
    main["app_data"]["properties"]["pipeline_defaults"] = {"runtime_image": "example/all:1"}
    main["nodes"][2]["app_data"]["component_parameters"]["runtime_image"] = "No Image"
    imported = _read(document)
    nodes = _nodes(imported.canvas)
    assert [nodes[name].environment for name in ("load", "fit", "show")] == [
        {"image": "example/image:1"},
        {"image": "example/all:1"},
        None,
    ]
    assert any("no name of an image" in finding.message for finding in imported.findings)


def test_kfp_conditions_iterators_subdags_retries_and_caching() -> None:
    imported = _read(KFP)
    canvas, nodes = imported.canvas, _nodes(imported.canvas)
    assert canvas.params["rounds"].schema == {"type": "integer"} and canvas.params["rounds"].default == 3
    assert nodes["flip"].retry == {"max_attempts": 3, "backoff": "1s"}
    assert nodes["flip"].cache is None and nodes["flip"].trigger is Trigger.ALL_DONE
    assert nodes["flip"].initial_params == {"rounds": {"$param": "rounds"}, "fair": True}
    assert nodes["notify"].trigger is None and nodes["notify"].cache is CachePolicy.OFF
    branch = nodes["print-heads.when"].branch
    assert branch is not None and branch.cases[0].condition.value == "heads"
    assert nodes["each"].map is not None and nodes["each"].map.max_parallel == 2
    assert nodes["each.items"].operator == "echo" and nodes["each.items"].initial_params == {"value": [1, 2]}
    assert _edges(canvas) == {
        "flip.Output->print-heads.when.value",
        "print-heads.when.then->print-heads.face",
        "each.items.result->each.items",
        "flip.->each.",
        "each.->notify.",
    }
    body = canvas.subgraphs["each"]
    assert [(port.name, port.node, port.port) for port in body.inputs] == [("item", "train", "rate")]
    assert [(port.name, port.node, port.port) for port in body.outputs] == [("score", "train", "Output")]


def test_kfp_map_over_a_run_parameter_gets_it_as_its_items() -> None:
    spec = json.loads(json.dumps(KFP))
    task = spec["root"]["dag"]["tasks"]["each"]
    task["parameterIterator"]["items"] = {"inputParameter": "loop"}
    task["inputs"] = {"parameters": {"loop": {"componentInputParameter": "rounds"}}}
    spec["root"]["dag"]["tasks"]["each.items"] = {"componentRef": {"name": "comp-train"}}
    canvas = _read(spec).canvas
    assert "each.items-2.result->each.items" in _edges(canvas)
    assert _nodes(canvas)["each.items-2"].initial_params == {"value": {"$param": "rounds"}}


def test_kfp_pipeline_is_valid_where_its_components_are_offered() -> None:
    output = (Port("Output", "json"),)
    offered = {
        "flip": Operator("flip", outputs=output),
        "print": Operator("print", inputs=(Port("face", "json"),)),
        "train": Operator("train", inputs=(Port("rate", "json", True),), outputs=output),
        "echo": Operator("echo", outputs=(Port("result", "json"),)),
    }
    canvas = formats.read(json.dumps(KFP).encode(), "", offered).canvas
    assert validate(canvas, offered, lambda node: None) == ()


def test_kfp_yaml_is_read_like_json() -> None:
    import yaml

    assert formats.read(yaml.safe_dump(KFP, sort_keys=False).encode()).canvas == _read(KFP).canvas


def test_unknown_document_and_format_are_refused_with_what_is_known() -> None:
    with pytest.raises(FormatUnknown, match="none of the forms"):
        formats.read(b'{"hello": 1}')
    with pytest.raises(FormatUnknown) as refused:
        formats.read(b"{}", "comfy")
    assert "comfyui" in refused.value.next_step
    with pytest.raises(ImportRefused, match="does not look like elyra, but like kfp"):
        _read(KFP, "elyra")
