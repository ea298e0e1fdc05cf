# SPDX-License-Identifier: Apache-2.0
"""Bundle adjustment of a window: poses, focal length and a smooth change of each depth map, until pictures agree.

Ours, of well-known parts. What the model says is the beginning and a prior. A pixel of one frame, moved by its depth
into another one, must look as it does there (direct alignment: Engel, Koltun, Cremers, "Direct Sparse Odometry", 2016)
and lie at the depth that the other frame has there. The logarithm of each depth map changes by a grid of nodes, between
which it is bilinear: a model's errors are smooth, and some fifty numbers a frame can be solved for together with all
poses. Robust weights, Gauss-Newton steps, coarse to fine; exposure is taken out of each pair by medians.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from longtake.geometry.pose import inverse
from longtake.refine.motion import adjoint, exp_motion, log_motion
from longtake.refine.views import Level, make_level, node_shares

LEAST_SEEN = 40  # pixels of a frame that must be seen in another one, or the pair says nothing
ENOUGH = 1e-4  # radians, or shares of the depth, below which a step is the last one
BRIGHT = 2e-3  # floor of the spread of differences between pictures


@dataclass(frozen=True, slots=True)
class Settings:
    """What is trusted how much. Lengths are shares of the window's median depth, angles radians."""

    gaps: tuple[int, ...] = (1, 3, 7)  # between frames that are compared, both ways
    grid: tuple[int, int] = (6, 8)  # nodes of the change of a depth map
    longest: int = 80  # pixels of a side at which pictures are compared last; before that at half of it
    iterations: tuple[int, int] = (4, 3)  # at half of it, and at it
    share: float = 0.4  # of the pixels, those that count
    picture: float = 0.1  # what a pixel weighs against independent evidence: neighbours err together
    surface: float = 0.06  # the same of its depth
    near: float = 0.1  # logarithm of depth by which two frames' surfaces usually differ
    hidden: float = 0.25  # the same from where one of them is taken to be hidden
    turn: float = 0.05  # error of the model's rotations against the window's first frame
    shift: float = 0.05  # of its translations
    step_turn: float = 0.03  # of its rotations between neighbouring frames
    step_shift: float = 0.02
    depth: float = 0.2  # of its depth, as a logarithm
    bend: float = 0.1  # of that error, what changes from one node to the next
    focal: float = 0.07  # of its focal length, as a logarithm; 0: it is known


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A window after adjustment."""

    world_from_cam: Tensor  # (n, 4, 4)
    log_change: Tensor  # (n, H, W) to be added to the logarithm of depth
    log_focal: float  # to be added to the logarithm of both focal lengths
    misfit: tuple[float, float]  # mean difference of pictures at the last size: as the model said, and in the end
    moved: float  # largest change of a pose from what the model said, in radians or shares of the median depth


def adjust(
    images: Tensor,
    depth: Tensor,
    world_from_cam: Tensor,
    intrinsics: Tensor,
    settings: Settings | None = None,
    *,
    fixed: int = 1,
) -> Adjusted:
    """images (n, H, W, 3) uint8, depth (n, H, W), 0 = unknown, world_from_cam (n, 4, 4), intrinsics (3, 3) in pixels.

    fixed: how many frames at the beginning stay as they are, poses and depth; of the first one depth is free if it is
    the only one. Returns the window adjusted, in the units it came in.
    """
    settings = settings or Settings()
    work = _Window(images, depth, world_from_cam, intrinsics, settings, fixed)
    levels = [make_level(work.grey, work.depth, h, settings.grid, settings.share) for h in work.halvings]
    before = work.misfit(levels[-1])
    for level, iterations in zip(levels, settings.iterations, strict=True):
        for _ in range(iterations):
            if work.step(level) < ENOUGH:
                break
    return work.result((before, work.misfit(levels[-1])))


class _Window:
    """The unknowns of a window, and one Gauss-Newton step of them."""

    def __init__(
        self, images: Tensor, depth: Tensor, poses: Tensor, intrinsics: Tensor, settings: Settings, fixed: int
    ) -> None:
        self.settings, self.n = settings, len(images)
        self.shape = images.shape[1:3]
        self.grey = images.float().mean(-1) / 255
        begin = depth[: max(1, fixed)]
        self.unit = float(begin[begin > 0].median())
        self.depth = depth.float() / self.unit
        poses = poses.cpu().double()
        self.world_from_first = poses[0]
        own = inverse(poses[0])[None] @ poses
        own[:, :3, 3] /= self.unit
        self.cams = inverse(own)  # cam_from_first, which is what is stepped
        self.prior = self.cams.clone()
        self.intrinsics = intrinsics.cpu().double()
        self.log_focal = 0.0
        self.nodes = torch.zeros(self.n, settings.grid[0] * settings.grid[1], dtype=torch.float64)
        self.fixed = max(1, fixed)
        self.still = torch.arange(self.n) < (self.fixed if fixed > 1 else 0)  # frames whose depth stays
        # Sizes: the last has its longest side at `longest` pixels or just below.
        halvings = 0
        while max(self.shape) >> halvings > settings.longest:
            halvings += 1
        self.halvings = (halvings + 1, halvings)
        self.rough = _roughness(settings.grid)

    def step(self, level: Level) -> float:
        """One step; the largest change of a pose."""
        normal, right, _ = self._evidence(level)
        self._priors(normal, right)
        free = self._free()
        change = torch.zeros(len(right), dtype=torch.float64)
        small = normal[free][:, free]
        change[free] = torch.linalg.solve(small + 1e-9 * torch.eye(len(small), dtype=small.dtype), right[free])
        if not bool(change.isfinite().all()):
            return 0.0
        motions = change[: 6 * self.n].view(self.n, 6)
        self.cams = exp_motion(motions) @ self.cams
        self.nodes = self.nodes + change[6 * self.n : -1].view_as(self.nodes)
        self.log_focal += float(change[-1])
        return float(motions.abs().max())

    def misfit(self, level: Level) -> float:
        """Mean difference of pictures now; infinite where no frame is seen in another one."""
        return self._evidence(level)[2]

    def _free(self) -> Tensor:
        """Which unknowns move, as a mask: six a pose, the nodes, the focal length."""
        poses = (torch.arange(self.n) >= self.fixed)[:, None].expand(-1, 6).flatten()
        nodes = (~self.still)[:, None].expand(-1, self.nodes.shape[1]).flatten()
        return torch.cat((poses, nodes, torch.tensor([self.settings.focal > 0])))

    def _evidence(self, level: Level) -> tuple[Tensor, Tensor, float]:
        """Normal matrix, right side, and misfit of all pairs of frames."""
        count, grid = self.nodes.shape[1], self.settings.grid
        total = self.n * (6 + count) + 1
        normal, right = torch.zeros(total, total, dtype=torch.float64), torch.zeros(total, dtype=torch.float64)
        focal, centre = self._camera(level)
        size = level.size
        misfits, seen = 0.0, 0
        nodes = self.nodes.to(level.planes)
        for i in range(self.n):
            others = [j for j in range(self.n) if abs(i - j) in self.settings.gaps and max(i, j) >= self.fixed]
            if not others:
                continue
            j = torch.tensor(others)
            motion = (self.cams[j] @ inverse(self.cams[i])[None]).to(level.planes)
            turn, shift = motion[:, :3, :3], motion[:, :3, 3]
            z = (level.log_depth[i] + level.nodes[i] @ nodes[i]).exp()
            ray = torch.stack(((level.u[i] - centre[0]) / focal[0], (level.v[i] - centre[1]) / focal[1]), -1)
            own = torch.cat((ray * z[:, None], z[:, None]), -1)  # (P, 3)
            there = own @ turn.mT + shift[:, None]  # (J, P, 3)
            depth = there[..., 2]
            near = 1 / depth.clamp_min(1e-3)
            flat = there[..., :2] * near[..., None]
            u, v = (flat[..., k] * focal[k] + centre[k] for k in (0, 1))
            inside = (depth > 1e-2) & (u > 1) & (u < size[1] - 2) & (v > 1) & (v < size[0] - 2)
            grey, gu, gv, log_depth = _sample(level.planes[j], u, v)
            theirs = node_shares(u, v, size, grid)
            apart = depth.clamp_min(1e-3).log() - log_depth - (theirs @ nodes[j][..., None])[..., 0]
            good = inside & (apart.abs() < self.settings.hidden) & (level.weight[i] > 0)
            enough = good.sum(-1) >= LEAST_SEEN
            good &= enough[:, None]
            if not bool(enough.any()):
                continue
            off = _difference(grey, level.grey[i].expand_as(grey), good)
            spread = (1.4826 * _median(off.abs(), good)).clamp_min(BRIGHT)[:, None]
            weight = good * self.settings.picture / spread.square() / (1 + (off / (2 * spread)).square())
            misfits, seen = misfits + float((off.abs() * good).sum()), seen + int(good.sum())
            # The pixel's derivative along its point there, then along every unknown.
            along = torch.stack((gu * focal[0] * near, gv * focal[1] * near), -1)
            along = torch.cat((along, -(along * flat).sum(-1, keepdim=True)), -1)
            columns = _columns(along, there, own, turn)
            columns[..., 12] += gu * (u - centre[0]) + gv * (v - centre[1])
            nearer = self.settings.surface / self.settings.near**2 / (1 + (apart / self.settings.near).square()) * good
            axis = torch.zeros_like(there)
            axis[..., 2] = near
            deep = _columns(axis, there, own, turn)
            own_nodes = level.nodes[i].expand(len(others), -1, -1)
            self._add(normal, right, i, others, columns, own_nodes, None, weight, off)
            self._add(normal, right, i, others, deep, own_nodes, -theirs, nearer, apart)
        return normal, right, misfits / seen if seen else float("inf")

    def _add(
        self,
        normal: Tensor,
        right: Tensor,
        i: int,
        others: list[int],
        columns: Tensor,
        own: Tensor,
        theirs: Tensor | None,
        weight: Tensor,
        off: Tensor,
    ) -> None:
        """Add the squares of J pairs of frame i. columns (J, P, 14): their pose, own pose, focal length, own depth."""
        parts = [columns[..., :13], columns[..., 13:] * own, *([] if theirs is None else [theirs])]
        jacobian = torch.cat(parts, -1)  # (J, P, C)
        scaled = (jacobian * weight[..., None]).mT
        squares, sides = (scaled @ jacobian).cpu().double(), (scaled @ off[..., None])[..., 0].cpu().double()
        count = self.nodes.shape[1]
        begin = 6 * self.n
        for pair, j in enumerate(others):
            places = [*range(6 * j, 6 * j + 6), *range(6 * i, 6 * i + 6), len(right) - 1]
            places += range(begin + i * count, begin + (i + 1) * count)
            if theirs is not None:
                places += range(begin + j * count, begin + (j + 1) * count)
            at = torch.tensor(places)
            normal[at[:, None], at[None]] += squares[pair]
            right[at] -= sides[pair]

    def _priors(self, normal: Tensor, right: Tensor) -> None:
        """What the model said, as far as it is trusted."""
        s, count = self.settings, self.nodes.shape[1]
        whole = torch.tensor([s.shift**-2.0] * 3 + [s.turn**-2.0] * 3, dtype=torch.float64)
        step = torch.tensor([s.step_shift**-2.0] * 3 + [s.step_turn**-2.0] * 3, dtype=torch.float64)
        away = log_motion(self.prior @ inverse(self.cams))  # (n, 6)
        between = self.cams[1:] @ inverse(self.cams[:-1])
        said = self.prior[1:] @ inverse(self.prior[:-1])
        off, moved = log_motion(said @ inverse(between)), adjoint(between)
        for t in range(self.n):
            a = slice(6 * t, 6 * t + 6)
            normal[a, a] += whole.diag()
            right[a] += whole * away[t]
            if t:
                b, turned = slice(6 * t - 6, 6 * t), moved[t - 1]
                pull = step[:, None] * turned
                normal[a, a] += step.diag()
                normal[b, b] += turned.mT @ pull
                normal[a, b] -= pull
                normal[b, a] -= pull.mT
                right[a] += step * off[t - 1]
                right[b] -= turned.mT @ (step * off[t - 1])
            n = slice(6 * self.n + t * count, 6 * self.n + (t + 1) * count)
            smooth = self.rough / s.bend**2 + torch.eye(count, dtype=torch.float64) / s.depth**2
            normal[n, n] += smooth
            right[n] -= smooth @ self.nodes[t]
        if s.focal:
            normal[-1, -1] += s.focal**-2
            right[-1] -= self.log_focal * s.focal**-2

    def _camera(self, level: Level) -> tuple[list[float], list[float]]:
        """Focal lengths and principal point in pixels of a level, x and y."""
        k, stretch = self.intrinsics, float(torch.tensor(self.log_focal).exp())
        focal = [float(k[i, i]) * stretch / level.step for i in (0, 1)]
        return focal, [(float(k[i, 2]) + 0.5) / level.step - 0.5 for i in (0, 1)]

    def result(self, misfit: tuple[float, float]) -> Adjusted:
        """All of it in the units that it came in."""
        height, width = self.shape
        own = inverse(self.cams)
        own[:, :3, 3] *= self.unit
        v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        shares = node_shares(u.flatten().double(), v.flatten().double(), (height, width), self.settings.grid)
        change = (self.nodes @ shares.mT).view(self.n, height, width)
        moved = float(log_motion(self.prior @ inverse(self.cams)).abs().max())
        return Adjusted(self.world_from_first @ own, change, self.log_focal, misfit, moved)


def _columns(along: Tensor, there: Tensor, own: Tensor, turn: Tensor) -> Tensor:
    """Derivatives of J pairs (J, P, 14): their pose, own pose (6 each), focal length by the ray, own log depth.

    along (J, P, 3): derivative along the point `there` (J, P, 3), which was at `own` (P, 3) and turned by (J, 3, 3).
    """
    back = along @ turn  # along the own point
    own = own.expand_as(there)
    focal = -(back[..., :2] * own[..., :2]).sum(-1, keepdim=True)
    depth = (back * own).sum(-1, keepdim=True)
    theirs = torch.cat((along, torch.linalg.cross(there, along)), -1)
    mine = -torch.cat((back, torch.linalg.cross(own, back)), -1)
    return torch.cat((theirs, mine, focal, depth), -1)


def _sample(planes: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """planes (J, C, h, w) at (J, P) -> C tensors (J, P)."""
    height, width = planes.shape[-2:]
    at = torch.stack((2 * u / (width - 1) - 1, 2 * v / (height - 1) - 1), -1)
    return grid_sample(planes, at[:, None], align_corners=True)[:, :, 0].unbind(1)


def _median(x: Tensor, good: Tensor) -> Tensor:
    """Median (J,) of x (J, P) where `good`; 0 where nothing is."""
    return torch.where(good, x, torch.nan).nanmedian(-1).values.nan_to_num(0.0)


def _difference(grey: Tensor, own: Tensor, good: Tensor) -> Tensor:
    """grey - own (J, P), exposure taken out: medians and spreads over the pixels that count are made equal."""
    a, b = grey - _median(grey, good)[:, None], own - _median(own, good)[:, None]
    spread = [((x.square() * good).sum(-1) / good.sum(-1).clamp_min(1)).sqrt() for x in (a, b)]
    gain = (spread[0] / spread[1].clamp_min(1e-4)).clamp(0.5, 2.0)
    return a - gain[:, None] * b


def _roughness(grid: tuple[int, int]) -> Tensor:
    """Q with x^T Q x the sum of squared differences between neighbouring nodes."""
    rows, columns = grid
    index = torch.arange(rows * columns).view(grid)
    pairs = torch.cat(
        (
            torch.stack((index[:, 1:], index[:, :-1]), -1).view(-1, 2),
            torch.stack((index[1:], index[:-1]), -1).view(-1, 2),
        )
    )
    difference = torch.zeros(len(pairs), rows * columns, dtype=torch.float64)
    difference[torch.arange(len(pairs)), pairs[:, 0]] = 1.0
    difference[torch.arange(len(pairs)), pairs[:, 1]] = -1.0
    return difference.mT @ difference
