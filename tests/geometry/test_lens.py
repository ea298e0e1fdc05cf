# SPDX-License-Identifier: Apache-2.0
"""Lenses: pictures through the synthetic world's lens become what a pinhole sees, exactly, and nothing is invented."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix
from longtake.geometry.lens import Lens, Undistortion
from longtake.synthetic.raycast import bend

pytest.importorskip("cv2", reason="needs the extra solve")

WIDTH, HEIGHT = 160, 120
K = camera_matrix(130.0, 128.0, 82.0, 58.5)


def sight(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A smooth world by direction (x, y, 1): (H, W, 3) uint8."""
    waves = [np.sin(5 * x + 2 * y), np.cos(4 * y - x), np.sin(3 * x * y + 6 * y)]
    return np.rint(127.5 + 110 * np.stack(waves, -1)).astype(np.uint8)


def directions(k: np.ndarray, size: tuple[int, int] = (WIDTH, HEIGHT)) -> tuple[np.ndarray, np.ndarray]:
    u, v = np.meshgrid(np.arange(size[0], dtype=float), np.arange(size[1], dtype=float))
    return (u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1]


def through_the_worlds_lens(k1: float, k2: float) -> np.ndarray:
    """The picture that the ray caster's lens takes: it bends the rays of a pinhole's pixels."""
    x, y = (torch.from_numpy(each.reshape(1, -1)) for each in directions(K))
    warp = torch.tensor([[k1, k2, 0, 0, 0]], dtype=torch.float64)
    bx, by = bend(x, y, torch.zeros(WIDTH * HEIGHT, dtype=torch.float64), warp)
    return sight(bx.numpy().reshape(HEIGHT, WIDTH), by.numpy().reshape(HEIGHT, WIDTH))


def as_opencv_has_it(k1: float, k2: float) -> tuple[float, ...]:
    """The world's lens the other way round, from ray to pixel: r' = r (1 + a r^2 + b r^4 + c r^6) by least squares."""
    seen = np.linspace(1e-3, 1.0, 400)
    ray = seen * (1 + k1 * seen**2 + k2 * seen**4)
    a, b, c = np.linalg.lstsq(np.stack([ray**3, ray**5, ray**7], -1), seen - ray, rcond=None)[0]
    return float(a), float(b), 0.0, 0.0, float(c)


@settings(deadline=None, max_examples=12)
@given(k1=st.floats(-0.12, 0.12), k2=st.floats(-0.03, 0.03))
def test_pictures_of_the_worlds_lens_become_a_pinholes(k1: float, k2: float) -> None:
    undistort = Undistortion(Lens(K, as_opencv_has_it(k1, k2)), (WIDTH, HEIGHT))
    made = undistort(through_the_worlds_lens(k1, k2))
    wanted = sight(*directions(undistort.intrinsics))
    off = np.abs(made.astype(int) - wanted.astype(int))
    assert off.max() <= 3, "bilinear, in steps of 1/32 pixel"
    bent = np.abs(through_the_worlds_lens(k1, k2).astype(int) - sight(*directions(K)).astype(int)).max()
    assert bent > 3 or max(abs(k1), abs(k2)) < 0.03, "there was something to undo"


def brown(x: np.ndarray, y: np.ndarray, d: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's formula, written out: the plain twin."""
    k1, k2, p1, p2, k3 = (*d, 0.0)[:5]
    square = x * x + y * y
    grow = 1 + square * (k1 + square * (k2 + square * k3))
    return x * grow + 2 * p1 * x * y + p2 * (square + 2 * x * x), y * grow + p1 * (square + 2 * y * y) + 2 * p2 * x * y


@pytest.mark.parametrize(
    "d",
    [
        (-0.25, 0.08, 0.001, -0.002),
        (0.2, -0.05, 0.002, 0.001, 0.01),
        (-0.3, 0.1, 0.0, 0.0, -0.01),
        (0.02, 0.0, 0.03, -0.02),
    ],
)
def test_the_order_is_opencvs_and_the_view_is_the_widest_without_invention(d: tuple[float, ...]) -> None:
    undistort = Undistortion(Lens(K, d), (WIDTH, HEIGHT))
    x, y = brown(*directions(undistort.intrinsics), d)
    u, v = K[0, 0] * x + K[0, 2], K[1, 1] * y + K[1, 2]
    ramp = np.stack(np.broadcast_arrays(*np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), 0), -1).astype(np.uint8)
    made = undistort(ramp)  # the picture whose colour is its pixel's place
    np.testing.assert_allclose(made[..., 0], u, atol=0.6)
    np.testing.assert_allclose(made[..., 1], v, atol=0.6)
    margins = [u.min(), v.min(), WIDTH - 1 - u.max(), HEIGHT - 1 - v.max()]
    assert min(margins) >= -0.01, "no pixel from outside the picture"
    assert min(margins) < 0.02, "and none given away"
    k = undistort.intrinsics
    assert k[0, 0] / K[0, 0] == pytest.approx(k[1, 1] / K[1, 1]) and (k[:2, 2] == K[:2, 2]).all()


@pytest.mark.parametrize(
    "told",
    [{}, {"intrinsics": "wide"}, {"intrinsics": K.tolist(), "size": 5}, {"intrinsics": K.tolist(), "size": [9]},
     {"intrinsics": K.tolist(), "distortion": ["much"]}, {"intrinsics": [[1, 2], [3]]}],
)  # fmt: skip
def test_a_damaged_lens_of_a_take_is_named(told: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="damaged"):
        Lens.from_dict(told)


def test_a_lens_without_distortion_changes_nothing() -> None:
    image = sight(*directions(K))
    undistort = Undistortion(Lens(K, (0.0, 0, 0, 0, 0)), (WIDTH, HEIGHT))
    assert undistort(image) is image and (undistort.intrinsics == K).all()


@settings(deadline=None, max_examples=20)
@given(times=st.integers(1, 6))
def test_a_lens_is_known_at_every_size_of_its_pictures(times: int) -> None:
    """The same direction through the same place of the picture: corners map to corners."""
    large = Lens(K, (0.1, 0, 0, 0), (WIDTH, HEIGHT)).at((times * WIDTH, times * HEIGHT))
    for corner in (-0.5, -0.5), (WIDTH - 0.5, HEIGHT - 0.5):
        place = [(c + 0.5) * times - 0.5 for c in corner]
        np.testing.assert_allclose(
            np.linalg.solve(large.intrinsics, [*place, 1]), np.linalg.solve(K, [*corner, 1]), atol=1e-12
        )
    assert large.distortion == (0.1, 0, 0, 0) and large.size == (times * WIDTH, times * HEIGHT)


def test_a_lens_survives_json() -> None:
    lens = Lens(K, (-0.1, 0.02, 0.001, 0.0, 0.3), (WIDTH, HEIGHT))
    again = Lens.from_dict(lens.to_dict())
    assert (again.intrinsics == K).all() and again.distortion == lens.distortion and again.size == lens.size


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Lens(np.eye(2)), "3x3"),
        (lambda: Lens(K, (0.1, 0.2)), "k1 k2 p1 p2"),
        (lambda: Lens(K, (0.1, np.nan, 0, 0)), "k1 k2 p1 p2"),
        (lambda: Lens(K, (), (WIDTH, HEIGHT)).at((WIDTH, 2 * HEIGHT)), "no enlargement"),
        (lambda: Undistortion(Lens(K, (-2.0, 0, 0, 0)), (WIDTH, HEIGHT)), "folds pictures"),
        (lambda: Undistortion(Lens(K, (1e6, 0, 0, 0)), (WIDTH, HEIGHT)), "folds pictures"),
    ],
    ids=["2x2", "two", "nan", "aspect", "folded", "absurd"],
)
def test_what_is_no_lens_is_named(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()  # type: ignore[operator]
