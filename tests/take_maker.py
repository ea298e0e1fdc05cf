# SPDX-License-Identifier: Apache-2.0
"""Predictions of a made-up walk through a made-up room, so that outputs can be tested without a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longtake.frame import PixelMap, Prediction
from longtake.geometry.camera import unproject
from longtake.outputs import Recorder, Run

RUN = Run(model="a-model", weights="a.safetensors", weights_sha256="ab" * 32, rule="ttt3r", seed=7, device="cpu")


def pose(index: int) -> torch.Tensor:
    """Camera to world, (4, 4): walk forward, sway, and turn left and right; the identity at index 0."""
    yaw = 0.4 * np.sin(index / 5)
    c, s = np.cos(yaw), np.sin(yaw)
    place = (0.3 * np.sin(index / 4), 0.02 * np.sin(index / 3), 0.05 * index)
    return torch.tensor([[c, 0, s, place[0]], [0, 1, 0, place[1]], [-s, 0, c, place[2]], [0, 0, 0, 1]]).float()


def prediction(index: int = 0, *, height: int = 24, width: int = 32, **changes: Any) -> Prediction:
    """One frame: a corrugated wall two units ahead, surest in the middle, with a corner of unknown depth."""
    v, u = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    depth = 2 + 0.5 * torch.sin(6 * u + index / 7) + 0.3 * v
    intrinsics = torch.tensor([[width * 0.9, 0, width // 2], [0, width * 0.9, height // 2], [0, 0, 1]])
    own = unproject(depth, intrinsics)
    world_from_cam = pose(index)
    points = own @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]
    depth[: height // 4, : width // 4] = 0
    confidence = 2 - (u - 0.5) ** 2 - (v - 0.5) ** 2
    image = (torch.stack([u, v, 0 * u + index % 10 / 10], -1) * 255).to(torch.uint8)
    size = (width, height)
    made = Prediction(
        points=points,
        confidence=confidence,
        depth=depth,
        world_from_cam=world_from_cam,
        intrinsics=intrinsics,
        points_self=own,
        points_world=points,
        confidence_world=confidence,
        image=image,
        is_metric=False,
        pixel_map=PixelMap((2 * width, 2 * height), size, (0.5, 0.5), (0.0, 0.0)),
        index=3 * index,
        time=index / 10,
        name=f"frame {3 * index}",
    )
    return replace(made, **changes)


def record(out: Path, count: int, run: Run = RUN, **options: Any) -> Recorder:
    """Record `count` frames into a folder; `options` are the recorder's."""
    with Recorder(out, run, **options) as recorder:
        for index in range(count):
            recorder.add(prediction(index), 0.01 * (index + 1))
    return recorder
