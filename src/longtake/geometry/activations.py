# SPDX-License-Identifier: Apache-2.0
"""What turns raw head outputs into points, confidence, colour and poses. Channels are the last axis."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from longtake.geometry.rotation import standardise_quat_wxyz

PointMode = Literal["exp", "square", "linear"]
PoseMode = Literal["exp", "square", "linear"]
ConfidenceMode = Literal["exp", "sigmoid"]

_TINY = 1e-8  # floor of a length that is divided by


def _stretch(vector: Tensor, mode: PointMode) -> Tensor:
    """Keep the direction and change the length d: expm1(d), d^2, or d itself."""
    if mode == "linear":
        return vector
    length = vector.norm(dim=-1, keepdim=True)
    if mode == "exp":
        return vector / length.clamp_min(_TINY) * torch.expm1(length)
    if mode == "square":
        return vector / length.clamp_min(_TINY) * length.square()
    raise ValueError(f"mode {mode!r}: points and poses know 'exp', 'square' and 'linear'")


def activate_points(raw: Tensor, mode: PointMode = "exp", *, positive_z: bool = False) -> Tensor:
    """Return points (..., 3) from raw vectors (..., 3).

    positive_z first multiplies the whole vector by the sign of its z (0 for 0), so that z >= 0 comes out; it does
    nothing in mode 'linear', as in the published program.
    """
    if positive_z and mode != "linear":
        raw = raw * raw[..., 2:3].sign()
    return _stretch(raw, mode)


def activate_confidence(raw: Tensor, mode: ConfidenceMode = "exp", low: float = 1.0, high: float = math.inf) -> Tensor:
    """Return confidence (...) from raw numbers (...): low + min(exp(raw), high - low), or a sigmoid between the two."""
    if mode == "exp":
        return low + raw.exp().clamp_max(high - low)
    if mode == "sigmoid":
        return low + (high - low) * raw.sigmoid()
    raise ValueError(f"mode {mode!r}: confidence knows 'exp' and 'sigmoid'")


def activate_rgb(raw: Tensor) -> Tensor:
    """Return colours in (-1, 1), the shape of the raw numbers; the ends are kept 2e-6 away."""
    return ((raw.sigmoid() * (1 - 2e-6) + 1e-6) - 0.5) * 2


def activate_pose(raw: Tensor, mode: PoseMode = "exp") -> Tensor:
    """Return pose7 (..., 7) from raw (..., 7): translation stretched as points are, unit quaternion wxyz, w >= 0."""
    return torch.cat((_stretch(raw[..., :3], mode), standardise_quat_wxyz(raw[..., 3:])), dim=-1)


def compress_pose(pose7: Tensor) -> Tensor:
    """Scale the translation by d / max(expm1(d), 1e-8), d its length, and standardise the quaternion, (..., 7).

    The published programs call this the inverse of the 'exp' pose; log1p(d) would be. Kept as they have it.
    """
    translation = pose7[..., :3]
    length = translation.norm(dim=-1, keepdim=True)
    shrunk = translation * (length / torch.expm1(length).clamp_min(_TINY))
    return torch.cat((shrunk, standardise_quat_wxyz(pose7[..., 3:])), dim=-1)
