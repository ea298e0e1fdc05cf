# SPDX-License-Identifier: Apache-2.0
"""What every data set becomes: a sequence of frames with the truth that is known about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class PosedFrame:
    """One frame of a data set. Camera axes: OpenCV; pixel centres lie at integers."""

    index: int  # position among all frames that the data set lists, dropped ones included
    time: float  # seconds, as the data set counts them
    name: str  # the colour picture's file name
    image: np.ndarray  # (H, W, 3) uint8 RGB
    depth: np.ndarray | None  # (H, W) float32 metres along z, 0 = unknown; None: this frame has none
    world_from_cam: np.ndarray | None  # (4, 4) float64; None: the data set has no poses
    intrinsics: np.ndarray | None  # (3, 3) float64 in pixels of the image; None: unknown, or no pinhole camera


class Sequence(Protocol):
    """Frames in the order of time; a picture is read only when its frame is asked for."""

    name: str
    dataset: str  # a name of `datasets.table`
    dropped: list[tuple[str, str]]  # (frame name, reason); grows when a picture turns out to be unreadable
    notes: list[str]  # depth scale, invalid values, pose direction, camera: what a report must print

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> PosedFrame: ...

    def frame_names(self) -> list[str]: ...
