"""Components made callable, by their format: one small module each, whose libraries are loaded there only.

What a model takes and gives is arrays by the names of model.yaml; a Python class gets what its annotations say.
"""

from modelyard.serving.loaders.loading import Findings, Loading, Model, Stream, load

__all__ = ["Findings", "Loading", "Model", "Stream", "load"]
