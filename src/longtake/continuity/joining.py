# SPDX-License-Identifier: Apache-2.0
"""One world for all chunks of a take. The frame at a reset is seen twice, last of the old chunk and first of the new.

    exact   the published programs' chain: the new chunk's world is the old one's camera. No scale, and what the new
            chunk says of that camera (nominally the identity) is ignored
    scale   it is the same camera before and after, so only the scale is unknown: old T_A Scale(s) new T_B^-1, with s
            the weighted median of the depth ratios
    sim3    a similarity between the two point maps of the frame, by reweighted least squares (towards L1)

The chain (n, 4, 4) of `scale` and `sim3` is a similarity: its upper left block is a rotation times the chunk's scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longtake.errors import InputError
from longtake.frame import Heads
from longtake.geometry.pose import advance_chunk, inverse, rigid, world_from_cam

JOINS = ("exact", "scale", "sim3")
ROUNDS = 8  # of reweighting
NEAREST = 0.05  # what a chunk may be scaled by: from this to its inverse


def check_join(join: str) -> str:
    """Return the name of a way to join. Raises InputError for one that there is not."""
    if join not in JOINS:
        raise InputError(f"join={join!r}; there are {', '.join(JOINS)}")
    return join


def join_chunks(join: str, world_from_chunk: Tensor, old: Heads, new: Heads | None, reset: Tensor) -> Tensor:
    """Return the chain (n, 4, 4) after the streams of `reset` (n,) bool started over.

    old, new: what the repeated frame's heads said at the end of the old chunk and at the start of the new one; `new` is
    not needed for `exact`. Where a result would not be finite, the exact chain stands in, and where that is not finite
    either, the chain stays as it was: nothing a model says can break the frames that follow.
    """
    a = world_from_cam(old.pose).to(world_from_chunk.dtype)
    exact = advance_chunk(world_from_chunk, a, reset)
    chain = exact
    if join != "exact":
        assert new is not None
        between = camera_similarity(old, new) if join == "sim3" else scaling(depth_scale(old, new))
        b = world_from_cam(new.pose).to(world_from_chunk.dtype)
        joined = world_from_chunk @ a @ between.to(world_from_chunk.dtype) @ inverse(b)
        chain = torch.where((reset & finite(joined))[:, None, None], joined, exact)
    return torch.where(finite(chain)[:, None, None], chain, world_from_chunk)


def finite(matrix: Tensor) -> Tensor:
    """(n,) bool: all numbers of (n, 4, 4) are finite."""
    return matrix.isfinite().flatten(1).all(1)


def scaling(scale: Tensor) -> Tensor:
    """The 4x4 matrices (n, 4, 4) that scale space by (n,)."""
    diagonal = torch.stack((scale, scale, scale, torch.ones_like(scale)), -1)
    return torch.diag_embed(diagonal)


def split_scale(chain: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rigid motions (n, 4, 4) and the scales (n,) whose products similarities (n, 4, 4) are."""
    scale = chain[:, :3, 0].norm(dim=-1)
    return rigid(chain[:, :3, :3] / scale[:, None, None], chain[:, :3, 3]), scale


def depth_scale(old: Heads, new: Heads) -> Tensor:
    """How much larger the old chunk's world is than the new one's: (n,), the weighted median of the depth ratios.

    Weights are the geometric mean of both confidences; pixels without two finite positive depths do not count. 1 where
    none counts.
    """
    z_old, z_new = (_precise(heads.points_self[..., 2]).flatten(1) for heads in (old, new))
    ratio, weight = z_old / z_new, _weights(old, new)
    good = (z_old > 0) & (z_new > 0) & ratio.isfinite() & weight.isfinite()
    return weighted_median(torch.where(good, ratio, 1), torch.where(good, weight, 0)).clamp(NEAREST, 1 / NEAREST)


def weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """The lower weighted median of finite (n, k) values, (n,): where half of the weights (n, k) >= 0 is reached.

    1 where all weights are zero.
    """
    ordered, order = values.sort(-1)
    total = weights.gather(-1, order).double().cumsum(-1) if values.device.type != "mps" else _running(weights, order)
    place = (total < total[:, -1:] / 2).sum(-1, keepdim=True).clamp_max(values.shape[-1] - 1)
    return torch.where(total[:, -1] > 0, ordered.gather(-1, place)[:, 0], 1)


def _running(weights: Tensor, order: Tensor) -> Tensor:
    return weights.gather(-1, order).cumsum(-1)  # Apple's MPS has no float64


def camera_similarity(old: Heads, new: Heads) -> Tensor:
    """The similarity (n, 4, 4) that takes the frame's points of the new chunk to those of the old one.

    Both in the camera's own frame, where it is nominally a scale alone, and that scale is the start. Umeyama's solution
    with weights, repeated with each pixel's confidence over 1 + (residual / their median)^2 (Cauchy), so that wild
    points do not pull.
    """
    x, y = _precise(new.points_self).flatten(1, 2), _precise(old.points_self).flatten(1, 2)
    weight = _weights(old, new)
    good = x.isfinite().all(-1) & y.isfinite().all(-1) & weight.isfinite()
    x, y = (torch.where(good[..., None], points, 0) for points in (x, y))
    weight = torch.where(good, weight, 0)
    result = scaling(depth_scale(old, new))
    size = weighted_median(y.norm(dim=-1), weight)  # a thousandth of it is no residual
    for _ in range(ROUNDS):
        residual = (x @ result[:, :3, :3].transpose(-1, -2) + result[:, None, :3, 3] - y).norm(dim=-1)
        usual = torch.maximum(weighted_median(residual, weight), 1e-3 * size).clamp_min(1e-12)
        result = _umeyama(x, y, weight / (1 + (residual / usual[:, None]).square()))
    return result


def _umeyama(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    share = (weight / weight.sum(1, keepdim=True).clamp_min(1e-12))[..., None]
    mean_x, mean_y = (share * x).sum(1, keepdim=True), (share * y).sum(1, keepdim=True)
    a, b = x - mean_x, y - mean_y
    u, d, vt = torch.linalg.svd((share * b).transpose(-1, -2) @ a)
    sign = torch.ones_like(d)
    sign[:, 2] = torch.where(torch.linalg.det(u) * torch.linalg.det(vt) < 0, -1, 1)
    rotation = (u * sign[:, None]) @ vt
    scale = (d * sign).sum(1) / (share * a.square()).sum((1, 2)).clamp_min(1e-12)
    scale = scale.clamp(NEAREST, 1 / NEAREST)
    turn = scale[:, None, None] * rotation
    return rigid(turn, (mean_y - mean_x @ turn.transpose(-1, -2))[:, 0])


def _weights(old: Heads, new: Heads) -> Tensor:
    return (_precise(old.confidence_self) * _precise(new.confidence_self)).sqrt().flatten(1)


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
