# SPDX-License-Identifier: Apache-2.0
"""The proof on the shared takes: every third of heldout_v1 and office_walk, broken on purpose; all, as they are.

docs/datasets.md quotes what this finds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from longtake.datasets.depth import every_rth, read_png_depth
from longtake.datasets.reading import LazySequence, Listing
from longtake.datasets.table import open_sequence
from longtake.datasets.warp import check_agreement

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def takes() -> list[LazySequence]:
    """Every take, or a skip that says so."""
    if not (SHARED / "heldout_v1").is_dir():
        pytest.skip(f"data sets not found at {SHARED}: the proof was NOT tried on them")
    folders = [*sorted((SHARED / "heldout_v1").iterdir()), SHARED / "office_walk"]
    found = [open_sequence("rgbd", folder)[0] for folder in folders]
    return [each for each in found if isinstance(each, LazySequence)]


def broken(
    of: LazySequence,
    change: Callable[[np.ndarray], np.ndarray] = lambda poses: poses,
    depth_times: float = 1,
    focal_times: float = 1,
) -> LazySequence:
    """The same take with other poses (T, 4, 4), with depth files of another scale, or with another focal length."""
    zoom = np.diag([focal_times, focal_times, 1.0])
    listing = Listing()
    for files, pose in zip(of.files, change(np.array([files.world_from_cam for files in of.files])), strict=True):
        assert files.intrinsics is not None
        camera = files.intrinsics.copy()
        camera[:2, :2] = (zoom @ camera)[:2, :2]  # the principal point stays
        listing.add(replace(files, world_from_cam=pose, intrinsics=camera))
    read = partial(read_png_depth, scale=1000 / depth_times)
    return LazySequence(of.dataset, of.name, listing, read_depth=read, place_depth=every_rth)


def late(poses: np.ndarray) -> np.ndarray:
    return poses[np.maximum(np.arange(len(poses)) - 5, 0)]


MISTAKES = {
    "poses in the other direction (world to camera) fits": partial(broken, change=np.linalg.inv),
    "poses with OpenGL axes": partial(broken, change=lambda poses: poses @ FLIP),
    "poses in the other direction (world to camera) with OpenGL axes": partial(
        broken, change=lambda poses: np.linalg.inv(poses @ FLIP)
    ),
    **{f"depth times {1 / s:.3g}": partial(broken, depth_times=s) for s in (0.2, 0.8, 1.3, 5.0, 1000.0)},
    "the pose of 5 frames later": partial(broken, change=late),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_and_named_in_every_take(mistake: str) -> None:
    found = [check_agreement(MISTAKES[mistake](take)) for take in takes()[::3]]
    assert len(found) == 25 and [each.verdict for each in found] == ["disagree"] * 25
    named = [each.text for each in found]
    if mistake.startswith("depth times"):
        factors = [float(text.split("depth times ")[1].split()[0]) for text in named]
        wanted = float(mistake.removeprefix("depth times "))
        assert factors == pytest.approx([wanted] * 25, rel=0.13)
    elif mistake.startswith("the pose"):
        frames = [int(text.removeprefix("the pose of ").split(" frames later")[0]) for text in named]
        assert (
            sorted(frames) == [4] + [5] * 24
        )  # in short_58 one frame less fits better: the first five poses stand still
    else:
        assert all(text.startswith(mistake) for text in named), named


@pytest.mark.slow
@pytest.mark.parametrize(("focal_times", "seen"), [(1.03, 0), (1.07, 25), (1.15, 25), (1.3, 25)])
def test_a_focal_length_is_seen_from_seven_percent_on(focal_times: float, seen: int) -> None:
    found = [check_agreement(broken(take, focal_times=focal_times)) for take in takes()[::3]]
    assert sum(each.text.startswith("a focal length times 0.") for each in found) == seen
    assert sum(each.verdict == "disagree" for each in found) == seen


@pytest.mark.slow
def test_no_sound_take_is_called_wrong() -> None:
    verdicts = [check_agreement(take).verdict for take in takes()]
    assert len(verdicts) == 73 and verdicts == ["agree"] * 73
