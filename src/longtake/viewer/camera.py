# SPDX-License-Identifier: Apache-2.0
"""Where the eye of a visitor is put: an overview, behind the moving camera, or in the place of a frame's camera."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from longtake.outputs.trajectory import matrix_from_quat_xyzw, quat_xyzw_from_matrix

if TYPE_CHECKING:
    from viser import ClientHandle

FIELD = np.deg2rad(50.0)  # vertical field of view of a visitor's eye
_FLIGHT = 0.6  # seconds
_STEPS = 24


def wxyz(rotation: np.ndarray) -> np.ndarray:
    """Return the quaternion (w, x, y, z) of a (3, 3) rotation."""
    return np.roll(quat_xyzw_from_matrix(rotation), 1)


def mean_up(poses: np.ndarray) -> np.ndarray:
    """Return the unit mean of the cameras' up axes (-y) of (n, 4, 4) poses: people hold cameras level on average."""
    up = -poses[:, :3, 1].mean(0)
    length = np.linalg.norm(up)
    return up / length if length > 0.1 else -poses[0, :3, 1]


def overview(
    places: np.ndarray, poses: np.ndarray, up: np.ndarray, aspect: float = 1.2
) -> tuple[np.ndarray, np.ndarray]:
    """Return where to stand and where to look to see (n, 3) points and the path: behind the cameras and above.

    As close as all of it allows in a picture of this aspect, width over height; the middle settles in a few rounds.
    """
    places = np.concatenate([places, poses[:, :3, 3]])
    forward = poses[:, :3, 2].mean(0)
    forward = forward - up * (forward @ up)
    if np.linalg.norm(forward) < 0.15:  # they looked everywhere: any side will do
        forward = poses[0, :3, 2] - up * (poses[0, :3, 2] @ up)
    forward /= max(float(np.linalg.norm(forward)), 1e-9)
    away = -0.8 * forward + 0.55 * up + 0.22 * np.cross(up, forward)
    away /= np.linalg.norm(away)
    axes = looking(away, np.zeros(3), up)
    half = np.tan(FIELD / 2) * 0.95 * np.array([aspect, 1.0])
    target, distance = (places.min(0) + places.max(0)) / 2, 1.0
    for _ in range(4):
        seen = (places - target) @ axes
        distance = max(float((np.abs(seen[:, :2]) / half - seen[:, 2:]).max()), 1e-3)
        spots = seen[:, :2] / (seen[:, 2:] + distance)
        middle = (spots.max(0) + spots.min(0)) / 2 * distance
        target = target + axes[:, :2] @ middle
    return target + distance * away, target


def behind(pose: np.ndarray, up: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return where to stand and where to look to follow a camera."""
    centre, forward = pose[:3, 3], pose[:3, 2]
    return centre - 0.28 * reach * forward + 0.1 * reach * up, centre + 0.2 * reach * forward


def looking(position: np.ndarray, target: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation of a camera (z forward, y down) at a position that looks at a target."""
    z = target - position
    z = z / max(float(np.linalg.norm(z)), 1e-12)
    x = np.cross(z, up)
    x = x / np.linalg.norm(x) if np.linalg.norm(x) > 1e-6 else np.array([1.0, 0, 0])
    return np.stack([x, np.cross(z, x), z], -1)


def slerp(one: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Return the rotation a share of the way from one (3, 3) rotation to another (Shoemake 1985)."""
    a, b = quat_xyzw_from_matrix(one), quat_xyzw_from_matrix(other)
    dot = float(a @ b)
    if dot < 0:
        b, dot = -b, -dot
    angle = np.arccos(min(dot, 1.0))
    if angle < 1e-6:
        return other
    mixed = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return matrix_from_quat_xyzw(mixed[None])[0]


def fly(
    client: ClientHandle, position: np.ndarray, target: np.ndarray, up: np.ndarray, here: Callable[[], bool]
) -> None:
    """Move a visitor's eye smoothly to a position from which it looks at a target, while the visitor is `here`."""
    begin = np.array(client.camera.position)
    start = matrix_from_quat_xyzw(np.roll(np.asarray(client.camera.wxyz, np.float64), -1)[None])[0]
    end = looking(position, target, up)
    for step in range(1, _STEPS + 1):
        if not here():
            return
        share = 0.5 - 0.5 * np.cos(np.pi * step / _STEPS)  # slow, fast, slow
        with client.atomic():
            client.camera.wxyz = wxyz(slerp(start, end, share))
            client.camera.position = (1 - share) * begin + share * position
        time.sleep(_FLIGHT / _STEPS)
    if here():
        place(client, position, target)


def place(client: ClientHandle, position: np.ndarray, target: np.ndarray) -> None:
    """Put a visitor's eye at a position; it turns about the target from now on."""
    with client.atomic():
        client.camera.position = position
        client.camera.look_at = target
