# SPDX-License-Identifier: Apache-2.0
"""camera= and intrinsics=: whose camera a prediction has, for every family, and in the files of a take."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import picture, tiny

from longtake import cli
from longtake.cameras import CameraChoice
from longtake.errors import InputError
from longtake.frame import Heads, PixelMap
from longtake.geometry.camera import camera_matrix, unproject
from longtake.geometry.pose import pose7_from_matrix, transform, world_from_cam
from longtake.geometry.solve import solve_camera
from longtake.registry import MODELS
from longtake.stream import Stream

HEIGHT, WIDTH = 32, 48
SAME = PixelMap((WIDTH, HEIGHT), (WIDTH, HEIGHT), (1.0, 1.0), (0.0, 0.0))
HALF = PixelMap((2 * WIDTH, 2 * HEIGHT + 8), (WIDTH, HEIGHT), (0.5, 0.5), (0.0, 2.0))


def said(seed: int, n: int, k: np.ndarray) -> tuple[Heads, torch.Tensor]:
    """What heads would say of n views with camera k if their points were right and their poses were not."""
    g = torch.Generator().manual_seed(seed)
    depth = 2 + torch.rand(n, HEIGHT, WIDTH, dtype=torch.float64, generator=g)
    own = unproject(depth, torch.from_numpy(k).expand(n, 3, 3))
    truth = world_from_cam(torch.randn(n, 7, dtype=torch.float64, generator=g))
    wrong = pose7_from_matrix(torch.eye(4, dtype=torch.float64).expand(n, 4, 4))
    sure = torch.full((n, HEIGHT, WIDTH), 2.0, dtype=torch.float64)
    return Heads(own, sure, transform(truth, own), sure, wrong), truth


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 3), f=st.floats(30, 90))
def test_focal_length_and_pose_follow_from_the_points(seed: int, n: int, f: float) -> None:
    heads, truth = said(seed, n, camera_matrix(f, f, WIDTH // 2, HEIGHT // 2))
    made, words = CameraChoice("solve").apply(heads, [SAME] * n)
    assert words == ["solve"] * n
    torch.testing.assert_close(world_from_cam(made.pose), truth, rtol=0, atol=1e-5)
    assert made.intrinsics is not None
    torch.testing.assert_close(made.intrinsics[:, 0, 0], torch.full((n,), f, dtype=torch.float64), rtol=1e-5, atol=0)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6), fx=st.floats(30, 90), fy=st.floats(30, 90), cx=st.floats(10, 40))
def test_a_known_camera_is_used_in_the_solve_and_handed_on(seed: int, fx: float, fy: float, cx: float) -> None:
    k = camera_matrix(fx, fy, cx, HEIGHT / 2)
    heads, truth = said(seed, 1, k)
    original = HALF.to_original(k)
    for camera in ("head", "solve"):
        made, (word,) = CameraChoice.checked(camera, original).apply(heads, [HALF])
        assert word == camera
        assert made.intrinsics is not None
        np.testing.assert_allclose(made.intrinsics[0].numpy(), k, atol=1e-9)
        pose = world_from_cam(made.pose)
        if camera == "solve":
            torch.testing.assert_close(pose, truth, rtol=0, atol=1e-5)
        else:
            torch.testing.assert_close(pose, world_from_cam(heads.pose))


def test_a_view_that_fixes_no_pose_keeps_the_heads_and_says_why() -> None:
    heads, truth = said(0, 3, camera_matrix(50, 50, WIDTH // 2, HEIGHT // 2))
    points, sure = heads.points_world.clone(), heads.confidence_world.clone()
    points[1] = torch.nan
    sure[2] = 1.0  # nothing is surer than nothing
    made, words = CameraChoice("solve").apply(replace(heads, points_world=points, confidence_world=sure), [SAME] * 3)
    assert words[0] == "solve"
    assert words[1:] == ["head, as the solve failed: 0 usable points, 6 are needed"] * 2
    torch.testing.assert_close(world_from_cam(made.pose[:1]), truth[:1], rtol=0, atol=1e-5)
    assert torch.equal(made.pose[1:], heads.pose[1:])


@pytest.mark.parametrize("name", MODELS)
def test_every_family_can_have_its_cameras_solved(name: str, tmp_path: Path) -> None:
    known = camera_matrix(80, 82, 41, 29)
    stream = Stream(tiny(name), camera="solve", intrinsics=known, reset_every=3)
    assert stream.describe()["camera"] == "solve"
    for i in range(3):
        p = stream.step(picture(i))
        solved = solve_camera(p.points_world.numpy(), p.intrinsics.numpy(), p.confidence_world.numpy() > 1)
        assert p.camera == "solve" if solved else p.camera.startswith("head, as the solve failed")
        np.testing.assert_allclose(p.intrinsics_original, known, atol=1e-3)
        torch.testing.assert_close(p.points, transform(p.world_from_cam, p.points_self))
    stream.save(tmp_path / "state.safetensors")
    resumed = Stream.resume(tiny(name), tmp_path / "state.safetensors")
    assert resumed.describe() == stream.describe()
    a, b = stream.step(picture(9)), resumed.step(picture(9))  # resumed in the new chunk, whose chain was solved, too
    assert torch.equal(a.world_from_cam, b.world_from_cam)
    assert a.camera == b.camera


def test_solved_poses_are_chained_through_resets() -> None:
    """The view after a reset continues from the solved pose of the view before, not from the head's."""
    stream = Stream(tiny("dust3r").double(), camera="solve")
    stream.step(picture(0))
    last = stream.step(picture(1), reset=True)
    assert torch.equal(stream.state.world_from_chunk[0], last.world_from_cam)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"camera": "guess"}, "'head'.*'solve'"),
        ({"intrinsics": np.eye(2)}, "3x3"),
        ({"intrinsics": camera_matrix(0, 1, 2, 3)}, "3x3"),
        ({"intrinsics": camera_matrix(1, np.nan, 2, 3)}, "3x3"),
        ({"intrinsics": np.ones((3, 3))}, "3x3"),
    ],
)
def test_what_is_no_choice_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Stream(tiny("longtake-small"), **options)


def test_a_take_with_solved_cameras(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    for i in range(3):
        Image.fromarray(picture(i)).save(tmp_path / f"{i}.png")
    words = ["reconstruct", str(tmp_path), "--out", str(tmp_path / "out"), "--quiet", "--size", "64"]
    assert cli.main([*words, "--camera", "solve", "--intrinsics", "90", "91", "42", "30"]) == 0
    frames = json.loads((tmp_path / "out" / "cameras.json").read_text())["frames"]
    notes = capsys.readouterr().err
    kept = [frame for frame in frames if frame["camera"] != "solve"]
    assert len(frames) == 3
    assert all(np.allclose(f["intrinsics_original"], camera_matrix(90, 91, 42, 30), atol=1e-3) for f in frames)
    assert (f"{len(kept)} frames keep the head's camera" in notes) == bool(kept)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "solve" in json.dumps(manifest)
