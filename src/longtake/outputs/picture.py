# SPDX-License-Identifier: Apache-2.0
"""Draw points as z-buffered discs in numpy: no graphics library, the same picture on every machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from longtake.outputs.display import Display

_OVER = 2  # samples per pixel and axis
_LARGEST = 5  # radius of a disc in samples


@dataclass(frozen=True, slots=True)
class Eye:
    """Where the picture is taken from. Camera axes as everywhere: x right, y down, z into the picture."""

    axes: np.ndarray  # (3, 3) rows: right, down, forward, in the display frame
    position: np.ndarray  # (3,)
    scale: float  # pixels per unit (parallel) or focal length in pixels (perspective)
    size: tuple[int, int]  # (width, height) in pixels
    parallel: bool = False

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, 2) pixel positions and (n,) distances along the view of (n, 3) display points."""
        local = (np.asarray(points, np.float64) - self.position) @ self.axes.T
        z = local[:, 2]
        divisor = np.ones_like(z) if self.parallel else np.maximum(z, 1e-9)
        centre = np.array(self.size) / 2 - 0.5
        return local[:, :2] / divisor[:, None] * self.scale + centre, z


def eye_from_side(display: Display, azimuth: float, elevation: float, size: tuple[int, int]) -> Eye:
    """Return a perspective eye that looks down at the whole scene from a compass direction; angles in degrees."""
    a, e = np.deg2rad((azimuth, elevation))
    forward = -np.array([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    axes = np.stack([right, np.cross(forward, right), forward])
    centre = (display.low + display.high) / 2
    places = np.concatenate([display.points[:: max(len(display.points) // 20_000, 1)], display.poses[:, :3, 3]])
    local = (places - centre) @ axes.T
    half = np.tan(np.deg2rad(14))  # a long lens: 28 degrees over the picture's height
    halves = np.array([half * size[0] / size[1], half]) * 0.93
    shift = np.zeros(3)
    for _ in range(4):  # the middle of a perspective picture is not that of the box: two or three rounds settle it
        distance = float(np.max(np.abs(local[:, :2]) / halves - local[:, 2:]))
        seen = local[:, :2] / (local[:, 2:] + distance)
        move = (seen.max(0) + seen.min(0)) / 2 * distance
        shift[:2] += move
        local[:, :2] -= move
    distance = float(np.max(np.abs(local[:, :2]) / halves - local[:, 2:]))
    return Eye(axes, centre + shift @ axes - forward * distance, size[1] / 2 / half, size)


def eye_from_above(display: Display, size: tuple[int, int], fill: float = 0.9) -> Eye:
    """Return a parallel eye straight above the scene: x to the right, y up the picture."""
    axes = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
    span = np.maximum(display.high - display.low, 1e-6)
    scale = fill * min(size[0] / span[0], size[1] / span[1])
    centre = (display.low + display.high) / 2
    return Eye(axes, np.array([centre[0], centre[1], display.high[2] + display.extent]), float(scale), size, True)


def draw_cloud(display: Display, eye: Eye, *, cut_away: bool = True) -> Image.Image:
    """Return an RGBA picture of the cloud on transparent ground, anti-aliased.

    cut_away: leave out surfaces seen from behind, so that one looks into a room through its ceiling and near walls.
    """
    width, height = eye.size[0] * _OVER, eye.size[1] * _OVER
    fine = Eye(eye.axes, eye.position, eye.scale * _OVER, (width, height), eye.parallel)
    spot, depth = fine.project(display.points)
    away = np.broadcast_to(-eye.axes[2], display.points.shape) if eye.parallel else eye.position - display.points
    facing = (display.normals * away).sum(-1) / np.maximum(np.linalg.norm(away, axis=-1), 1e-9)
    shown = depth > 0
    if cut_away:
        shown &= facing > 0.02
    spot, depth, facing, colors = spot[shown], depth[shown], facing[shown], display.colors[shown]
    scale = fine.scale if eye.parallel else fine.scale / np.maximum(depth, 1e-9)
    radius = np.clip(0.8 * display.spacing[shown] * scale, 1.0, _LARGEST)
    winner, z = _nearest(spot, depth, radius, width, height)
    lit = 0.82 + 0.18 * np.clip(facing, 0, 1)
    return _resolve(colors * lit[:, None], winner, z, width, height)


def _nearest(
    spot: np.ndarray, depth: np.ndarray, radius: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return for every sample the index of the nearest disc that covers it (-1: none) and its depth (inf: none)."""
    column, row = np.rint(spot[:, 0]).astype(np.int64), np.rint(spot[:, 1]).astype(np.int64)
    low, high = (float(depth.min()), float(depth.max())) if len(depth) else (0.0, 1.0)
    step = max(high - low, 1e-9) / (2**31 - 2)
    ticket = (((depth - low) / step).astype(np.uint64) << np.uint64(32)) | np.arange(len(depth), dtype=np.uint64)
    none = np.uint64(2**64 - 1)
    best = np.full(width * height, none, np.uint64)
    for dy in range(-_LARGEST, _LARGEST + 1):
        for dx in range(-_LARGEST, _LARGEST + 1):
            covers = radius >= np.hypot(dx, dy)
            x, y = column + dx, row + dy
            covers &= (x >= 0) & (x < width) & (y >= 0) & (y < height)
            np.minimum.at(best, y[covers] * width + x[covers], ticket[covers])
    index = np.where(best == none, -1, (best & np.uint64(0xFFFFFFFF)).astype(np.int64))
    z = np.where(best == none, np.inf, (best >> np.uint64(32)).astype(np.float64) * step + low)
    return index, z


def _resolve(colors: np.ndarray, winner: np.ndarray, z: np.ndarray, width: int, height: int) -> Image.Image:
    """Shade by depth, and average the samples of each pixel.

    The shading is eye-dome lighting (Boucheny 2009): a sample is darker the more its neighbours stand in front of it,
    which draws the edges of things without any normals.
    """
    covered = winner >= 0
    rgba = np.zeros((height * width, 4), np.float32)
    if len(colors):
        rgba[covered, :3] = colors[winner[covered]]
    rgba[covered, 3] = 1
    rgba = rgba.reshape(height, width, 4)
    with np.errstate(divide="ignore"):
        log_z = np.log2(np.maximum(z, 1e-9)).reshape(height, width).astype(np.float32)
    sunk = np.zeros_like(log_z)
    reach = 2
    padded = np.pad(log_z, reach, constant_values=np.inf)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        there = padded[reach * (1 + dy) : reach * (1 + dy) + height, reach * (1 + dx) : reach * (1 + dx) + width]
        with np.errstate(invalid="ignore"):
            sunk += np.where(np.isfinite(there) & np.isfinite(log_z), np.clip(log_z - there, 0, 0.05), 0)
    rgba[..., :3] *= np.exp(-7.0 * sunk)[..., None].clip(0.45, 1)
    small = rgba.reshape(height // _OVER, _OVER, width // _OVER, _OVER, 4).mean((1, 3))
    alpha = small[..., 3:]
    rgb = small[..., :3] / np.maximum(alpha, 1e-6)
    return Image.fromarray(np.concatenate([rgb, alpha * 255], -1).round().clip(0, 255).astype(np.uint8), "RGBA")
