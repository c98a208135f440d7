"""The language of model.yaml: what a component takes and gives, where it runs, how it is served (S2.2, S2.3).

Every field is known by its path, and has a provenance: declared by its owner, inspected in its files, probed by a run,
or a default. Declared goes before inspected, inspected before probed, anything before a default. What none of them
settles is a question. Pure.
"""

from modelyard.models.determination import Determined, determine
from modelyard.models.exchange import NotFacts, facts_in, facts_out, inspection_in, inspection_out
from modelyard.models.facts import Fact, Facts, Inspection, Question
from modelyard.models.reading import read_config
from modelyard.models.values import (
    Codec,
    Config,
    Datatype,
    Format,
    Provenance,
    Runtime,
    Serving,
    Step,
    Tensor,
)
from modelyard.models.writing import write_config

__all__ = [
    "Codec",
    "Config",
    "Datatype",
    "Determined",
    "Fact",
    "Facts",
    "Format",
    "Inspection",
    "NotFacts",
    "Provenance",
    "Question",
    "Runtime",
    "Serving",
    "Step",
    "Tensor",
    "determine",
    "facts_in",
    "facts_out",
    "inspection_in",
    "inspection_out",
    "read_config",
    "write_config",
]
