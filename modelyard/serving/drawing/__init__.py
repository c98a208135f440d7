"""Pictures of what a model was given and what it answered: PNG, SVG, Vega-Lite or HTML (S2.7)."""

from modelyard.serving.drawing.choice import draw
from modelyard.serving.drawing.drawn import Drawn

__all__ = ["Drawn", "draw"]
