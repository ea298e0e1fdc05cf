# SPDX-License-Identifier: Apache-2.0
"""Which camera a prediction has: the one that the model's head says, or the one solved from its pointmap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch

from longtake.errors import InputError
from longtake.frame import Heads, PixelMap
from longtake.geometry.camera import intrinsics_from_focal
from longtake.geometry.focal import focal_weiszfeld
from longtake.geometry.lens import Lens
from longtake.geometry.pose import pose7_from_matrix
from longtake.geometry.solve import require_opencv, solve_camera

Camera = Literal["head", "solve"]


@dataclass(frozen=True, slots=True)
class CameraChoice:
    """How the cameras of a stream are found.

    known: the camera, if it is known, in pixels of the original frames. Every prediction then has its matrix, and poses
    are solved with it. Where it says the size of its pictures, frames of another aspect are of another camera.
    """

    camera: Camera = "head"
    known: Lens | None = None

    @property
    def intrinsics(self) -> np.ndarray | None:
        """(3, 3) the known matrix, if it is known."""
        return None if self.known is None else self.known.intrinsics

    @classmethod
    def checked(cls, camera: str, intrinsics: np.ndarray | Lens | None) -> CameraChoice:
        """Make a choice. Raises InputError for what is no choice, MissingExtra where solving needs a library."""
        if camera not in get_args(Camera):
            raise InputError(f"camera={camera!r}; there are 'head' (what the model says) and 'solve' (from its points)")
        known = intrinsics if isinstance(intrinsics, Lens) or intrinsics is None else Lens(intrinsics)
        if known is not None and known.distortion:
            raise InputError("a stream's frames are those of a pinhole; longtake.sources.open_known undistorts them.")
        if camera == "solve":
            require_opencv()
        return cls(camera, known)  # type: ignore[arg-type]

    def apply(
        self, heads: Heads, maps: Sequence[PixelMap], own: Sequence[np.ndarray | None] = ()
    ) -> tuple[Heads, list[str]]:
        """Replace the cameras of n views by the chosen ones; also say where each pose comes from.

        maps: how each view's original frame became its image. own: matrices that frames bring with them, in pixels of
        the original; they go before the stream's. A pose that its points do not fix stays the head's, and the words say
        so and why: nothing is lost.
        """
        count = len(heads.pose)
        known = [self._of(view) if k is None else k for k, view in zip(own or [None] * count, maps, strict=True)]
        if self.camera == "head" and all(k is None for k in known):
            return heads, ["head"] * count
        intrinsics = heads.intrinsics if self.camera == "head" else None
        if intrinsics is None:
            height, width = heads.points_self.shape[1:3]
            intrinsics = intrinsics_from_focal(focal_weiszfeld(heads.points_self), height, width)
        rows = [
            said if k is None else torch.from_numpy(view.to_model(k)).to(heads.pose)
            for said, k, view in zip(intrinsics, known, maps, strict=True)
        ]
        intrinsics = torch.stack(rows)
        heads = replace(heads, intrinsics=intrinsics)
        if self.camera == "head":
            return heads, ["head"] * count
        poses, words = list(heads.pose), []
        points, sure, k = (
            each.cpu().double().numpy() for each in (heads.points_world, heads.confidence_world, intrinsics)
        )
        for i in range(count):
            solved = solve_camera(points[i], k[i], sure[i] > 1)
            if solved.world_from_cam is None:
                words.append(f"head, as the solve failed: {solved.reason}")
            else:
                poses[i] = pose7_from_matrix(torch.from_numpy(solved.world_from_cam)).to(heads.pose)
                words.append("solve")
        return replace(heads, pose=torch.stack(poses)), words

    def _of(self, view: PixelMap) -> np.ndarray | None:
        """The known matrix in pixels of a view's original, where that can be of the known camera."""
        if self.known is None or not self.known.fits(view.original_size):
            return None
        return self.known.at(view.original_size).intrinsics
