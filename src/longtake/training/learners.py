# SPDX-License-Identifier: Apache-2.0
"""Which learner trains which kind of model: a family that can be trained has its line here."""

from __future__ import annotations

from typing import Any

from longtake.errors import CapabilityError
from longtake.families.cut3r import Cut3r, Cut3rConfig
from longtake.families.streamvggt import StreamVggt
from longtake.families.vggt import Vggt
from longtake.families.vggt_config import VggtConfig
from longtake.training.step import Learner
from longtake.training.walk_full import FullLearner


def make_learner(config: Any) -> Learner:
    """Build an untrained model of this configuration with what training adds. Raises CapabilityError."""
    if isinstance(config, Cut3rConfig):
        return Learner(Cut3r(config))
    if isinstance(config, VggtConfig):
        return FullLearner(StreamVggt(config) if config.causal else Vggt(config))
    raise CapabilityError(f"{type(config).__name__} cannot be trained here: give a CUT3R- or a VGGT-shaped model.")
