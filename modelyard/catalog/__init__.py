"""The operators that every agent offers.

Owns their names. Each is an ordinary operator, and its module is imported when it is first described or used. Those
modules need the standard library only: what else an operator needs it loads when it is called (`libraries`).
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from modelyard.operator.declaration import describe

# By name: where the function is.
OPERATORS = {
    "echo": "modelyard.catalog.basics:echo",
    "fail": "modelyard.catalog.basics:fail",
    "files.list": "modelyard.catalog.texts:list_files",
    "files.read": "modelyard.catalog.texts:read_file",
    "image.convert": "modelyard.catalog.images:convert_image",
    "image.describe": "modelyard.catalog.images:describe_image",
    "image.grayscale": "modelyard.catalog.images:grayscale_image",
    "image.resize": "modelyard.catalog.images:resize_image",
    "model.call": "modelyard.catalog.serving:call_model",
    "model.deploy": "modelyard.catalog.serving:deploy_model",
    "model.load": "modelyard.catalog.serving:load_model",
    "model.push": "modelyard.catalog.serving:push_model",
    "model.unload": "modelyard.catalog.serving:unload_model",
    "pi": "modelyard.catalog.basics:pi",
    "plot.table": "modelyard.catalog.plots:plot_table",
    "shell.run": "modelyard.catalog.shell:run_shell",
    "sklearn.fit": "modelyard.catalog.learning:fit",
    "sklearn.predict": "modelyard.catalog.learning:predict",
    "sklearn.score": "modelyard.catalog.learning:score",
    "sleep": "modelyard.catalog.basics:sleep",
    "table.convert": "modelyard.catalog.dataframes:convert_table",
    "table.describe": "modelyard.catalog.tables:describe_table",
    "table.filter": "modelyard.catalog.tables:filter_table",
    "table.join": "modelyard.catalog.dataframes:join_tables",
    "table.preview": "modelyard.catalog.dataframes:preview_table",
    "table.query": "modelyard.catalog.dataframes:query_table",
    "table.split": "modelyard.catalog.dataframes:split_table",
    "text.count": "modelyard.catalog.texts:count",
    "text.join": "modelyard.catalog.texts:join",
    "text.replace": "modelyard.catalog.texts:replace",
    "text.split": "modelyard.catalog.texts:split",
    "train.run": "modelyard.catalog.training:run_job",
}


def function_of(name: str) -> Callable[..., Any]:
    """The function of a built-in operator. Raises KeyError."""
    module, _, attribute = OPERATORS[name].partition(":")
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    return function


def describe_all() -> list[dict[str, Any]]:
    """What `describe` says of each, by name."""
    return [describe(function_of(name)) for name in OPERATORS]
