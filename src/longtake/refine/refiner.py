# SPDX-License-Identifier: Apache-2.0
"""Predictions of a stream held back for a few frames, adjusted together, and handed on: for any family, in any loop.

Windows overlap: the last frames of the one before stay as they are and carry its units on. Memory is that of a window.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from longtake.errors import InputError
from longtake.frame import Prediction
from longtake.geometry.pose import inverse, transform
from longtake.refine.adjust import Adjusted, Settings, adjust
from longtake.refine.motion import log_motion

LOST = "lost"
BETTER = 0.99  # pictures must fit by so much better, or a window stays as the model said it
KNOWN = 0.5  # share of a frame's pixels that must have a depth
TURNED = 0.2  # radians that cameras must turn for pictures to tell a focal length
FAR = 0.3  # radians, or shares of the depth: a pose that is moved further was not found
WIDE = 0.25  # the same of the logarithm of the focal length
LEAST = 3  # frames that are worth adjusting


class Refiner:
    """Give it every prediction of a stream, in order; it gives each back, later and adjusted.

    window: frames that are looked at together; hop: new ones among them, which is how late a frame comes back at most.
    focal: whether the focal length is found too; leave it out where the camera is known.
    A frame that is lost begins anew: what came before is not compared with it. Raises InputError.
    """

    def __init__(
        self, settings: Settings | None = None, *, window: int = 20, hop: int = 16, focal: bool = True
    ) -> None:
        if not 1 <= hop < window:
            raise InputError(f"window={window}, hop={hop}: give a hop of at least 1 and less than the window")
        self.settings = settings or Settings()
        self.window, self.hop = window, hop
        self.focal = focal and self.settings.focal > 0
        self.camera: Tensor | None = None  # (3, 3) the take's
        self.found = False  # whether a window has found its focal length
        self._old: list[tuple[Prediction, Prediction]] = []  # as said, and as handed on
        self._new: list[tuple[Prediction, float]] = []

    def about(self) -> dict[str, Any]:
        """Every number that decides what comes out."""
        return {"window": self.window, "hop": self.hop, "focal": self.focal, **asdict(self.settings)}

    def __len__(self) -> int:
        return len(self._new)

    def take(self, prediction: Prediction, seconds: float) -> list[tuple[Prediction, float]]:
        """Take a frame; return the frames that are final, oldest first, each with its own seconds."""
        done: list[tuple[Prediction, float]] = []
        if prediction.tracking == LOST:
            done = list(self.rest())
            anchor = self._old[-1:] if self._old else []
            self._old = []
            # The chain of poses goes on, whatever it is worth; pictures are compared from here on.
            self._carry = anchor[0] if anchor else None
        self._new.append((replace(prediction, revised=()), seconds))
        size = self.hop if self._old else self.window
        return done + (list(self._finish()) if len(self._new) >= size else [])

    def rest(self) -> Iterator[tuple[Prediction, float]]:
        """Give all that is held, oldest first: the take is over."""
        yield from self._finish()

    def drop(self) -> None:
        """Forget what is held."""
        self._new = []

    _carry: tuple[Prediction, Prediction] | None = None  # the last frame before one that was lost

    def _finish(self) -> list[tuple[Prediction, float]]:
        """Adjust what is held together with what stays of the window before."""
        if not self._new:
            return []
        begun = time.perf_counter()
        old, said = self._old, [prediction for prediction, _ in self._new]
        anchor = old[-1] if old else self._carry
        move = torch.eye(4, dtype=torch.float64)
        if anchor is not None:
            move = _pose(anchor[1]) @ inverse(_pose(anchor[0]))
        camera = self._camera(said)
        moved = [_changed(p, move @ _pose(p), torch.zeros_like(p.depth), camera) for p in said]
        made = self._adjusted([kept for _, kept in old], moved)
        self._carry = None
        spent = (time.perf_counter() - begun) / len(said)
        final = [(kept, took + spent) for kept, (_, took) in zip(made, self._new, strict=True)]
        self._old = [*old, *zip(said, made, strict=True)][-(self.window - self.hop) :]
        self._new = []
        return final

    def _camera(self, said: list[Prediction]) -> Tensor | None:
        """One matrix for all frames of the take, as far as it is known; None where each frame's own holds."""
        if not self.focal:
            return None
        if self.camera is None:
            self.camera = torch.stack([p.intrinsics.cpu().double() for p in said]).median(0).values
        return self.camera

    def _adjusted(self, old: list[Prediction], new: list[Prediction]) -> list[Prediction]:
        """The new frames after adjustment; as they are where that is impossible or makes pictures fit less well."""
        frames = old + new
        usable = all(_usable(p) for p in frames)
        same = len({tuple(p.depth.shape) for p in frames}) == 1
        if len(frames) < LEAST or not usable or not same:
            return new
        # The first window that turns enough finds the focal length, those after it keep it.
        find = self.focal and not self.found and _turned(frames) > TURNED
        settings = self.settings if find else replace(self.settings, focal=0.0)
        found = adjust(
            torch.stack([p.image.cpu() for p in frames]),
            torch.stack([p.depth.float().cpu() for p in frames]),
            torch.stack([_pose(p) for p in frames]),
            torch.stack([p.intrinsics.cpu().double() for p in new]).median(0).values,
            settings,
            fixed=len(old) or 1,
        )
        if not _sound(found):
            return new
        if self.camera is not None and find:
            self.found = True
            self.camera = self.camera.clone()
            self.camera[[0, 1], [0, 1]] *= float(torch.tensor(found.log_focal).exp())
        begin = len(old)
        return [
            _changed(p, found.world_from_cam[begin + i], found.log_change[begin + i], self.camera)
            for i, p in enumerate(new)
        ]


def _sound(found: Adjusted) -> bool:
    """Whether a window is worth having: finite, and its pictures fit no worse than before."""
    finite = all(bool(x.isfinite().all()) for x in (found.world_from_cam, found.log_change))
    near = found.moved < FAR and abs(found.log_focal) < WIDE
    return finite and near and found.misfit[1] <= BETTER * found.misfit[0] < float("inf")


def _usable(prediction: Prediction) -> bool:
    """Whether there is enough to adjust."""
    known = prediction.depth.isfinite().all() & ((prediction.depth > 0).float().mean() > KNOWN)
    return bool(known) and bool(_pose(prediction).isfinite().all())


def _turned(frames: list[Prediction]) -> float:
    """The largest angle, in radians, from the first camera."""
    poses = torch.stack([_pose(p) for p in frames])
    return float(log_motion(inverse(poses[0])[None] @ poses)[:, 3:].norm(dim=-1).max())


def _pose(prediction: Prediction) -> Tensor:
    return prediction.world_from_cam.detach().cpu().double()


def _changed(prediction: Prediction, world_from_cam: Tensor, log_change: Tensor, camera: Tensor | None) -> Prediction:
    """A prediction with another pose, depth, and camera matrix (None: its own); all that follows from them follows."""
    pose = world_from_cam.to(prediction.world_from_cam)
    stretch = log_change.to(prediction.depth).exp()
    intrinsics = prediction.intrinsics if camera is None else camera.to(prediction.intrinsics)
    wider = [float(prediction.intrinsics[i, i] / intrinsics[i, i]) for i in (0, 1)]
    own = prediction.points_self * stretch[..., None] * prediction.points_self.new_tensor([*wider, 1.0])
    move = world_from_cam.cpu().double() @ inverse(_pose(prediction))
    return replace(
        prediction,
        world_from_cam=pose,
        depth=prediction.depth * stretch,
        points_self=own,
        points=transform(pose, own),
        points_world=transform(move.to(prediction.points_world), prediction.points_world),
        intrinsics=intrinsics,
    )
