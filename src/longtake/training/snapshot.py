# SPDX-License-Identifier: Apache-2.0
"""Weights on disk while training runs: atomic, float32 or bfloat16, configuration inside; and weights back in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from longtake.errors import CheckpointError
from longtake.families.cut3r import Cut3rConfig
from longtake.training.step import Learner


def save_learner(learner: Learner, path: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write the model and its flow head. The old file stays until the new one is complete."""
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in learner.state_dict().items()}
    about = {"family": "cut3r", "config": learner.model.config.to_dict()}
    part = path.with_suffix(".part")
    save_file(tensors, str(part), metadata={"longtake": json.dumps(about)})
    os.replace(part, path)


def load_learner(learner: Learner, path: Path) -> None:
    """Read what save_learner wrote. Raises CheckpointError if it was another configuration."""
    tensors: dict[str, Tensor] = {}
    with safe_open(str(path), framework="pt") as file:
        about = json.loads(file.metadata()["longtake"])
        for name in file.keys():  # noqa: SIM118 (not a dict)
            tensors[name] = file.get_tensor(name)
    if Cut3rConfig.from_dict(about["config"]) != learner.model.config:
        raise CheckpointError(f"{path}: holds another configuration; train with the same one, or start without --resume")
    own = learner.state_dict()
    if missing := sorted(set(own) ^ set(tensors)):
        raise CheckpointError(f"{path}: tensors differ from the model's: {missing[:5]}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
