# SPDX-License-Identifier: Apache-2.0
"""What every data set is to the rest of the house: frames in order, with what is known about each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class PosedFrame:
    """One frame of a data set. What the data set does not know is None; nothing is made up in its place."""

    index: int  # position in the sequence
    time: float  # seconds, on the data set's own clock
    name: str  # file name of the image
    image: np.ndarray  # (H, W, 3) uint8 RGB
    depth: np.ndarray | None  # (H, W) float32 metres along z, pixel for pixel with the image; 0 = unknown
    world_from_cam: np.ndarray | None  # (4, 4) float64, OpenCV axes, metres; None where the data set has none
    intrinsics: np.ndarray | None  # (3, 3) float64 in pixels of the image, centres at integers


class Sequence(Protocol):
    """A sequence of posed frames; files are opened only when a frame is asked for."""

    name: str
    dataset: str  # the reader's name, as `longtake evaluate` takes it
    dropped: list[tuple[str, str]]  # frames that cannot be used: (name, why)
    notes: list[str]  # depth scale, invalid values, pose direction, camera: what a report must print

    def __len__(self) -> int:
        """Return how many frames can be used."""
        ...

    def __getitem__(self, i: int) -> PosedFrame:
        """Read frame i; raises IndexError beyond the end, InputError where its files cannot be read."""
        ...

    def frame_names(self) -> list[str]:
        """Return the image file names of all frames that can be used, in order."""
        ...
