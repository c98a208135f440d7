"""How a service's interpreter looks after memory.

A service holds many long-lived objects and few cycles: the collector's defaults would walk all of them again and
again, in the middle of a step.
"""

import ctypes
import gc

YOUNG_OBJECTS = 50_000
MIDDLE_ROUNDS = 20
OLD_ROUNDS = 50


def settle() -> None:
    """What exists now stays; from here on look for cycles rarely. Called once, when a service is open.

    What its start has used and given back goes back to the system too: an agent's is 10 MB.
    """
    gc.freeze()
    # Of glibc; others do so by themselves.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    gc.set_threshold(YOUNG_OBJECTS, MIDDLE_ROUNDS, OLD_ROUNDS)
