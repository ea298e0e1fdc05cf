# SPDX-License-Identifier: Apache-2.0
"""A lens that is known: its camera matrix and its distortion, and pictures as a pinhole would have taken them.

Distortion is Brown's, in OpenCV's order k1 k2 p1 p2 [k3 [k4 k5 k6]] (radial, tangential, radial, rational): it takes a
pinhole's place on the plane z = 1 to the place where the lens shows it. OpenCV (extra `solve`) does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from longtake.errors import InputError
from longtake.frame import PixelMap
from longtake.geometry.solve import require_opencv

_COUNTS = (0, 4, 5, 8)  # of coefficients
_ORDER = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")  # OpenCV's
_NARROWEST, _STEP = 4.0, 1.02  # times the focal length, and from one trial to the next
_ASPECT = 0.01  # by which the aspect of two sizes of one picture may differ: sides are whole pixels


def checked_matrix(intrinsics: Any) -> np.ndarray:
    """Return a (3, 3) float64 camera matrix. Raises InputError where it is none."""
    k = np.array(intrinsics, np.float64)
    fits = k.shape == (3, 3) and np.isfinite(k).all()
    if not (fits and k[0, 0] > 0 and k[1, 1] > 0 and (k[2] == (0, 0, 1)).all()):
        raise InputError(
            f"intrinsics={k.tolist()}; wanted a 3x3 camera matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels of "
            "the original frames"
        )
    return k


def brown(keys: Mapping[str, Any]) -> tuple[float, ...]:
    """Return 4, 5 or 8 coefficients in OpenCV's order from their names, as many as are not 0; those not named are."""
    values = [float(keys.get(key) or 0.0) for key in _ORDER]
    return tuple(values if any(values[5:]) else values[:5] if values[4] else values[:4])


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """What is known of a camera. Raises InputError where it is no camera matrix or a number of coefficients unknown."""

    intrinsics: np.ndarray  # (3, 3) in pixels, centres at integers
    distortion: tuple[float, ...] = ()  # none, or 4, 5 or 8 coefficients in OpenCV's order
    size: tuple[int, int] | None = None  # (width, height) of the pictures whose pixels these are; None: as they come

    def __post_init__(self) -> None:
        object.__setattr__(self, "intrinsics", checked_matrix(self.intrinsics))
        distortion = tuple(float(each) for each in self.distortion)
        if len(distortion) not in _COUNTS or not np.isfinite(distortion).all():
            raise InputError(
                f"distortion={list(distortion)}; wanted 4, 5 or 8 numbers in OpenCV's order: k1 k2 p1 p2 [k3 "
                "[k4 k5 k6]]"
            )
        object.__setattr__(self, "distortion", distortion if any(distortion) else ())
        if self.size is not None and not min(self.size) > 0:
            raise InputError(f"a lens for pictures of {self.size[0]}x{self.size[1]}; wanted width and height in pixels")

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether pictures of a size (width, height) can be enlargements of those that it is known for."""
        return self.size is None or abs(size[0] * self.size[1] / (size[1] * self.size[0]) - 1) <= _ASPECT

    def at(self, size: tuple[int, int]) -> Lens:
        """Return the lens in pixels of pictures of another size (width, height). Raises InputError for another aspect.

        Distortion has no unit: it stays.
        """
        if self.size is None or self.size == size:
            return self
        scale = size[0] / self.size[0], size[1] / self.size[1]
        if not self.fits(size):
            raise InputError(
                f"the lens is known for pictures of {self.size[0]}x{self.size[1]}, the source's are "
                f"{size[0]}x{size[1]}: no enlargement of them. Give the intrinsics in pixels of the source."
            )
        return Lens(PixelMap(self.size, size, scale, (0.0, 0.0)).to_model(self.intrinsics), self.distortion, size)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"intrinsics": self.intrinsics.tolist(), "distortion": list(self.distortion), "size": self.size}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Lens:
        """Rebuild what `to_dict` gave, and may have been changed in a file since. Raises InputError."""
        try:
            size = told.get("size")
            distortion = tuple(map(float, told.get("distortion") or ()))
            k = np.array(told["intrinsics"], np.float64)
            return cls(k, distortion, None if size is None else (int(size[0]), int(size[1])))
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
            raise InputError(
                f"the lens {str(told)[:80]} is damaged ({type(error).__name__}: {error}); wanted intrinsics, "
                "distortion and size as cameras.json has them. Reconstruct the take again."
            ) from error


class Undistortion:
    """Makes pictures of one size and lens into those of a pinhole: the widest view without invented pixels.

    `intrinsics` (3, 3) is the pinhole's matrix. Without distortion it is the lens's, and pictures stay as they are.
    """

    def __init__(self, lens: Lens, size: tuple[int, int]) -> None:
        """size: (width, height) of the pictures. Raises InputError for a lens that folds them, MissingExtra."""
        self.lens, self.size = lens.at(size), size
        self.intrinsics = self.lens.intrinsics
        self._maps: tuple[np.ndarray, np.ndarray] | None = None
        if not lens.distortion:
            return
        self._cv2 = require_opencv("undistortion")
        k, coefficients = self.lens.intrinsics, np.array(self.lens.distortion)
        scale = self._scale(k, coefficients)
        if scale is not None:
            self.intrinsics = k @ np.diag([scale, scale, 1.0])
            wanted = self.intrinsics, size, self._cv2.CV_32FC1
            x, y = self._cv2.initUndistortRectifyMap(k, coefficients, None, *wanted)
            self._maps = x, y
        if scale is None or _folds(x, y):
            raise InputError(
                f"distortion={list(lens.distortion)} folds pictures of {size[0]}x{size[1]} over: these coefficients "
                "are not of this camera, or not in the order k1 k2 p1 p2 k3."
            )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return (H, W, 3) uint8 as the pinhole sees it, by bilinear interpolation."""
        if self._maps is None:
            return image
        cv2 = self._cv2
        return cv2.remap(image, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _scale(self, k: np.ndarray, coefficients: np.ndarray) -> float | None:
        """Return the least factor of the focal length with which all of the pinhole's picture was seen by the lens.

        From a narrow view outwards, so that what the polynomial does beyond the picture does not matter; None where it
        folds before the picture's border is reached.
        """
        width, height = self.size
        u, v = np.meshgrid(np.linspace(0, width - 1, 65), np.linspace(0, height - 1, 65))
        plane = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)], -1).reshape(-1, 3)
        none, edge = np.zeros(3), np.array([width - 1, height - 1])

        def shown(scale: float) -> np.ndarray:
            rays = plane * (1 / scale, 1 / scale, 1)
            return self._cv2.projectPoints(rays, none, none, k, coefficients)[0].reshape(65, 65, 2)

        def inside(scale: float) -> bool:
            places = shown(scale)
            return bool((places >= 0).all() and (places <= edge).all() and not _folds(places[..., 0], places[..., 1]))

        good, bad = _NARROWEST, _NARROWEST / _STEP
        if not inside(good):
            return None
        while inside(bad):
            good, bad = bad, bad / _STEP
            if bad < 1 / _NARROWEST:
                return None
        places = shown(bad)
        if _folds(places[..., 0], places[..., 1]):
            return None
        for _ in range(30):
            middle = (good + bad) / 2
            good, bad = (middle, bad) if inside(middle) else (good, middle)
        return good


def undistortions(lens: Lens) -> Callable[[tuple[int, int]], Undistortion]:
    """Return the undistortion of a lens by the size (width, height) of pictures; the last four sizes are remembered.

    No more, however mixed the pictures are: each takes a few times the memory of a picture.
    """
    return lru_cache(4)(lambda size: Undistortion(lens, size))


def _folds(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether a map (H, W) of places turns over anywhere: neighbours out of their order, or a negative determinant."""
    right, down = np.diff(x, axis=1)[1:], np.diff(y, axis=0)[:, 1:]
    sheared = np.diff(x, axis=0)[:, 1:] * np.diff(y, axis=1)[1:]
    sound = np.isfinite(x).all() and np.isfinite(y).all() and (right > 0).all() and (down > 0).all()
    return not bool(sound and (right * down > sheared).all())
