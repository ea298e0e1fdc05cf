# SPDX-License-Identifier: Apache-2.0
"""Each model from the command line, from a clip to a photo that is found again: nothing here knows a family."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_compare_families import tiny_file

import longtake
from longtake import cli
from longtake.geometry.lens import Lens
from longtake.registry import MODELS, load
from longtake.sources import KnownSource

FAMILIES = {entry.family: name for name, entry in MODELS.items()}.values()  # one model of each
K = np.array([[70.0, 0, 41.5], [0, 72.0, 29.5], [0, 0, 1]])


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    folder, rng = tmp_path / "clip", np.random.default_rng(3)
    folder.mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 256, (60, 84, 3), np.uint8)).save(folder / f"{i}.png")
    return folder


def rebuild(clip: Path, folder: Path, name: str, **options: Any) -> tuple[str, Path]:
    """Reconstruct with a tiny model of this name; return its weights and the take's folder."""
    file = tiny_file(folder, name).partition("=")[2]
    longtake.reconstruct(clip, out=folder / "out", model=name, weights=file, device="cpu", report=False, **options)
    return file, folder / "out"


def cameras(out: Path) -> dict[str, Any]:
    return json.loads((out / "cameras.json").read_text())


@pytest.mark.parametrize(("name", "size"), [*((name, None) for name in MODELS), *((name, 112) for name in FAMILIES)])
def test_a_photo_is_found_in_a_saved_take(
    name: str, size: int | None, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state.safetensors"
    file, _ = rebuild(clip, tmp_path, name, size=size, state=state)
    photo = ["localize", str(state), str(clip / "1.png"), "--weights", file, "--device", "cpu", "--json"]
    assert cli.main(photo) == 0
    (found,) = json.loads(capsys.readouterr().out)
    stream = load(name, file, device="cpu", size=size).stream()
    frames = list(longtake.images(clip))
    for frame in frames:
        stream.step(frame)
    again = stream.step(frames[1], update=False)
    np.testing.assert_allclose(found["world_from_cam"], again.world_from_cam, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_known_camera_is_in_the_solve_the_files_and_the_export(name: str, clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    _, out = rebuild(clip, tmp_path, name, camera="solve", intrinsics=K)
    for frame in cameras(out)["frames"]:
        np.testing.assert_allclose(frame["intrinsics_original"], K, atol=1e-4)
        assert frame["camera"] == "solve" or frame["camera"].startswith("head, as the solve failed")
    assert cli.main(["export", str(out), "--format", "colmap", "--source", str(clip), "--quiet"]) == 0
    (text,) = out.rglob("cameras.txt")
    line = text.read_text().splitlines()[-1].split()
    assert line[1:4] == ["PINHOLE", "84", "60"]
    np.testing.assert_allclose([float(word) for word in line[4:]], [70, 72, 42, 30], atol=1e-4)  # centres at halves


@pytest.mark.parametrize("name", FAMILIES)
def test_frames_are_undistorted_before_any_family_sees_them(name: str, clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    lens = Lens(K, (-0.2, 0.03, 0, 0, 0))
    file, out = rebuild(clip, tmp_path, name, lens=lens)
    told = cameras(out)
    assert told["lens"]["distortion"] == [-0.2, 0.03, 0, 0, 0]
    stream = load(name, file, device="cpu").stream()
    for frame, said in zip(KnownSource(longtake.images(clip), lens=lens), told["frames"], strict=True):
        assert frame.intrinsics is not None and not np.allclose(frame.intrinsics, K, atol=1)
        np.testing.assert_allclose(said["intrinsics_original"], frame.intrinsics, atol=1e-4)
        np.testing.assert_allclose(said["world_from_cam"], stream.step(frame).world_from_cam, atol=1e-5)
