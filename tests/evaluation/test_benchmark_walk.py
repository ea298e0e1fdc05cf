# SPDX-License-Identifier: Apache-2.0
"""A walk scores a stream that knows the truth as perfect, and gives a value or a reason wherever truth is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from benchmark_room import HEIGHT, WIDTH, Knower, Room, cameras

from longtake.errors import InputError
from longtake.evaluation.benchmark import cloud_score, depth_score, path_score
from longtake.evaluation.benchmark.gathered import Gathered
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.benchmark.walk import Walk, walk
from longtake.frame import Frame, Prediction

ZERO = ("ate_sim3", "rpe_trans", "rpe_rot_deg", "rot_deg", "translation_direction_deg", "ate_over_spread",
        "absrel_scale", "absrel_scale_shift", "acc", "acc_med", "comp", "comp_med", "chamfer")  # fmt: skip
ONE = ("delta1_scale", "delta1_scale_shift", "f_score")
ALL = {*path_score.NAMES, *depth_score.NAMES, *cloud_score.NAMES, "fps", "latency_ms_p50", "latency_ms_p95"}
POSES = cameras(12)


def end(stream: Knower, sequence: Room, **options: Any) -> dict[str, Any]:
    """Figures after the last frame."""
    found = walk(stream, sequence, Protocol("rgbd", cloud_points=1500, **options))
    return found.by_length[max(n for n, each in found.by_length.items() if each["status"] == "ok")]


@pytest.mark.parametrize("unit", [1.0, 0.2, 40.0])
@pytest.mark.parametrize("crop", [0, 5])
@pytest.mark.parametrize("revise", [False, True])
def test_who_knows_the_truth_scores_perfectly_in_any_unit(unit: float, crop: int, revise: bool) -> None:
    figures = end(Knower(POSES, unit, crop, revise), Room(POSES))
    assert set(figures) >= ALL and not figures["reasons"]
    assert {name: figures[name] for name in ZERO} == pytest.approx(dict.fromkeys(ZERO, 0), abs=2e-5)
    assert {name: figures[name] for name in ONE} == dict.fromkeys(ONE, 1)
    assert figures["nc"] == pytest.approx(1, abs=1e-3)
    assert figures["absrel_metric"] == pytest.approx(abs(unit - 1), rel=1e-4, abs=1e-6)
    assert (figures["ate_se3"] < 1e-6) is (unit == 1)
    assert (figures["path_scale"], figures["fit_scale"]) == pytest.approx((1 / unit, 1 / unit), rel=1e-5)
    assert figures["depth_pixels"] == 12 * (HEIGHT - 2) * (WIDTH - 2 * crop)
    assert figures["depth_pixels_cropped"] == 12 * (HEIGHT - 2) * 2 * crop
    assert figures["frames"] == 12


def test_a_shift_of_depth_is_forgiven_by_scale_and_shift_only() -> None:
    figures = end(Knower(POSES, spoil=lambda i, p: replace(p, depth=p.depth + 1)), Room(POSES))
    assert figures["absrel_scale_shift"] < 1e-5
    assert (figures["fit_scale_shift"], figures["shift_scale_shift"]) == pytest.approx((1, -1), abs=1e-4)
    assert figures["absrel_metric"] > figures["absrel_scale"] > 0.005
    assert figures["absrel_constant"] > figures["absrel_scale"]


def test_a_depth_of_one_scale_a_frame_is_not_forgiven() -> None:
    figures = end(Knower(POSES, spoil=lambda i, p: replace(p, depth=p.depth * (1 + i % 2))), Room(POSES))
    assert figures["absrel_scale"] > 0.2


@pytest.mark.parametrize("most", [{"cloud_points": 0}, {"cloud_points": 300, "depth_pixels": 1000}])
def test_a_length_is_what_a_walk_of_that_length_gives(most: dict[str, int]) -> None:
    noisy = np.random.default_rng(0).normal(size=(12, 3)) * 0.1

    def wrong(i: int, p: Prediction) -> Prediction:
        pose = p.world_from_cam.clone()
        pose[:3, 3] += torch.from_numpy(noisy[i])
        return replace(p, world_from_cam=pose)

    whole = walk(Knower(POSES, spoil=wrong), Room(POSES), Protocol("rgbd", lengths=(3, 5), **most))
    for n in (3, 5):
        part = walk(Knower(POSES, spoil=wrong), Room(POSES), Protocol("rgbd", max_frames=n, **most))
        for name in path_score.NAMES + depth_score.NAMES:
            assert whole.by_length[n][name] == part.by_length[n][name], name
        assert whole.by_length[n]["acc"] == pytest.approx(part.by_length[n]["acc"], rel=1e-9)
        assert whole.by_length[n]["cloud_points"] == part.by_length[n]["cloud_points"]
    assert whole.by_length[3]["ate_sim3"] != whole.by_length[5]["ate_sim3"]


def test_frames_are_chosen_as_the_protocol_says() -> None:
    chosen = Protocol("rgbd", start=1, stride=3, max_frames=3, lengths=(2, 3, 50), cloud_points=500)
    found = walk(Knower(POSES), Room(POSES), chosen)
    assert found.used == ["1.png", "4.png", "7.png"]
    assert found.by_length[50] == {"status": "too short", "reason": "the sequence gives 3 of them"}
    assert len(found.latencies_ms) == len(found.poses) == 3
    assert walk(Knower(POSES), Room(POSES), Protocol("rgbd", lengths=(2, 50))).used == ["0.png", "1.png"]


def test_running_out_of_memory_keeps_what_was_scored_and_marks_the_rest() -> None:
    found = walk(Knower(POSES, memory=7), Room(POSES), Protocol("rgbd", lengths=(5, 10, 12), cloud_points=500))
    assert found.out_of_memory_at == 7
    assert [found.by_length[n]["status"] for n in (5, 10, 12)] == ["ok", "out of memory", "out of memory"]
    assert "after 7 frames" in found.by_length[10]["reason"]
    assert [name for name, _ in found.skipped] == [f"{i}.png" for i in range(7, 12)]
    assert found.by_length[5]["ate_sim3"] < 1e-6


def test_frames_that_cannot_be_read_are_named_and_shorten_the_walk() -> None:
    found = walk(Knower(POSES), Room(POSES, broken=(3, 4)), Protocol("rgbd", lengths=(5, 12), cloud_points=500))
    assert [name for name, why in found.skipped if "cut short" in why] == ["3.png", "4.png"]
    assert found.by_length[12] == {"status": "too short", "reason": "only 10 frames could be read"}
    assert found.by_length[10]["status"] == "ok" and found.by_length[5]["frames"] == 5


# --- degenerate truth and lost predictions: a stated value or a named reason ---


def lost(what: str) -> Callable[[int, Prediction], Prediction]:
    return lambda i, p: replace(p, **{what: getattr(p, what) * torch.nan}) if i in (2, 3) else p


def check_reasons(figures: dict[str, Any]) -> None:
    """Nothing is None without a reason."""
    missing = {name for name in ALL if figures[name] is None}
    assert missing <= set(figures["reasons"]), missing - set(figures["reasons"])


def still(frames: int) -> np.ndarray:
    return np.tile(POSES[0], (frames, 1, 1))


def test_a_true_camera_that_stands_still() -> None:
    figures = end(Knower(POSES), Room(still(12)))
    check_reasons(figures)
    assert (figures["spread"], figures["ate_sim3"]) == (0, pytest.approx(0, abs=1e-9))
    assert "stands still" in figures["reasons"]["ate_over_spread"]
    assert "degenerate" in figures["reasons"]["ate_sim3"]


def test_a_predicted_camera_that_stands_still_scores_the_spread() -> None:
    figures = end(Knower(still(12)), Room(POSES))
    check_reasons(figures)
    assert figures["ate_sim3"] == pytest.approx(figures["spread"])
    assert "the published program refuses" in figures["reasons"]["ate_sim3"]


def test_one_frame() -> None:
    figures = end(Knower(POSES), Room(POSES[:1]))
    check_reasons(figures)
    assert figures["ate_sim3"] is None and "one pose" in figures["reasons"]["ate_sim3"]
    assert figures["absrel_scale"] < 1e-6 and figures["acc"] < 1e-5


def test_no_valid_true_depth() -> None:
    figures = end(Knower(POSES), Room(POSES, keep_depth=lambda i: False))
    check_reasons(figures)
    assert figures["absrel_scale"] is None and "no pixel has a valid true depth" in figures["reasons"]["absrel_scale"]
    assert figures["acc"] is None and figures["ate_sim3"] < 1e-6


def test_true_poses_that_are_missing_or_not_finite_are_left_out_and_counted() -> None:
    poses = POSES.copy()
    poses[0], poses[5, 0, 3] = np.nan, -np.inf
    figures = end(Knower(POSES), Room(poses, keep_pose=lambda i: i != 7, keep_depth=lambda i: i not in (0, 5)))
    check_reasons(figures)
    assert (figures["poses_compared"], figures["poses_without_truth"]) == (9, 3)
    assert figures["ate_sim3"] < 1e-6 and figures["rot_deg"] < 1e-5 and figures["acc"] < 1e-4
    none = end(Knower(POSES), Room(POSES, keep_pose=lambda i: False))
    check_reasons(none)
    assert none["ate_sim3"] is None and none["absrel_scale"] < 1e-6


def test_a_lost_pose_scores_as_a_standing_camera() -> None:
    figures = end(Knower(POSES, spoil=lost("world_from_cam")), Room(POSES))
    check_reasons(figures)
    assert figures["ate_sim3"] == figures["spread"] and figures["poses_lost"] == 2
    assert figures["rot_deg"] == pytest.approx(2 * 180 / 11)
    assert "2 predicted poses are not finite" in figures["reasons"]["ate_sim3"]
    assert figures["cloud_points_lost"] > 0 and "left out" in figures["reasons"]["cloud_points_lost"]


def test_fewer_pixels_are_evenly_chosen_and_counted() -> None:
    figures = end(Knower(POSES, unit=2), Room(POSES), depth_pixels=1000)
    assert 500 < figures["depth_pixels"] <= 1000
    assert figures["absrel_scale"] < 1e-6 and figures["absrel_metric"] == pytest.approx(1)
    whole, part = (end(Knower(POSES), Room(POSES), depth_pixels=n) for n in (0, 3000))
    assert part["absrel_constant"] == pytest.approx(whole["absrel_constant"], rel=0.05)


def test_every_frame_keeps_the_same_share_of_its_pixels() -> None:
    """Else the medians that align clouds would lean towards frames with little depth."""
    gathered, room, stream = Gathered(Protocol("rgbd", cloud_points=400, depth_pixels=2000)), Room(POSES), Knower(POSES)
    known = []
    for i in range(12):
        depth = room[i].depth
        assert depth is not None
        depth[: 2 + 2 * i] = 0
        frame = replace(room[i], depth=depth)
        known.append((depth > 0).sum())
        gathered.add(frame, stream.step(Frame(frame.image, frame.time, frame.index, frame.name)), None)
    frames = gathered.frames()
    for kept, most in (([len(f.depth["true"]) for f in frames], 2000), ([len(f.cloud["true"]) for f in frames], 800)):
        np.testing.assert_allclose(kept, most / sum(known) * np.array(known), atol=3)
        assert sum(kept) == pytest.approx(most, abs=5)


def test_an_error_that_is_not_about_memory_is_not_taken_for_it() -> None:
    def broken(i: int, p: Prediction) -> Prediction:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="do not fit"):
        walk(Knower(POSES, spoil=broken), Room(POSES), Protocol("rgbd"))


def test_lost_depth_scores_as_zero() -> None:
    figures = end(Knower(POSES, spoil=lost("depth")), Room(POSES))
    assert figures["depth_pixels_lost"] == figures["depth_pixels"] // 6
    for fit in depth_score.FITS:
        assert figures[f"absrel_{fit}"] == pytest.approx(1 / 6, abs=1e-3)
    nothing = end(Knower(POSES, spoil=lambda i, p: replace(p, depth=p.depth * 0)), Room(POSES))
    check_reasons(nothing)
    assert (nothing["absrel_scale"], nothing["delta1_metric"]) == (1, 0)


def test_an_empty_sequence_gives_an_empty_walk_with_a_reason() -> None:
    nothing = {"status": "no frame", "reason": "no frame of the sequence can be used", "whole": 0}
    assert walk(Knower(POSES), Room(POSES[:0]), Protocol("rgbd")) == Walk(by_length={0: nothing})


@pytest.mark.parametrize(
    ("options", "said"),
    [({"stride": 0}, "stride 0"), ({"start": -1}, "start -1"), ({"max_frames": 0}, "max_frames 0"),
     ({"lengths": (0, 5)}, "lengths"), ({"cloud_points": -1}, "cloud_points -1")],
)  # fmt: skip
def test_protocols_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Protocol("rgbd", **options)


def test_depth_limits_are_those_of_the_published_programs() -> None:
    far = Protocol("bonn").depth_limits, Protocol("sintel").depth_limits, Protocol("kitti").depth_limits
    assert far == ((70.0, None), (70.0, 70.0), (None, None))
