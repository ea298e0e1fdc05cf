# SPDX-License-Identifier: Apache-2.0
"""Takes that are written as they were last said: the last revision of each frame, in order, also when stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longtake import cli
from longtake.errors import CapabilityError
from longtake.families.vggt import Vggt
from longtake.families.vggt_config import VggtConfig
from longtake.frame import Prediction
from longtake.outputs import read_depth, read_tum
from longtake.registry import Model
from longtake.scene import Interrupted, Progress, reconstruct

FRAMES = np.random.default_rng(4).integers(0, 256, (7, 48, 56, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> Model:
    torch.manual_seed(5)
    module = Vggt(VggtConfig().tiny())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Model("vggt", module.eval().requires_grad_(False))


def assert_written(out: Path, wanted: list[Prediction]) -> None:
    """The folder holds these predictions, in this order."""
    poses = read_tum(out / "trajectory.txt").world_from_cam
    assert len(poses) == len(wanted)
    for i, prediction in enumerate(wanted):
        np.testing.assert_allclose(poses[i], prediction.world_from_cam.double().numpy(), atol=1e-5)
        depth = read_depth(out / f"depth/{i:06d}.png")
        known = depth > 0
        assert known.any()
        np.testing.assert_allclose(depth[known], prediction.depth.numpy()[known], atol=1e-3)


@pytest.mark.parametrize(("window", "reset_every"), [(None, None), (3, None), (2, None), (None, 3), (3, 4)])
def test_the_last_revision_wins(model: Model, window: int | None, reset_every: int | None, tmp_path: Path) -> None:
    stream = model.stream(window=window, reset_every=reset_every)
    last: dict[int, Prediction] = {}
    first: dict[int, Prediction] = {}
    written: set[int] = set()  # a frame is written when it, or a later one, is not read any more
    for frame in FRAMES:
        said = stream.step(frame)
        first[said.index] = said
        read = {each.index: each for each in (*said.revised, said)}
        last |= {index: each for index, each in read.items() if index not in written}
        written |= {index for index in last if any(later not in read for later in last if later >= index)}
    scene = reconstruct(FRAMES, model=model, window=window, reset_every=reset_every, revise=True, out=tmp_path)
    assert scene.frames == len(FRAMES)
    assert_written(tmp_path, [last[i] for i in range(len(FRAMES))])
    if window != 2:  # of two frames, one is the first
        moved = (last[1].world_from_cam - first[1].world_from_cam).abs().max()
        assert moved > 1e-4, "there was something to revise"


def test_by_default_frames_are_as_first_said(model: Model, tmp_path: Path) -> None:
    stream = model.stream()
    first = [stream.step(frame) for frame in FRAMES[:4]]
    reconstruct(FRAMES[:4], model=model, out=tmp_path)
    assert_written(tmp_path, first)


def test_a_take_that_is_stopped_has_all_its_frames(model: Model, tmp_path: Path) -> None:
    seen: list[int] = []

    def stop(progress: Progress) -> None:
        seen.append(progress.frames)
        if progress.frames == 4:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        reconstruct(FRAMES, model=model, revise=True, out=tmp_path, on_frame=stop)
    assert seen == [1, 2, 3, 4]
    assert caught.value.scene.frames == 4
    stream = model.stream()
    for frame in FRAMES[:4]:
        said = stream.step(frame)
    assert_written(tmp_path, [*said.revised, said])


def test_a_replay_revises_as_the_take_did(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default frames are written as first said, which are other files."""
    model = replace(model, weights="tiny.safetensors", weights_sha256="0" * 64)
    monkeypatch.setattr("longtake.registry.load", lambda *_, **__: model)
    frames = tmp_path / "frames"
    frames.mkdir()
    for i, frame in enumerate(FRAMES[:4]):
        Image.fromarray(frame).save(frames / f"{i}.png")
    reconstruct(frames, model=model, revise=True, window=3, out=tmp_path / "take", report=False)
    assert cli.main(["replay", str(tmp_path / "take"), "--source", str(frames), "--quiet"]) == 0


def test_what_never_revises_is_refused() -> None:
    with pytest.raises(CapabilityError, match="revise=True with longtake-small"):
        reconstruct(FRAMES, revise=True)
