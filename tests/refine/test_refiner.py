# SPDX-License-Identifier: Apache-2.0
"""A refiner gives every frame back, once, in order; and what follows from a pose or a depth follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hill import FOCAL, HEIGHT, WIDTH, Hill, make_hill
from PIL import Image

import longtake
from longtake import cli
from longtake.errors import CapabilityError, InputError
from longtake.evaluation.nets import Net
from longtake.evaluation.run import evaluate_takes
from longtake.evaluation.sets import find_sets
from longtake.frame import Prediction
from longtake.geometry.camera import unproject
from longtake.geometry.pose import inverse, transform
from longtake.outputs import read_tum
from longtake.outputs.manifest import read_manifest
from longtake.refine import Refiner, Settings
from longtake.refine.motion import exp_motion, log_motion

SETTINGS = Settings(gaps=(1, 2), grid=(4, 5), longest=64, iterations=(3, 3))
FRAMES = 11


@pytest.fixture(scope="module")
def hill() -> Hill:
    return make_hill(FRAMES, step=0.04)


def said_of(hill: Hill, size: float = 0.006, *, lost: tuple[int, ...] = ()) -> list[Prediction]:
    """What a model would say that is off by so much."""
    noise = size * torch.randn(FRAMES, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    noise[0] = 0
    poses = (hill.world_from_cam @ exp_motion(noise)).float()
    made = []
    for t in range(FRAMES):
        own = unproject(hill.depth[t].float(), hill.intrinsics.float())
        ones = torch.ones(HEIGHT, WIDTH)
        made.append(
            Prediction(
                points=transform(poses[t], own),
                confidence=2 * ones,
                depth=hill.depth[t].float(),
                world_from_cam=poses[t],
                intrinsics=hill.intrinsics.float(),
                points_self=own,
                points_world=transform(poses[t], own),
                confidence_world=2 * ones,
                image=hill.images[t],
                is_metric=False,
                index=3 * t,
                tracking_code=torch.tensor(2 if t in lost else 0),
            )
        )
    return made


def through(refiner: Refiner, said: list[Prediction]) -> list[Prediction]:
    done = [final for p in said for final in refiner.take(p, 1.0)]
    assert len(done) + len(refiner) == len(said)
    done += refiner.rest()
    assert not len(refiner) and all(seconds >= 1.0 for _, seconds in done)
    return [prediction for prediction, _ in done]


@pytest.mark.parametrize(("window", "hop"), [(6, 3), (4, 1), (20, 10)])
def test_every_frame_comes_back_once_in_order_and_better(hill: Hill, window: int, hop: int) -> None:
    said = said_of(hill)
    done = through(Refiner(SETTINGS, window=window, hop=hop, focal=False), said)
    assert [p.index for p in done] == [p.index for p in said]
    assert torch.equal(done[0].world_from_cam, said[0].world_from_cam)

    def error(frames: list[Prediction]) -> float:
        found = torch.stack([p.world_from_cam.double() for p in frames])
        return float(log_motion(inverse(hill.world_from_cam) @ found).abs().mean())

    assert error(done) < 0.5 * error(said)


def test_points_follow_pose_depth_and_focal_length(hill: Hill) -> None:
    refiner = Refiner(replace(SETTINGS, focal=0.1), window=6, hop=3)
    wide = said_of(hill)
    for p in through(refiner, wide):
        torch.testing.assert_close(p.points_self, unproject(p.depth, p.intrinsics), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(p.points, transform(p.world_from_cam, p.points_self), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(p.depth, p.points_self[..., 2])
        # The head's own world points go where the camera goes.
        before = next(q for q in wide if q.index == p.index)
        seen = [transform(inverse(q.world_from_cam), q.points_world) for q in (p, before)]
        torch.testing.assert_close(*seen, atol=1e-4, rtol=1e-4)
        assert p.revised == () and torch.equal(p.image, before.image)


def test_a_known_camera_is_kept(hill: Hill) -> None:
    for p in through(Refiner(SETTINGS, window=6, hop=3, focal=False), said_of(hill)):
        assert p.intrinsics[0, 0] == FOCAL


def test_a_lost_frame_begins_anew(hill: Hill) -> None:
    """Frames before a cut come out with it, and those after it are never compared with them."""
    refiner = Refiner(SETTINGS, window=8, hop=4, focal=False)
    said = said_of(hill, lost=(5,))
    came = [len(refiner.take(p, 0.0)) for p in said]
    assert came[:6] == [0, 0, 0, 0, 0, 5]
    alone = through(Refiner(SETTINGS, window=8, hop=4, focal=False), said[5:])
    joined = through(Refiner(SETTINGS, window=8, hop=4, focal=False), said)[5:]
    steps = [
        [inverse(a.world_from_cam) @ b.world_from_cam for a, b in zip(x, x[1:], strict=False)] for x in (alone, joined)
    ]
    torch.testing.assert_close(torch.stack(steps[0]), torch.stack(steps[1]), atol=1e-4, rtol=0)


def test_what_cannot_be_adjusted_stays_as_it_was(hill: Hill) -> None:
    said = said_of(hill)
    black = [replace(p, image=torch.zeros_like(p.image)) for p in said]
    for p, q in zip(through(Refiner(SETTINGS, focal=False), black), black, strict=True):
        torch.testing.assert_close(p.world_from_cam, q.world_from_cam)
        torch.testing.assert_close(p.depth, q.depth)
    odd = [*said[:2], replace(said[2], world_from_cam=torch.full((4, 4), torch.nan)), *said[3:]]
    assert [p.index for p in through(Refiner(SETTINGS, window=6, hop=3), odd)] == [p.index for p in said]
    empty = [replace(p, depth=torch.zeros_like(p.depth)) for p in said]
    assert len(through(Refiner(SETTINGS, window=6, hop=3), empty)) == FRAMES
    assert len(through(Refiner(SETTINGS), said[:1])) == 1, "a photo"


def test_a_window_must_hold_more_than_its_new_frames() -> None:
    with pytest.raises(InputError, match="hop"):
        Refiner(window=8, hop=8)
    assert Refiner(window=8, hop=2).about()["hop"] == 2


def test_a_take_is_refined_on_its_way_to_disk(tmp_path: Path) -> None:
    video = Path(__file__).resolve().parents[2] / "examples" / "office_walk.mp4"
    folders = {}
    for refine in (False, True):
        scene = longtake.reconstruct(
            video, max_frames=7, size=96, refine=refine, out=tmp_path / str(refine), report=False
        )
        folders[refine] = scene
        assert scene.frames == 7
    poses = [read_tum(scene.folder / "trajectory.txt").world_from_cam for scene in folders.values()]
    assert poses[0].shape == poses[1].shape == (7, 4, 4)
    assert not np.allclose(poses[0], poses[1], atol=1e-4) and np.allclose(poses[0][0], poses[1][0])
    with pytest.raises(CapabilityError, match="revise"):
        longtake.reconstruct(video, model="vggt", refine=True, revise=True)


def test_the_command_line_refines_and_a_replay_does_so_too(tmp_path: Path) -> None:
    video = Path(__file__).resolve().parents[2] / "examples" / "office_walk.mp4"
    words = ["--max-frames", "5", "--size", "96", "--refine", "--out", str(tmp_path / "take"), "--quiet"]
    assert cli.main(["reconstruct", str(video), *words]) == 0
    assert read_manifest(tmp_path / "take" / "manifest.json")["options"]["refine"] is True  # type: ignore[index]
    assert cli.main(["replay", str(tmp_path / "take"), "--source", str(video), "--quiet"]) == 0


def test_the_yardstick_refines_where_it_is_asked_to(tmp_path: Path) -> None:
    """All frames count, and finished takes are kept apart from those without."""
    hill = make_hill(6)
    folder = tmp_path / "hill"
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for t in range(6):
        Image.fromarray(hill.images[t].numpy()).save(folder / "rgb" / f"{t:04}.png")
        Image.fromarray((1000 * hill.depth[t].numpy()).astype(np.uint16)).save(folder / "depth" / f"{t:04}.png")
    np.savetxt(folder / "poses.txt", hill.world_from_cam.reshape(6, 16).numpy())
    np.savetxt(folder / "intrinsics.txt", hill.intrinsics.numpy())
    takes = find_sets(folder, None, None, 1)[0].takes
    model = longtake.load(size=64)
    plain, refined = (
        evaluate_takes(Net.of(model, refine=on), takes, "ttt3r", None, lengths=()) for on in (False, True)
    )
    assert [r.indices for r in plain] == [r.indices for r in refined]
    assert all(bool(np.isfinite(r.world_from_cam).all()) for r in refined)
    assert not np.allclose(plain[0].world_from_cam, refined[0].world_from_cam, atol=1e-5)
    assert plain[0].figures.depth.pixels == refined[0].figures.depth.pixels
    told = [Net.of(model, refine=on).settings() for on in (False, True)]
    assert "refine" not in told[0] and told[1]["refine"]["window"] == 20
