"""How a service's interpreter looks after memory.

A service holds many long-lived objects and few cycles: the collector's defaults would walk all of them again and
again, in the middle of a step.
"""

import gc

YOUNG_OBJECTS = 50_000
MIDDLE_ROUNDS = 20
OLD_ROUNDS = 50


def settle() -> None:
    """What exists now stays; from here on look for cycles rarely. Called once, when a service is open."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_ROUNDS, OLD_ROUNDS)
