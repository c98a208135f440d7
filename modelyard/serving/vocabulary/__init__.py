"""Operations that model.yaml may name before, after and beside the computation: their options, kinds and defaults.

The one table: what reads model.yaml checks by it, what runs in a frame takes its defaults from it, and the published
schema and docs/models.md show it. Pure, standard library only.
"""

from collections.abc import Mapping

from modelyard.serving.vocabulary.drawings import CODE_DRAWING, DRAWINGS
from modelyard.serving.vocabulary.options import (
    CHARTS,
    DATATYPES,
    HTML,
    KINDS,
    PILLOW,
    PNG,
    POST,
    PRE,
    SANITISER,
    SVG,
    VEGA_LITE,
    VISUALISE,
    Operation,
    Option,
    mistake,
)
from modelyard.serving.vocabulary.steps import STEPS

OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    PRE: {one.name: one for one in STEPS if PRE in one.phases},
    POST: {one.name: one for one in STEPS if POST in one.phases},
    VISUALISE: {one.name: one for one in DRAWINGS},
}
"""By phase and name."""


__all__ = [
    "CHARTS",
    "CODE_DRAWING",
    "DATATYPES",
    "DRAWINGS",
    "HTML",
    "KINDS",
    "OPERATIONS",
    "PILLOW",
    "PNG",
    "POST",
    "PRE",
    "SANITISER",
    "STEPS",
    "SVG",
    "VEGA_LITE",
    "VISUALISE",
    "Operation",
    "Option",
    "mistake",
]
