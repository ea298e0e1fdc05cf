# SPDX-License-Identifier: Apache-2.0
"""Nearest neighbours, by SciPy's tree (extra `eval`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from longtake.errors import MissingExtra

if TYPE_CHECKING:
    from scipy.spatial import KDTree


def require_scipy() -> None:
    """Raise MissingExtra where SciPy is not installed: before the work whose end needs it."""
    try:
        import scipy.spatial  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            "measuring point clouds needs SciPy, which is not installed: pip install 'longtake[eval]'"
        ) from error


def make_tree(points: np.ndarray) -> KDTree:
    """Return a tree of points (n, 3), all finite. Raises MissingExtra where SciPy is not installed."""
    require_scipy()
    from scipy.spatial import KDTree

    return KDTree(np.asarray(points, np.float64))
