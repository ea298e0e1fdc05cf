# SPDX-License-Identifier: Apache-2.0
"""A run that diverges goes back to its last healthy weights at a lower rate instead of spending its time on nothing."""

from __future__ import annotations

import math

from longtake.training.flat import Average, FlatParameters
from longtake.training.muon import Together

WORSE = 3.0  # times the loss of the last healthy report
SLOWER = 0.6  # the learning rate after a return, as a share


class Guard:
    """Watches the mean loss between reports. All processes see the same loss, so all decide alike."""

    def __init__(self, flat: FlatParameters, optimiser: Together, average: Average) -> None:
        self.flat, self.optimiser, self.average = flat, optimiser, average
        self.kept = (flat.values.clone(), average.values.clone())
        self.healthy = math.inf
        self.slowed = 1.0  # factor on the learning rate

    def check(self, loss: float) -> bool:
        """Return whether the run is healthy; if not, the kept weights are back and the optimiser starts anew."""
        if math.isfinite(loss) and loss < WORSE * max(self.healthy, 0.1):
            self.kept[0].copy_(self.flat.values)
            self.kept[1].copy_(self.average.values)
            self.healthy = loss
            return True
        self.flat.values.copy_(self.kept[0])
        self.average.values.copy_(self.kept[1])
        self.optimiser.forget()
        self.slowed *= SLOWER
        return False

    def new_stage(self) -> None:
        """Longer takes have another loss: forget the old one."""
        self.healthy = math.inf
