# SPDX-License-Identifier: Apache-2.0
"""One decoded video frame becomes upright uint8 RGB with square pixels."""

from __future__ import annotations

import struct

import av
import numpy as np

Matrix = tuple[int, int, int, int]
IDENTITY: Matrix = (1, 0, 0, 1)


def upright_rgb(picture: av.VideoFrame, pixel_aspect: float = 1.0, matrix: Matrix = IDENTITY) -> np.ndarray:
    """Convert to (H, W, 3) uint8 RGB, stretched to square pixels and turned as a display matrix says."""
    width = round(picture.width * pixel_aspect)
    rgb = picture.reformat(width=width, format="rgb24").to_ndarray()
    return np.ascontiguousarray(turned(rgb, matrix))


def display_matrix(picture: av.VideoFrame) -> Matrix:
    """Read the signs (a, b, c, d) of the frame's display matrix: x' = a x + c y, y' = b x + d y, y pointing down.

    Only quarter turns and mirrors are kept; a tilted matrix becomes the nearest of them by its larger entries.
    Ask once a file: PyAV ties a frame whose side data was looked at into a reference cycle, so that its pixels stay in
    memory until the garbage collector comes by, a hundred megabytes later.
    """
    data = picture.side_data.get("DISPLAYMATRIX")
    if data is None:
        return IDENTITY
    a, b, _, c, d = struct.unpack_from("=5i", bytes(data))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0
    return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)


def turned(image: np.ndarray, matrix: Matrix) -> np.ndarray:
    """Apply a display matrix to an (H, W, C) image; returns a view."""
    a, b, c, d = matrix
    if a == 0:
        # x' comes from y and y' from x: swap the axes, then mirror those whose sign is negative.
        swapped = image.transpose(1, 0, 2)
        return swapped[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def turns(matrix: Matrix) -> tuple[int, bool]:
    """Describe a display matrix: degrees clockwise (0, 90, 180, 270), and whether a left-right mirror comes first."""
    a, b, c, d = matrix
    mirrored = a * d - b * c < 0
    if mirrored:  # undo the left-right mirror, which came first: x -> -x
        a, b = -a, -b
    return {(1, 0): 0, (0, 1): 90, (-1, 0): 180, (0, -1): 270}[(a, b)], mirrored
