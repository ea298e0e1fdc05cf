# SPDX-License-Identifier: Apache-2.0
"""Weights on disk while training runs: complete or not at all, configuration inside; and weights back in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from longtake.checkpoints import load_strict, read_any, read_safetensors, write_safetensors
from longtake.errors import CheckpointError
from longtake.training.step import Learner

SCALE = "heads.scale."  # tensors of the output for metric scale


def save_learner(learner: Learner, path: Path) -> None:
    """Write the model and its flow head in float32. The old file stays until the new one is complete."""
    write_safetensors(path, learner.state_dict(), learner.model.config.to_dict(), learner.family)


def load_learner(learner: Learner, path: Path) -> bool:
    """Read what save_learner wrote, or a model alone (the shipped file, say); return whether the flow head came too.

    A flow head that did not come stays as it is: it is one layer and learns again in a hundred steps. So does an output
    for metric scale that the file's model does not have. The picture size may differ. Raises CheckpointError if it was
    another configuration.
    """
    tensors, about = read_safetensors(path, family=learner.family, wanted="weights of an earlier run")
    own = learner.model.config
    theirs = type(own).from_dict(about["config"])
    may_differ = {"image_size": own.image_size}
    new: dict[str, Tensor] = {}
    if getattr(own, "metric_scale", False) and not theirs.metric_scale:
        may_differ["metric_scale"] = True
        new = {name: t for name, t in learner.model.state_dict().items() if name.startswith(SCALE)}
    if replace(theirs, **may_differ) != own:
        raise CheckpointError(
            f"{path}: holds another configuration; train with the same one, or start without --resume"
        )
    with_flow = any(name.startswith("flow.") for name in tensors)
    with torch.no_grad():
        if with_flow:
            new = {f"model.{name}": tensor for name, tensor in new.items()}
            load_strict(learner, {**new, **tensors}, what=f"{path} into the learner")
        else:
            tensors = read_any(path, family=learner.family).tensors
            load_strict(learner.model, {**new, **tensors}, what=f"{path} into the model")
    return with_flow
