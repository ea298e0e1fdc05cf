# SPDX-License-Identifier: Apache-2.0
"""Geometry against the goldens of the conformance kit; small copies of them lie under tests/data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from longtake.geometry import activations, focal, pose, rays, rotation
from longtake.geometry.camera import intrinsics_from_focal, principal_point

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "geometry"
KIT = ROOT.parent / "shared" / "kit"
NAMES = ["activations", "chain", "focal", "pose", "raymap"]

# Largest deviation over max |golden|. The kit asks for 1e-9 in float64; 2e-5 is its ceiling in float32.
ALLOWED = {torch.float64: 1e-12, torch.float32: 2e-6}
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def golden(name: str, dtype: torch.dtype) -> dict[str, Tensor]:
    tensors = load_file(DATA / f"{name}.safetensors")
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()}


def check(actual: Tensor, expected: Tensor, *, factor: float = 1.0) -> None:
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    error = (actual - expected).abs().max()
    assert error <= factor * ALLOWED[actual.dtype] * expected.abs().max(), f"largest error {error:.3e}"


@pytest.mark.parametrize("name", NAMES)
def test_copies_are_the_kits(name: str) -> None:
    original = KIT / "recurrent" / "postproc" / f"{name}.safetensors"
    if not original.exists():
        pytest.skip(f"no conformance kit at {original}")
    assert original.read_bytes() == (DATA / original.name).read_bytes()


@dtypes
def test_activations(dtype: torch.dtype) -> None:
    g = golden("activations", dtype)
    raw = g["raw"].movedim(1, -1)
    for mode in ("exp", "square", "linear"):
        check(activations.activate_points(raw[..., :3], mode), g[f"pts_{mode}"])
        check(activations.activate_points(raw[..., :3], mode, positive_z=True), g[f"pts_{mode}_posz"])
    check(activations.activate_confidence(raw[..., 3]), g["conf_exp_1_inf"])
    check(activations.activate_confidence(raw[..., 3], "exp", 1, 30), g["conf_exp_1_30"])
    check(activations.activate_confidence(raw[..., 3], "sigmoid", 0, 1), g["conf_sigmoid_0_1"])
    check(activations.activate_confidence(raw[..., 3], "sigmoid", 1, 5), g["conf_sigmoid_1_5"])
    check(activations.activate_rgb(raw[..., :3]), g["rgb"])


@dtypes
def test_poses(dtype: torch.dtype) -> None:
    g = golden("pose", dtype)
    check(activations.activate_pose(g["head_raw"]), g["camera_pose"])
    check(activations.activate_pose(g["head_raw"], "square"), g["camera_pose_square"])
    check(activations.compress_pose(g["camera_pose_exp_inverse_input"]), g["camera_pose_exp_inverse"])
    check(pose.world_from_cam(g["camera_pose"]), g["c2w"])
    check(pose.world_from_cam(g["head_raw"]), g["c2w_unnormalised"])
    check(pose.pose7_from_matrix(g["matrices"]), g["matrices_encoded"])
    check(rotation.standardise_quat_wxyz(g["quat_in"]), g["quat_standard"])
    check(rotation.matrix_from_quat_wxyz(g["quat_in"]), g["quat_matrix"])
    q, t = pose.relative_pose(g["rel.q1"], g["rel.t1"], g["rel.q2"], g["rel.t2"])
    check(q, g["rel.q"])
    check(t, g["rel.t"])
    check(pose.transform(g["geotrf.T"], g["geotrf.pts"]), g["geotrf.out"])


@dtypes
def test_chain_over_resets(dtype: torch.dtype) -> None:
    g = golden("chain", dtype)
    world_from_cam, kept = pose.chain_poses(g["camera_pose"], g["reset"])
    assert kept.tolist() == g["kept_views"].tolist()
    check(world_from_cam, g["out.c2w"])
    points = g["pts3d_self"][kept]
    check(pose.transform(world_from_cam, points), g["out.pts3d_world"])
    check(g["conf_self"][kept], g["out.conf"])
    f = focal.focal_weiszfeld(points)
    check(f, g["out.focal"], factor=10)
    height, width = points.shape[1:3]
    check(intrinsics_from_focal(f, height, width), g["out.intrinsics"], factor=10)
    check(g["out.pp"].new_tensor(principal_point(height, width)).expand(len(kept), 2), g["out.pp"])
    check(pose.running_product(g["cumprod_in"]), g["cumprod_out"])


@dtypes
@pytest.mark.parametrize("case", ["0", "1", "2"])
def test_focal(case: str, dtype: torch.dtype) -> None:
    g = golden("focal", dtype)
    points, centre = g[f"{case}.pts3d"], g[f"{case}.pp"]
    check(focal.focal_weiszfeld(points, centre), g[f"{case}.weiszfeld"])
    check(focal.focal_weiszfeld(points, centre, min_focal=1.0, max_focal=1.2), g[f"{case}.weiszfeld_clip"])
    check(focal.focal_median(points, centre), g[f"{case}.median"])


@dtypes
@pytest.mark.parametrize("case", ["0", "1"])
def test_ray_maps(case: str, dtype: torch.dtype) -> None:
    g = golden("raymap", dtype)
    height, width = g[f"{case}.ray_map"].shape[:2]
    made = rays.ray_map(g[f"{case}.c2w"], g[f"{case}.K"], height, width, g[f"{case}.c2w_first"])
    check(made, g[f"{case}.ray_map"])


def metrics_focal() -> tuple[dict, dict]:
    folder = KIT / "metrics" / "focal"
    if not folder.exists():
        pytest.skip(f"no conformance kit at {folder}")
    with np.load(folder / "focal_pointmaps.npz") as maps:
        return json.loads((folder / "focal_metrics.json").read_text()), {key: maps[key] for key in maps.files}


def test_focal_against_the_evaluation_kit() -> None:
    metrics, maps = metrics_focal()
    assert metrics["cases"]
    for name, case in metrics["cases"].items():
        points = torch.from_numpy(maps[name])
        centre = torch.tensor(case["pp"])
        for value, wanted, accept in [
            (focal.focal_weiszfeld(points, centre), case["weiszfeld_f32"], 2e-6),
            (focal.focal_weiszfeld(points.double(), centre), case["weiszfeld_f64"], 1e-10),
            (
                focal.focal_weiszfeld(points, centre, min_focal=0.5, max_focal=3.5),
                case["weiszfeld_clipped_0.5_3.5"],
                2e-6,
            ),
            (focal.focal_median(points, centre), case["median_f32"], 2e-6),
        ]:
            assert float(value) == pytest.approx(wanted, rel=accept), name
        assert focal.focal_base(*points.shape[:2]) == pytest.approx(case["focal_base_60deg"], rel=1e-12)


def test_maps_in_one_call_are_independent() -> None:
    _, maps = metrics_focal()
    together = torch.stack([torch.from_numpy(maps[name]) for name in ("clean", "noisy", "outliers_zero_depth")])
    alone = torch.stack([focal.focal_weiszfeld(one) for one in together])
    torch.testing.assert_close(focal.focal_weiszfeld(together), alone, rtol=2e-6, atol=0)
