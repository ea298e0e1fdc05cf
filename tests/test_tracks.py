# SPDX-License-Identifier: Apache-2.0
"""Points of the first frame through a take, in pixels of the original frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from longtake.errors import CapabilityError, InputError
from longtake.families.vggt import Vggt
from longtake.families.vggt_config import VggtConfig
from longtake.frame import Frame
from longtake.registry import Model
from longtake.tracks import follow

RNG = np.random.default_rng(0)
FRAMES = [RNG.integers(0, 256, (60, 84, 3), dtype=np.uint8) for _ in range(4)]
POINTS = np.array([[10.0, 20.0], [70.5, 33.25], [0.0, 0.0]])


def model(**changes: object) -> Model:
    torch.manual_seed(0)
    return Model("vggt", Vggt(replace(VggtConfig().tiny(), **changes)).eval().requires_grad_(False))  # type: ignore[arg-type]


def test_tracks_start_at_the_points_in_pixels_of_the_frame() -> None:
    tracks = model().track(FRAMES, POINTS)
    assert tracks.points.shape == (4, 3, 2)
    assert tracks.visible.shape == tracks.confidence.shape == (4, 3)
    torch.testing.assert_close(tracks.points[0], torch.from_numpy(POINTS).float(), rtol=0, atol=1e-3)
    assert ((tracks.visible > 0) & (tracks.visible < 1)).all()
    assert (tracks.points[1:] - tracks.points[:1]).abs().max() > 1e-3


def test_a_twice_as_large_picture_doubles_the_tracks() -> None:
    large = [frame.repeat(2, 0).repeat(2, 1) for frame in (np.full((56, 56, 3), 8 * i, np.uint8) for i in range(3))]
    small = [frame[::2, ::2] for frame in large]
    points = np.array([[10.0, 20.0], [33.5, 40.0]])
    near, far = model().track(small, points), model().track(large, points * 2 + 0.5)
    torch.testing.assert_close(far.points, near.points * 2 + 0.5, rtol=0, atol=1e-2)


def test_frames_may_be_frames() -> None:
    given = [Frame(image, time=0.0, index=i) for i, image in enumerate(FRAMES)]
    assert torch.equal(model().track(given, POINTS).points, model().track(FRAMES, POINTS).points)


@pytest.mark.parametrize(
    ("frames", "points", "words"),
    [
        ([], POINTS, "got no frames"),
        ([FRAMES[0], FRAMES[1][:, :40]], POINTS, "all must have one size"),
        (FRAMES, POINTS[:, :1], r"shape \(3, 1\)"),
        (FRAMES, POINTS[:0], "at least one point"),
        (FRAMES, POINTS + 83, r"3 points lie outside.*number 0 at \(\d"),
        (FRAMES, np.array([[1.0, np.nan]]), "1 points lie outside"),
    ],
)
def test_what_does_not_fit(frames: list, points: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        model().track(frames, points)


def test_pictures_too_small_for_the_coarsest_level() -> None:
    with pytest.raises(InputError, match="at least 64 pixels each way; these become 56 x 42"):
        model(track_levels=6).track(FRAMES, POINTS)


def test_models_without_a_track_head() -> None:
    with pytest.raises(CapabilityError, match="small has no track head"):
        follow(torch.nn.Identity(), FRAMES, POINTS, "small")
    with pytest.raises(CapabilityError, match="no track head"):
        model(track_features=0).track(FRAMES, POINTS)
