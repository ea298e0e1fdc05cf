# SPDX-License-Identifier: Apache-2.0
"""Weights on disk while training runs: complete or not at all, configuration inside; and weights back in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from longtake.checkpoints import load_strict, read_any, read_safetensors, write_safetensors
from longtake.errors import CheckpointError
from longtake.training.step import Learner


def save_learner(learner: Learner, path: Path) -> None:
    """Write the model and its flow head in float32. The old file stays until the new one is complete."""
    write_safetensors(path, learner.state_dict(), learner.model.config.to_dict(), learner.family)


def load_learner(learner: Learner, path: Path) -> bool:
    """Read what save_learner wrote, or a model alone (the shipped file, say); return whether the flow head came too.

    A flow head that did not come stays as it is: it is one layer and learns again in a hundred steps. The picture size
    may differ. Raises CheckpointError if it was another configuration.
    """
    tensors, about = read_safetensors(path, family=learner.family, wanted="weights of an earlier run")
    own = learner.model.config
    if replace(type(own).from_dict(about["config"]), image_size=own.image_size) != own:
        raise CheckpointError(
            f"{path}: holds another configuration; train with the same one, or start without --resume"
        )
    with_flow = any(name.startswith("flow.") for name in tensors)
    with torch.no_grad():
        if with_flow:
            load_strict(learner, tensors, what=f"{path} into the learner")
        else:
            load_strict(learner.model, read_any(path, family=learner.family).tensors, what=f"{path} into the model")
    return with_flow
