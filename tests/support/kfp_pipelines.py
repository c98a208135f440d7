"""Pipelines as KFP's compiler writes them: if, elif and else with one output; loops within loops; a fan-in."""

from __future__ import annotations

from typing import Any

Part = dict[str, Any]
FLIP = "pipelinechannel--flip-Output"
_IS = f"inputs.parameter_values['{FLIP}'] == '{{}}'"


def _dag(tasks: Part, inputs: Part | None = None, outputs: Part | None = None) -> Part:
    made: Part = {"dag": {"tasks": tasks, **({"outputs": outputs} if outputs else {})}}
    if inputs:
        made["inputDefinitions"] = {"parameters": inputs}
    return made


def _task(component: str, parameters: Part | None = None, **more: Any) -> Part:
    inputs = {"inputs": {"parameters": parameters}} if parameters else {}
    return {"taskInfo": {"name": component}, "componentRef": {"name": f"comp-{component}"}, **inputs, **more}


def _from(task: str, key: str = "Output") -> Part:
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}


def _outer(name: str) -> Part:
    return {"componentInputParameter": name}


def _output(task: str, key: str = "Output") -> Part:
    return {"valueFromParameter": {"producerSubtask": task, "outputParameterKey": key}}


def _pipeline(name: str, root: Part, components: Part) -> Part:
    leaves = {key: {"executorLabel": f"exec-{key[5:]}"} for key, part in components.items() if not part}
    executors = {leaf["executorLabel"]: {"container": {"image": "python"}} for leaf in leaves.values()}
    return {
        "pipelineInfo": {"name": name}, "schemaVersion": "2.1.0", "sdkVersion": "kfp-2.7.0", "root": root,
        "components": {**components, **leaves}, "deploymentSpec": {"executors": executors},
    }  # fmt: skip


def branches() -> Part:
    """`dsl.If`, `dsl.Elif`, `dsl.Else` over what a task gives, and `dsl.OneOf` of what they come to."""
    heads, tails = _IS.format("heads"), _IS.format("tails")
    conditions = {"2": heads, "3": f"!({heads}) && {tails}", "4": f"!({heads}) && !({tails})"}
    one = "pipelinechannel--condition-branches-1-oneof-1"
    inner = {
        f"condition-{number}": _task(
            f"condition-{number}", {FLIP: _outer(FLIP)}, triggerPolicy={"condition": condition}
        )
        for number, condition in conditions.items()
    }
    selectors = [
        {"producerSubtask": f"condition-{number}", "outputParameterKey": "say-Output"}
        for number in conditions
    ]
    components: Part = {
        f"comp-condition-{number}": _dag(
            {
                "say": _task("say", {"text": {"runtimeValue": {"constant": f"way {number}"}}}),
                "after": _task("after", dependentTasks=["say"]),
            },
            {FLIP: {"parameterType": "STRING"}},
            {"parameters": {"say-Output": _output("say")}},
        )
        for number in conditions
    }
    components["comp-condition-branches-1"] = _dag(
        inner, {FLIP: {"parameterType": "STRING"}},
        {"parameters": {one: {"valueFromOneof": {"parameterSelectors": selectors}}}},
    )  # fmt: skip
    root = _dag(
        {
            "flip": _task("flip", {"face": _outer("face")}),
            "condition-branches-1": _task(
                "condition-branches-1", {FLIP: _from("flip")}, dependentTasks=["flip"]
            ),
            "tell": _task(
                "tell", {"text": _from("condition-branches-1", one)}, dependentTasks=["condition-branches-1"]
            ),
        },
        {"face": {"parameterType": "STRING", "defaultValue": "heads"}},
    )
    return _pipeline(
        "faces", root, {**components, **{f"comp-{n}": {} for n in ("flip", "say", "after", "tell")}}
    )


def loops() -> Part:
    """A loop in a loop over lists that are given, and the outer one's results together in one task."""
    rows, cells = "pipelinechannel--rows-loop-item", "pipelinechannel--cells-loop-item"
    root = _dag(
        {
            "rows": {
                **_task("rows", {"rows": _outer("rows")}),
                "parameterIterator": {"items": {"inputParameter": "rows"}, "itemInput": rows},
            },
            "collect": _task("collect", {"values": _from("rows", "sums")}, dependentTasks=["rows"]),
        },
        {"rows": {"parameterType": "LIST", "defaultValue": [[1, 2], [], [3]]}},
    )
    return _pipeline(
        "rows",
        root,
        {
            "comp-rows": _dag(
                {
                    "cells": {
                        **_task("cells", {"cells": _outer(rows)}),
                        "parameterIterator": {"items": {"inputParameter": "cells"}, "itemInput": cells},
                    },
                    "sum": _task("sum", {"values": _from("cells", "squares")}, dependentTasks=["cells"]),
                },
                {rows: {"parameterType": "LIST"}},
                {"parameters": {"sums": _output("sum")}},
            ),
            "comp-cells": _dag(
                {"square": _task("square", {"number": _outer(cells)})},
                {cells: {"parameterType": "NUMBER_INTEGER"}},
                {"parameters": {"squares": _output("square")}},
            ),
            **{f"comp-{name}": {} for name in ("collect", "sum", "square")},
        },
    )
