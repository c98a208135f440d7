"""Small documents of other tools, one of each format."""

from typing import Any

PROMPT: dict[str, Any] = {
    "10": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "3": {
        "class_type": "KSampler",
        "inputs": {"seed": 18446744073709551615, "cfg": 8.0, "model": ["4", 0]},
        "_meta": {"title": "Sampler"},
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "base.safetensors"}},
}

_BODY = "b9a4d7c2-0000-4000-8000-000000000001"

WORKFLOW: dict[str, Any] = {
    "id": "3f7c",
    "revision": 0,
    "last_node_id": 8,
    "last_link_id": 4,
    "nodes": [
        {
            "id": 1,
            "type": "CheckpointLoaderSimple",
            "pos": [10, 20],
            "size": [300, 100],
            "flags": {},
            "order": 0,
            "mode": 0,
            "outputs": [{"name": "MODEL", "type": "MODEL", "links": [1]}],
            "properties": {},
            "widgets_values": ["base.safetensors"],
        },
        {
            "id": 5,
            "type": "Reroute",
            "pos": [150, 20],
            "inputs": [{"name": "", "link": 1}],
            "outputs": [{"name": ""}],
        },
        {"id": 6, "type": "Note", "pos": [0, 300], "widgets_values": ["remember"]},
        {
            "id": 7,
            "type": _BODY,
            "pos": {"0": 300, "1": 20},
            "inputs": [{"name": "model", "type": "MODEL", "link": 2}],
            "outputs": [{"name": "image", "type": "IMAGE", "links": [3]}],
            "widgets_values": [],
        },
        {
            "id": 8,
            "type": "SaveImage",
            "pos": [600, 20],
            "mode": 2,
            "inputs": [{"name": "images", "type": "IMAGE", "link": 3}],
            "widgets_values": ["picture"],
        },
    ],
    "links": [
        [1, 1, 0, 5, 0, "MODEL"],
        {"id": 2, "origin_id": 5, "origin_slot": 0, "target_id": 7, "target_slot": 0, "type": "MODEL"},
        [3, 7, 0, 8, 0, "IMAGE"],
    ],
    "groups": [{"title": "all", "bounding": [0, 0, 900, 400], "color": "#3f789e"}],
    "definitions": {
        "subgraphs": [
            {
                "id": _BODY,
                "version": 1,
                "name": "Sampling",
                "inputNode": {"id": -10, "bounding": [0, 0, 10, 10]},
                "outputNode": {"id": -20, "bounding": [0, 0, 10, 10]},
                "inputs": [{"id": "i", "name": "model", "type": "MODEL", "linkIds": [1]}],
                "outputs": [{"id": "o", "name": "image", "type": "IMAGE", "linkIds": [3]}],
                "nodes": [
                    {
                        "id": 2,
                        "type": "KSampler",
                        "pos": [0, 0],
                        "inputs": [
                            {"name": "model", "type": "MODEL", "link": 1},
                            {"name": "seed", "type": "INT", "widget": {"name": "seed"}},
                            {"name": "steps", "type": "INT", "widget": {"name": "steps"}},
                        ],
                        "outputs": [{"name": "LATENT", "type": "LATENT", "links": [2]}],
                        "widgets_values": [5, "randomize", 20],
                    },
                    {
                        "id": 3,
                        "type": "VAEDecode",
                        "pos": [200, 0],
                        "inputs": [{"name": "samples", "type": "LATENT", "link": 2}],
                        "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [3]}],
                    },
                ],
                "links": [
                    {
                        "id": 1,
                        "origin_id": -10,
                        "origin_slot": 0,
                        "target_id": 2,
                        "target_slot": 0,
                        "type": "MODEL",
                    },
                    {
                        "id": 2,
                        "origin_id": 2,
                        "origin_slot": 0,
                        "target_id": 3,
                        "target_slot": 0,
                        "type": "LATENT",
                    },
                    {
                        "id": 3,
                        "origin_id": 3,
                        "origin_slot": 0,
                        "target_id": -20,
                        "target_slot": 0,
                        "type": "IMAGE",
                    },
                ],
            }
        ]
    },
    "config": {},
    "extra": {"ds": {"scale": 1.5, "offset": [0, 0]}},
    "version": 0.4,
}

REACT_FLOW: dict[str, Any] = {
    "nodes": [
        {"id": "g", "type": "group", "position": {"x": 100, "y": 20}, "data": {"label": "Both"}},
        {
            "id": "a",
            "type": "echo",
            "position": {"x": 0, "y": 0},
            "data": {"label": "First", "params": {"value": 3}, "colour": "red"},
            "measured": {"width": 100, "height": 40},
        },
        {"id": "b", "type": "custom", "position": {"x": 10, "y": 5}, "parentId": "g", "data": {}},
    ],
    "edges": [{"id": "e1", "source": "a", "sourceHandle": "result", "target": "b", "targetHandle": "left"}],
    "viewport": {"x": 0, "y": 0, "zoom": 1},
}

WFFORMAT: dict[str, Any] = {
    "name": "count",
    "schemaVersion": "1.5",
    "workflow": {
        "specification": {
            "tasks": [
                {
                    "id": "make_1",
                    "name": "make",
                    "parents": [],
                    "children": ["sum_2"],
                    "inputFiles": [],
                    "outputFiles": ["data/numbers.txt"],
                },
                {
                    "id": "sum_2",
                    "name": "sum",
                    "parents": ["make_1"],
                    "children": ["rest_3"],
                    "inputFiles": ["data/numbers.txt"],
                    "outputFiles": [],
                },
                {"id": "rest_3", "name": "rest", "parents": ["sum_2"], "children": []},
            ],
            "files": [{"id": "data/numbers.txt", "sizeInBytes": 6}],
        },
        "execution": {
            "makespanInSeconds": 2,
            "executedAt": "2026-01-02T03:04:05+00:00",
            "tasks": [
                {
                    "id": "make_1",
                    "runtimeInSeconds": 1,
                    "coreCount": 2,
                    "memoryInBytes": 1000000,
                    "command": {
                        "program": "sh",
                        "arguments": ["-c", "mkdir -p data; printf '1\\n2\\n3\\n' > data/numbers.txt"],
                    },
                },
                {
                    "id": "sum_2",
                    "runtimeInSeconds": 1,
                    "command": {"program": "wc", "arguments": ["-l", "data/numbers.txt"]},
                },
                {"id": "rest_3", "runtimeInSeconds": 0.5},
            ],
            "machines": [{"nodeName": "m1"}],
        },
    },
}


def _elyra_node(name: str, op: str, x: int, parents: list[str], details: dict[str, Any]) -> dict[str, Any]:
    links = [
        {"id": f"{name}-{parent}", "node_id_ref": parent, "port_id_ref": "outPort"} for parent in parents
    ]
    return {
        "id": name,
        "type": "execution_node",
        "op": op,
        "app_data": {
            "label": name.title(),
            "component_parameters": details,
            "ui_data": {"label": name, "x_pos": x, "y_pos": 50},
        },
        "inputs": [{"id": "inPort", "links": links}],
        "outputs": [{"id": "outPort"}],
    }


ELYRA: dict[str, Any] = {
    "doc_type": "pipeline",
    "version": "3.0",
    "id": "elyra-auto-generated-pipeline",
    "primary_pipeline": "main",
    "pipelines": [
        {
            "id": "main",
            "nodes": [
                _elyra_node(
                    "load", "execute-python-node", 0, [],
                    {"filename": "load.py", "outputs": ["data.csv"], "env_vars": [{"env_var": "N", "value": "3"}],
                     "cpu": 1, "memory": 2, "runtime_image": "example/image:1"},
                ),
                _elyra_node(
                    "fit", "execute-python-node", 200, ["load"], {"filename": "fit.py", "outputs": ["model.json"]}
                ),
                _elyra_node("show", "execute-notebook-node", 400, ["fit"], {"filename": "show.ipynb", "outputs": []}),
                {
                    "id": "inner",
                    "type": "super_node",
                    "app_data": {"label": "Inner", "ui_data": {"x_pos": 600, "y_pos": 50}},
                    "inputs": [{"id": "in", "links": [{"id": "l", "node_id_ref": "show", "port_id_ref": "outPort"}]}],
                    "subflow_ref": {"pipeline_id_ref": "sub"},
                },
            ],
            "app_data": {"version": 7, "ui_data": {"comments": []}, "properties": {"name": "sample"}},
            "runtime_ref": "",
        },
        {
            "id": "sub",
            "nodes": [_elyra_node("other", "run-query", 0, [], {"query": "select 1"})],
            "app_data": {"version": 7},
        },
    ],
}  # fmt: skip

KFP: dict[str, Any] = {
    "pipelineInfo": {"name": "coins"},
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.7.0",
    "root": {
        "inputDefinitions": {
            "parameters": {"rounds": {"parameterType": "NUMBER_INTEGER", "defaultValue": 3}}
        },
        "dag": {
            "tasks": {
                "flip": {
                    "taskInfo": {"name": "flip"},
                    "componentRef": {"name": "comp-flip"},
                    "cachingOptions": {"enableCache": True},
                    "retryPolicy": {"maxRetryCount": 2, "backoffDuration": "1s", "backoffFactor": 2.0},
                    "inputs": {
                        "parameters": {
                            "rounds": {"componentInputParameter": "rounds"},
                            "fair": {"runtimeValue": {"constant": True}},
                        }
                    },
                },
                "print-heads": {
                    "taskInfo": {"name": "print-heads"},
                    "componentRef": {"name": "comp-print"},
                    "cachingOptions": {"enableCache": True},
                    "dependentTasks": ["flip"],
                    "inputs": {
                        "parameters": {
                            "face": {
                                "taskOutputParameter": {
                                    "producerTask": "flip",
                                    "outputParameterKey": "Output",
                                }
                            }
                        }
                    },
                    "triggerPolicy": {"condition": "inputs.parameter_values['face'] == 'heads'"},
                },
                "each": {
                    "taskInfo": {"name": "each"},
                    "componentRef": {"name": "comp-each"},
                    "dependentTasks": ["flip"],
                    "parameterIterator": {"items": {"raw": "[1, 2]"}, "itemInput": "item"},
                    "iteratorPolicy": {"parallelismLimit": 2},
                },
                "notify": {
                    "taskInfo": {"name": "notify"},
                    "componentRef": {"name": "comp-print"},
                    "dependentTasks": ["each"],
                    "cachingOptions": {},
                    "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
                },
            }
        },
    },
    "components": {
        "comp-flip": {"executorLabel": "exec-flip"},
        "comp-print": {"executorLabel": "exec-print"},
        "comp-train": {"executorLabel": "exec-train"},
        "comp-each": {
            "inputDefinitions": {"parameters": {"item": {"parameterType": "NUMBER_DOUBLE"}}},
            "dag": {
                "outputs": {
                    "parameters": {
                        "score": {
                            "valueFromParameter": {"producerSubtask": "train", "outputParameterKey": "Output"}
                        }
                    }
                },
                "tasks": {
                    "train": {
                        "taskInfo": {"name": "train"},
                        "componentRef": {"name": "comp-train"},
                        "inputs": {"parameters": {"rate": {"componentInputParameter": "item"}}},
                    }
                },
            },
        },
    },
    "deploymentSpec": {
        "executors": {
            "exec-flip": {"container": {"image": "python:3.11", "command": ["python", "-c", "print(1)"]}},
            "exec-print": {"container": {"image": "alpine", "command": ["echo"]}},
            "exec-train": {"container": {"image": "python:3.11"}},
        }
    },
}

SAMPLES: dict[str, dict[str, Any]] = {
    "comfyui": WORKFLOW,
    "comfyui-api": PROMPT,
    "react-flow": REACT_FLOW,
    "wfformat": WFFORMAT,
    "elyra": ELYRA,
    "kfp": KFP,
}
