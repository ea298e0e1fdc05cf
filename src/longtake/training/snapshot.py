# SPDX-License-Identifier: Apache-2.0
"""Weights on disk while training runs: complete or not at all, configuration inside; and weights back in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from longtake.checkpoints import load_strict, read_safetensors, write_safetensors
from longtake.errors import CheckpointError
from longtake.families.cut3r import Cut3rConfig
from longtake.training.step import Learner


def save_learner(learner: Learner, path: Path) -> None:
    """Write the model and its flow head in float32. The old file stays until the new one is complete."""
    write_safetensors(path, learner.state_dict(), learner.model.config.to_dict(), "cut3r")


def load_learner(learner: Learner, path: Path) -> None:
    """Read what save_learner wrote. Raises CheckpointError if it was another configuration."""
    tensors, about = read_safetensors(path, family="cut3r", wanted="weights of an earlier run")
    own = learner.model.config
    if replace(Cut3rConfig.from_dict(about["config"]), image_size=own.image_size) != own:  # any size may go on
        raise CheckpointError(
            f"{path}: holds another configuration; train with the same one, or start without --resume"
        )
    with torch.no_grad():
        load_strict(learner, tensors, what=f"{path} into the learner")
