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
from longtake.geometry.lens import checked_matrix
from longtake.geometry.pose import pose7_from_matrix
from longtake.geometry.solve import require_opencv, solve_camera

Camera = Literal["head", "solve"]


@dataclass(frozen=True, slots=True)
class CameraChoice:
    """How the cameras of a stream are found.

    intrinsics (3, 3), in pixels of the original frames: the camera's known matrix, if it is known. Every prediction
    then has it, and poses are solved with it.
    """

    camera: Camera = "head"
    intrinsics: np.ndarray | None = None

    @classmethod
    def checked(cls, camera: str, intrinsics: np.ndarray | None) -> CameraChoice:
        """Make a choice. Raises InputError for what is no choice, MissingExtra where solving needs a library."""
        if camera not in get_args(Camera):
            raise InputError(f"camera={camera!r}; there are 'head' (what the model says) and 'solve' (from its points)")
        if intrinsics is not None:
            intrinsics = checked_matrix(intrinsics)
        if camera == "solve":
            require_opencv()
        return cls(camera, intrinsics)  # type: ignore[arg-type]

    def apply(
        self, heads: Heads, maps: Sequence[PixelMap], own: Sequence[np.ndarray | None] = ()
    ) -> tuple[Heads, list[str]]:
        """Replace the cameras of n views by the chosen ones; also say where each pose comes from.

        maps: how each view's original frame became its image. own: matrices that frames bring with them, in pixels of
        the original; they go before the stream's. A pose that its points do not fix stays the head's, and the words say
        so and why: nothing is lost.
        """
        count = len(heads.pose)
        known = [self.intrinsics if k is None else k for k in own or [None] * count]
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
