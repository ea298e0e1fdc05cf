# SPDX-License-Identifier: Apache-2.0
"""Do poses, depth and camera agree? Depth of one frame is moved into another and compared with the depth there.

For pixels p of frame a with depth z: x = T_b^-1 T_a (z K^-1 p); the error is |x_z - z_b| / z_b at the pixel of frame b
nearest to K x. The same is measured for the usual mistakes (poses read in the wrong direction, OpenGL axes, a wrong
depth scale, no motion at all); a mistake that fits clearly better than the data as they were read is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from longtake.datasets.numbers import OPENCV_FROM_OPENGL, invert
from longtake.datasets.reading import LazySequence
from longtake.datasets.sequence import PosedFrame
from longtake.errors import InputError
from longtake.geometry.camera import normalised_rays, project
from longtake.geometry.pose import transform

ANCHORS = 12  # frames whose depth is moved, spread over the sequence
FARTHEST_PARTNER = 64  # frames between the two of a pair at most
BASELINES = (0.03, 0.1)  # a pair for each: moved by so much of the median depth
MOST_TURN = np.deg2rad(20.0)
PIXELS = 2000  # a pair
FEWEST = 200  # compared pixels in all; below nothing is said
CAP = 0.1  # relative errors count for at most so much: occlusion, people who move
CLEARLY = 0.75  # a mistake is named if its score is below so much of the score as read
USEFUL = 0.8  # motion must beat no motion by so much, or it proves nothing
WORST_MEDIAN = 0.05

AS_READ = "as read"
NO_MOTION = "no motion at all"
# What the poses would be if the mistake had been made.
POSE_MISTAKES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "poses in the other direction (world to camera)": invert,
    "poses with OpenGL axes (y up, z backwards)": lambda pose: pose @ OPENCV_FROM_OPENGL,
    "poses in the other direction and with OpenGL axes": lambda pose: invert(pose) @ OPENCV_FROM_OPENGL,
    NO_MOTION: lambda pose: np.eye(4),
}
SCALES = np.unique(np.r_[0.001, 0.01, np.geomspace(0.1, 10, 41), 100.0, 1000.0])  # depth times so much


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the warp of a sequence says.

    verdict: "agree", "disagree", or "undecided" (too little depth, or the camera hardly moves).
    """

    verdict: str
    text: str
    pairs: int = 0
    pixels: int = 0
    median_error: float | None = None  # relative, as read
    within_5_percent: float | None = None  # share of the compared pixels
    scores: dict[str, float] | None = None  # mean of min(error, 0.1), as read and for each mistake
    best_depth_scale: float | None = None  # depth times this fits the poses best


@dataclass(frozen=True, slots=True)
class Pair:
    """Pixels of one frame with their depth as rays, and the frame that they are moved into."""

    points: torch.Tensor  # (n, 3) float64, in the first camera
    world_from_first: np.ndarray  # (4, 4)
    world_from_second: np.ndarray  # (4, 4)
    depth: np.ndarray  # (H, W) of the second
    intrinsics: torch.Tensor  # (3, 3) float64 of the second


def check_agreement(sequence: LazySequence) -> Agreement:
    """Warp depth between frames of a sequence. Reads at most 36 of its frames; unreadable ones are passed over."""
    usable = [
        i
        for i, files in enumerate(sequence.files)
        if files.depth is not None and files.world_from_cam is not None and files.intrinsics is not None
    ]
    if len(usable) < 2:
        lacking = [
            what
            for what, name in (("depth", "depth"), ("poses", "world_from_cam"), ("a camera matrix", "intrinsics"))
            if sum(getattr(files, name) is not None for files in sequence.files) < 2
        ]
        return Agreement("undecided", f"fewer than two frames with {' and '.join(lacking or ['all of it'])}")
    return judge(choose_pairs(sequence, usable))


def choose_pairs(sequence: LazySequence, usable: list[int]) -> list[Pair]:
    """Choose pairs with some parallax: the next frames that moved by 3 % and 10 % of the anchor's median depth."""
    pairs = []
    for at in np.unique(np.linspace(0, len(usable) - 2, ANCHORS).astype(int)):
        first = _read(sequence, usable[at])
        if first is None or first.depth is None or not (first.depth > 0).any():
            continue
        distance = float(np.median(first.depth[first.depth > 0]))
        later = usable[at + 1 : at + 1 + FARTHEST_PARTNER]
        for other in sorted({_partner(sequence, usable[at], later, share * distance) for share in BASELINES}):
            second = _read(sequence, other)
            if second is not None:
                pairs.append(_pair(first, second))
    return pairs


def judge(pairs: list[Pair]) -> Agreement:
    """Measure the errors as read and under each mistake, and say what follows."""
    errors = _errors(pairs)
    if errors.size < FEWEST:
        text = f"only {errors.size} pixels with depth fall onto depth of another frame; {FEWEST} are needed"
        return Agreement("undecided", text, len(pairs), errors.size)
    enough = max(FEWEST, errors.size // 5)
    scores = {AS_READ: _score(errors, enough)}
    for name, mistake in POSE_MISTAKES.items():
        scores[name] = _score(_errors(pairs, mistake), enough)
    by_scale = {float(scale): _score(_errors(pairs, scale=float(scale)), enough) for scale in SCALES}
    scale = min(by_scale, key=lambda value: (by_scale[value], abs(np.log(value))))
    scores["another depth scale"] = by_scale[scale]
    verdict, text = _verdict(scores, float(np.median(errors)), scale)
    within = float((errors < 0.05).mean())
    return Agreement(verdict, text, len(pairs), errors.size, float(np.median(errors)), within, scores, scale)


def _verdict(scores: dict[str, float], median: float, scale: float) -> tuple[str, str]:
    read = scores[AS_READ]
    best = min(scores, key=lambda name: scores[name])
    if scores[best] < CLEARLY * read and best == NO_MOTION:
        return "disagree", "depth fits better without any motion: the poses belong to other frames, or to another take"
    if scores[best] < CLEARLY * read:
        what = f"depth times {scale:.3g}" if best == "another depth scale" else best
        return "disagree", f"{what} fits clearly better (score {scores[best]:.4f} against {read:.4f} as read)"
    if median > WORST_MEDIAN:
        return "disagree", f"half of the pixels are off by more than {median:.1%}, and no usual mistake explains it"
    if read > USEFUL * scores[NO_MOTION]:
        return "undecided", "the camera hardly moves between frames with depth, so that wrong poses would fit as well"
    return "agree", "poses and depth agree"


def _errors(
    pairs: list[Pair], mistake: Callable[[np.ndarray], np.ndarray] | None = None, scale: float = 1.0
) -> np.ndarray:
    """Relative errors (n,) of all pixels that fall onto known depth. Depth times s is motion divided by s."""
    parts = [np.zeros(0)]
    for pair in pairs:
        poses = (pair.world_from_first, pair.world_from_second)
        first, second = (mistake(pose) for pose in poses) if mistake else poses
        second_from_first = invert(second) @ first
        second_from_first[:3, 3] /= scale
        points = transform(torch.from_numpy(second_from_first), pair.points)
        pixels = project(points, pair.intrinsics)
        z = points[:, 2].numpy()
        u, v = torch.nan_to_num(pixels.round(), nan=-1.0).numpy().clip(-1, 1e6).astype(int).T
        height, width = pair.depth.shape
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        there = pair.depth[v[inside], u[inside]]
        known = there > 0
        parts.append(np.abs(z[inside][known] - there[known]) / there[known])
    return np.concatenate(parts)


def _score(errors: np.ndarray, enough: int) -> float:
    """Mean of the capped errors; the cap itself where too few pixels meet to say anything."""
    return float(np.minimum(errors, CAP).mean()) if errors.size >= enough else CAP


def _pair(first: PosedFrame, second: PosedFrame) -> Pair:
    assert first.depth is not None and second.depth is not None
    assert first.world_from_cam is not None and second.world_from_cam is not None
    v, u = np.nonzero(first.depth)
    keep = np.random.default_rng(0).permutation(len(u))[:PIXELS]
    u, v = u[keep], v[keep]
    pixels = torch.from_numpy(np.stack([u, v], -1).astype(np.float64))
    rays = normalised_rays(torch.from_numpy(first.intrinsics), pixels)
    depth = torch.from_numpy(first.depth[v, u].astype(np.float64))
    return Pair(
        rays * depth[:, None],
        first.world_from_cam,
        second.world_from_cam,
        second.depth,
        torch.from_numpy(second.intrinsics),
    )


def _partner(sequence: LazySequence, anchor: int, later: list[int], distance: float) -> int:
    """Return the first later frame that moved so far or turned by 20 degrees; else the last of them."""
    start = sequence.files[anchor].world_from_cam
    assert start is not None
    for i in later:
        pose = sequence.files[i].world_from_cam
        assert pose is not None
        turn = np.arccos(np.clip((np.trace(start[:3, :3].T @ pose[:3, :3]) - 1) / 2, -1, 1))
        if np.linalg.norm(pose[:3, 3] - start[:3, 3]) >= distance or turn >= MOST_TURN:
            return i
    return later[-1]


def _read(sequence: LazySequence, i: int) -> PosedFrame | None:
    try:
        return sequence[i]
    except InputError:
        return None  # the sequence keeps the reason
