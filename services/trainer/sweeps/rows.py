"""What is kept of sweeps, in the transaction of the step that changed them. Pure."""

import msgspec

from services.trainer.sweeps.state import Sweep, Trial


class PutSweep(msgspec.Struct, frozen=True):
    """The sweep as it is by now."""

    sweep: Sweep


class PutTrial(msgspec.Struct, frozen=True):
    sweep: int
    trial: Trial
