# SPDX-License-Identifier: Apache-2.0
"""Do poses, depth and camera agree? Depth of one frame is moved into another and compared with the depth there.

For pixels p of frame a with depth z: x = T_b^-1 T_a (z K^-1 p); the error is |x_z - z_b| / z_b at the pixel of frame b
nearest to K x. The same is measured for the usual mistakes (poses read in the wrong direction, OpenGL axes, a wrong
depth scale or focal length, poses of other frames, no motion at all); a mistake that fits clearly better than the data
as they were read is named.
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
KEPT, CAP = 0.75, 0.1  # the share of the errors that counts, and the most that one may be
CLEARLY = 0.75  # a mistake is named if its score is below so much of the score as read
USEFUL, LEAST_MOTION = 0.8, 1e-3  # motion must beat no motion by so much, and matter, or it proves nothing
WORST_MEDIAN = 0.05


@dataclass(frozen=True, slots=True)
class Guess:
    """What may be wrong with the data as they were read, and how to mend it."""

    kind: str
    said: str
    pose: Callable[[np.ndarray], np.ndarray] = lambda pose: pose
    depth_times: float = 1.0
    focal_times: float = 1.0
    shift: int = 0  # frames by which poses are late


AS_READ = Guess("as read", "as read")
NO_MOTION = Guess("no motion", "no motion at all", lambda pose: np.eye(4))
OTHER_WAY = "poses in the other direction (world to camera)"
GUESSES = (
    NO_MOTION,
    Guess("direction", OTHER_WAY, invert),
    Guess("axes", "poses with OpenGL axes (y up, z backwards)", lambda pose: pose @ OPENCV_FROM_OPENGL),
    Guess("both", f"{OTHER_WAY} with OpenGL axes", lambda pose: invert(pose) @ OPENCV_FROM_OPENGL),
    *(
        Guess("depth scale", f"depth times {scale:.3g}", depth_times=float(scale))
        for scale in (0.001, 0.01, 0.2, *np.geomspace(0.1, 10, 41), 5.0, 100.0, 1000.0)
    ),
    *(
        Guess("focal length", f"a focal length times {times:.2f}", focal_times=float(times))
        for times in np.geomspace(0.5, 2, 21)
    ),
    *(
        Guess("time", f"the pose of {abs(shift)} frames {'later' if shift > 0 else 'earlier'}", shift=shift)
        for shift in sorted(range(-10, 11), key=abs)
    ),
)


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
    scores: dict[str, tuple[str, float]] | None = None  # kind of guess: the best of it, mean of the smaller errors


@dataclass(frozen=True, slots=True)
class Pair:
    """Pixels of one frame with their depth as rays, and the frame that they are moved into."""

    first: int  # positions in the sequence
    second: int
    points: torch.Tensor  # (n, 3) float64, in the first camera
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
    poses = [files.world_from_cam for files in sequence.files]
    return judge(choose_pairs(sequence, usable), poses)


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
                pairs.append(_pair(usable[at], other, first, second))
    return pairs


def judge(pairs: list[Pair], poses: list[np.ndarray | None]) -> Agreement:
    """Measure the errors as read and under each guess, and say what follows. `poses` are those of all frames."""
    errors = warp_errors(pairs, poses, AS_READ)
    if errors.size < FEWEST:
        text = f"only {errors.size} pixels with depth fall onto depth of another frame; {FEWEST} are needed"
        return Agreement("undecided", text, len(pairs), errors.size)
    enough = max(FEWEST, errors.size // 5)
    scores = {AS_READ.kind: (AS_READ.said, _score(errors, enough))}
    for guess in GUESSES:
        score = _score(warp_errors(pairs, poses, guess), enough)
        if score < scores.get(guess.kind, ("", np.inf))[1]:
            scores[guess.kind] = (guess.said, score)
    verdict, text = _verdict(scores, float(np.median(errors)))
    within = float((errors < 0.05).mean())
    return Agreement(verdict, text, len(pairs), errors.size, float(np.median(errors)), within, scores)


def _verdict(scores: dict[str, tuple[str, float]], median: float) -> tuple[str, str]:
    read, still = scores[AS_READ.kind][1], scores[NO_MOTION.kind][1]
    said, best = min(scores.values(), key=lambda pair: pair[1])
    if best < CLEARLY * read:
        return "disagree", f"{said} fits clearly better (error {best:.4f} against {read:.4f} as read)"
    if median > WORST_MEDIAN:
        return "disagree", f"half of the pixels are off by more than {median:.1%}, and no usual mistake explains it"
    if read >= USEFUL * still or still < LEAST_MOTION:
        return "undecided", "the camera hardly moves between frames with depth, so that wrong poses would fit as well"
    return "agree", "poses and depth agree"


def warp_errors(pairs: list[Pair], poses: list[np.ndarray | None], guess: Guess) -> np.ndarray:
    """Relative errors (n,) of all pixels that fall onto known depth. Depth times s is motion divided by s."""
    parts = [np.zeros(0)]
    focal = np.array([guess.focal_times, guess.focal_times, 1.0])
    for pair in pairs:
        first, second = _pose(poses, pair.first + guess.shift), _pose(poses, pair.second + guess.shift)
        if first is None or second is None:
            continue
        second_from_first = invert(guess.pose(second)) @ guess.pose(first)
        second_from_first[:3, 3] /= guess.depth_times
        points = transform(torch.from_numpy(second_from_first), pair.points / torch.from_numpy(focal))
        pixels = project(points * torch.from_numpy(focal), pair.intrinsics)
        u, v = torch.nan_to_num(pixels.round(), nan=-1.0).numpy().clip(-1, 1e6).astype(int).T
        height, width = pair.depth.shape
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
        there = pair.depth[v[inside], u[inside]]
        known = there > 0
        parts.append(np.abs(points[:, 2].numpy()[inside][known] - there[known]) / there[known])
    return np.concatenate(parts)


def _pose(poses: list[np.ndarray | None], i: int) -> np.ndarray | None:
    return poses[i] if 0 <= i < len(poses) else None


def _score(errors: np.ndarray, enough: int) -> float:
    """Mean of the smaller three quarters of the errors; `CAP` where too few pixels meet to say anything.

    The rest is left to occlusion and to people who walk: with them, a wrong focal length hides in the mean.
    """
    if errors.size < enough:
        return CAP
    count = max(1, int(KEPT * errors.size))
    return float(np.minimum(np.partition(errors, count - 1)[:count], CAP).mean())


def _pair(at: int, other: int, first: PosedFrame, second: PosedFrame) -> Pair:
    assert first.depth is not None and second.depth is not None
    v, u = np.nonzero(first.depth)
    keep = np.random.default_rng(0).permutation(len(u))[:PIXELS]
    u, v = u[keep], v[keep]
    pixels = torch.from_numpy(np.stack([u, v], -1).astype(np.float64))
    rays = normalised_rays(torch.from_numpy(first.intrinsics), pixels)
    depth = torch.from_numpy(first.depth[v, u].astype(np.float64))
    return Pair(at, other, rays * depth[:, None], second.depth, torch.from_numpy(second.intrinsics))


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
