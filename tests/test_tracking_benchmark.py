# SPDX-License-Identifier: Apache-2.0
"""The benchmark of tracking counts frames that are called lost, and finds cuts, in walks and in folders of takes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import tracking  # noqa: E402


def slide(seed: int, frames: int) -> np.ndarray:
    """A camera that slides over a random wall, (T, 3, 64, 80) uint8."""
    wall = torch.rand(1, 3, 16, 60, generator=torch.Generator().manual_seed(seed)) * 255
    wall = torch.nn.functional.interpolate(wall, (64, 320), mode="bilinear")[0].byte().numpy()
    return np.stack([wall[:, :, 2 * t : 2 * t + 80] for t in range(frames)])


def test_lost_frames_and_cuts_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walks, take = tmp_path / "walks", tmp_path / "take"
    walks.mkdir()
    np.savez(walks / "0.npz", pictures=np.concatenate((slide(0, 12), slide(1, 12))))  # two lost: there, and below
    np.savez(walks / "1.npz", pictures=np.concatenate((slide(2, 12), np.zeros((1, 3, 64, 80), np.uint8))))
    (take / "rgb").mkdir(parents=True)
    for t, picture in enumerate(slide(3, 8)):
        Image.fromarray(picture.transpose(1, 2, 0)).resize((160, 128)).save(take / "rgb" / f"{t}.png")
    tracking.main([str(walks), str(take), "--cuts", "6"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = {line[0]: line[1:] for line in lines if line and line[0] in ("walks", "take")}
    assert rows["walks"][:4] == ["2", "37", "2", "1"]
    assert rows["walks"][5:8] == ["6", "of", "6"]
    assert rows["take"][:4] == ["1", "8", "0", "0"]
    assert rows["take"][5:8] == ["6", "of", "6"]
    tracking.main([str(walks), "--stride", "12", "--cuts", "0"])
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("walks")]
    assert row.split()[1:4] == ["2", "4", "2"]
    assert row.split()[6] == "-"
