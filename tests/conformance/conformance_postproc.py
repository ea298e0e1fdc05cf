# SPDX-License-Identifier: Apache-2.0
"""Goldens of single functions (`postproc/` of the recurrent kit, `focal/` of the metrics kit)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from conformance_fast3r import check_fast3r_geometry, check_fast3r_images
from conformance_metrics import check_metrics_pnp
from conformance_report import DTYPES, FAIL, NOT_BUILT, NOTE, Report, allowed_error, allowed_half_rope_error
from conformance_vggt_functions import RUNS, check_vggt_function, check_vggt_images
from safetensors.torch import load_file
from torch import Tensor

from longtake.geometry import activations, focal, pose, rays, rotation
from longtake.geometry.camera import intrinsics_from_focal, principal_point
from longtake.memory.recurrent import state_positions
from longtake.nn.rope import RopeTable, rope_table, rotate, rotate_rounded
from longtake.nn.rope3d import rope3d_table
from longtake.sources.picture import read_picture
from longtake.tokenize.images import prepare, to_tensor

Tensors = dict[str, Tensor]


def post_process(world_from_cam: Tensor, points_self: Tensor, confidence: Tensor) -> Tensors:
    """Return what the published demo makes of kept views (K, H, W, ...): section 8.2 of the kit."""
    height, width = points_self.shape[1:3]
    f = focal.focal_weiszfeld(points_self)
    return {
        "c2w": world_from_cam,
        "focal": f,
        "pp": f.new_tensor(principal_point(height, width)).expand(len(f), 2),
        "intrinsics": intrinsics_from_focal(f, height, width),
        "pts3d_world": pose.transform(world_from_cam, points_self),
        "conf": confidence,
    }


def run_activations(g: Tensors) -> Tensors:
    raw, out = g["raw"].movedim(1, -1), {}
    for name in g:
        if match := re.fullmatch(r"pts_(exp|square|linear)(_posz)?", name):
            out[name] = activations.activate_points(raw[..., :3], match[1], positive_z=bool(match[2]))  # type: ignore[arg-type]
        elif match := re.fullmatch(r"conf_(exp|sigmoid)_([^_]+)_([^_]+)", name):
            out[name] = activations.activate_confidence(raw[..., 3], match[1], float(match[2]), float(match[3]))  # type: ignore[arg-type]
    return out | {"rgb": activations.activate_rgb(raw[..., :3])}


def run_chain(g: Tensors) -> Tensors:
    world_from_cam, kept = pose.chain_poses(g["camera_pose"], g["reset"])
    made = post_process(world_from_cam, g["pts3d_self"][kept], g["conf_self"][kept])
    out = {f"out.{name}": tensor for name, tensor in made.items()} | {"kept_views": kept}
    return out | {"cumprod_out": pose.running_product(g["cumprod_in"])} if "cumprod_in" in g else out


def run_focal(g: Tensors) -> Tensors:
    out = {}
    for case in {name.split(".")[0] for name in g}:
        points, centre = g[f"{case}.pts3d"], g[f"{case}.pp"]
        out[f"{case}.weiszfeld"] = focal.focal_weiszfeld(points, centre)
        out[f"{case}.weiszfeld_clip"] = focal.focal_weiszfeld(points, centre, min_focal=1.0, max_focal=1.2)
        out[f"{case}.median"] = focal.focal_median(points, centre)
    return out


def run_pose(g: Tensors) -> Tensors:
    out = {
        "camera_pose": activations.activate_pose(g["head_raw"]),
        "camera_pose_square": activations.activate_pose(g["head_raw"], "square"),
        "c2w": pose.world_from_cam(activations.activate_pose(g["head_raw"])),
        "c2w_unnormalised": pose.world_from_cam(g["head_raw"]),
        "camera_pose_exp_inverse": activations.compress_pose(g["camera_pose_exp_inverse_input"]),
        "matrices_encoded": pose.pose7_from_matrix(g["matrices"]),
        "quat_standard": rotation.standardise_quat_wxyz(g["quat_in"]),
        "quat_matrix": rotation.matrix_from_quat_wxyz(g["quat_in"]),
        "geotrf.out": pose.transform(g["geotrf.T"], g["geotrf.pts"]),
    }
    out["rel.q"], out["rel.t"] = pose.relative_pose(g["rel.q1"], g["rel.t1"], g["rel.q2"], g["rel.t2"])
    return out


def run_raymap(g: Tensors) -> Tensors:
    out = {}
    for case in {name.split(".")[0] for name in g}:
        height, width = g[f"{case}.ray_map"].shape[:2]
        made = rays.ray_map(g[f"{case}.c2w"], g[f"{case}.K"], height, width, g[f"{case}.c2w_first"])
        out[f"{case}.ray_map"] = made
    return out


def run_rope(g: Tensors) -> Tensors:
    out = {}
    for case in {name.rpartition(".")[0] for name in g if name.startswith("rope2d.")}:
        tokens = g[f"{case}.tokens"]
        table = rope_table(g[f"{case}.pos"], tokens.shape[-1], tokens.dtype)
        table = RopeTable(table.cos.unsqueeze(1), table.sin.unsqueeze(1))  # the same for every head
        out[f"{case}.out"], out[f"{case}.out_half"] = rotate(tokens, table), rotate_rounded(tokens, table)
    for case in {name.rpartition(".")[0] for name in g if name.startswith("rope3d.")}:
        tokens, points = g[f"{case}.tokens"], g[f"{case}.pos"]
        lead = tokens.shape[-2] == points.shape[-2] + 1
        out[f"{case}.out"] = rotate(tokens, rope3d_table(points, tokens.shape[-1], tokens.dtype, lead=lead))
    return out


def run_state_pos(g: Tensors) -> Tensors:
    return {name: state_positions(int(name.split(".")[1]), name.split(".")[0]) for name in g}


FUNCTIONS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {  # file -> function, pattern of the names it is fed
    "activations": (run_activations, r"raw"),
    "chain": (run_chain, r"camera_pose|reset|pts3d_self|conf_self|cumprod_in"),
    "focal": (run_focal, r"\d+\.(pts3d|pp|true_focal)"),
    "pose": (run_pose, r"head_raw|matrices|quat_in|camera_pose_exp_inverse_input|rel\.[qt][12]|geotrf\.(T|pts)"),
    "raymap": (run_raymap, r"\d+\.(K|c2w|c2w_first)"),
    "rope": (run_rope, r"rope\dd\.\d+\.(tokens|pos)"),
    "state_pos": (run_state_pos, r"-"),
}


def check_postproc(report: Report, folder: Path, dtypes: list[str], only: str | None = None) -> None:
    """Check every file of a postproc folder that one of the functions above knows; others are not built."""
    case = folder.name
    for path in sorted(folder.glob("*")):
        if only and only not in (case, path.stem):
            continue
        if path.name == "images.json":
            check_images(report, case, path)
        elif path.suffix == ".safetensors" and path.stem in FUNCTIONS:
            for dtype in dtypes:
                _check_file(report, case, path, dtype)
        elif path.suffix == ".safetensors" and path.stem in RUNS:
            for dtype in dtypes:
                check_vggt_function(report, case, path, dtype)
        elif path.name == "fast3r_geometry.safetensors":
            for dtype in dtypes:
                check_fast3r_geometry(report, path, dtype)
        elif path.name == "preprocess.npz":
            check_vggt_images(report, case, path)
            check_fast3r_images(report, path)
        elif path.suffix in (".safetensors", ".npz") and path.stem != "image_samples":
            report.remark(case, path.stem, "*", NOT_BUILT, "no function of this library is compared with it yet")


def _check_file(report: Report, case: str, path: Path, dtype: str) -> None:
    function, inputs = FUNCTIONS[path.stem]
    stored = load_file(path)
    cast = {name: t.to(DTYPES[dtype]) if t.is_floating_point() else t for name, t in stored.items()}
    made = function(cast)
    golden = {name: t for name, t in stored.items() if not re.fullmatch(inputs, name)}
    for name in [name for name in golden if name.endswith(".out_half")]:
        half = golden.pop(name)
        if dtype == "float32" and name in made:  # the rounding is only defined on top of float32
            report.compare(case, path.stem, name, dtype, made[name], half, allowed_half_rope_error(half, None))
    report.compare_all(case, path.stem, dtype, made, golden)


def check_images(report: Report, case: str, path: Path) -> None:
    """Check the image loader: SHA-256 of the result where Pillow's version is the kit's, grey levels otherwise."""
    listing = json.loads(path.read_text())
    samples_file = path.with_name("image_samples.safetensors")
    samples = load_file(samples_file) if samples_file.exists() else {}
    for row in listing["rows"]:
        name = f"{row['file']}|{row['size']}|{row['loader']}"
        if "error" in row:
            report.remark(case, "images", name, NOTE, "the official loader raises an error here; nothing to compare")
            continue
        made, _ = prepare(
            read_picture(path.parent / "images" / row["file"]),
            row["size"],
            square_ok=row["loader"] == "load_images_square_ok",
            mode="resize" if row["loader"] == "eval_resize" else "crop",
            short_side_crop=row["size"] == 224,
        )
        floats = to_tensor(made)[None].double()
        if list(floats.shape) != row["shape"] or list(made.shape[:2]) != list(np.ravel(row["true_shape"])):
            report.remark(case, "images", name, FAIL, f"shape {tuple(floats.shape)}, wanted {row['shape']}", "uint8")
            continue
        moments = torch.stack((floats.mean(), floats.std()))
        wanted = torch.tensor([row["mean"], row["std"]], dtype=torch.float64)
        same = hashlib.sha256(np.ascontiguousarray(made).tobytes()).hexdigest() == row["u8_sha256"]
        close = torch.zeros(1) if same else torch.ones(1)
        report.compare(case, "images", f"{name} sha256", "uint8", close, torch.zeros(1), 0.0)
        report.compare(case, "images", f"{name} moments", "uint8", moments, wanted, 1e-6)
        if name in samples:
            sample = torch.from_numpy(np.ascontiguousarray(made[::16, ::16]))
            report.compare(case, "images", f"{name} sample", "uint8", sample, samples[name], 0.0)


def check_metrics_focal(report: Report, folder: Path, dtypes: list[str]) -> None:
    """Check the focal estimators against the metrics kit (its section 4: 1e-10 in float64, 2e-6 in float32)."""
    case = f"metrics/{folder.name}"
    listing = json.loads((folder / "focal_metrics.json").read_text())
    with np.load(folder / "focal_pointmaps.npz") as maps:
        for name, row in listing["cases"].items():
            for dtype in dtypes:
                points, centre = torch.from_numpy(maps[name]).to(DTYPES[dtype]), torch.tensor(row["pp"])
                made = {f"weiszfeld_{'f64' if dtype == 'float64' else 'f32'}": focal.focal_weiszfeld(points, centre)}
                if dtype == "float32":
                    made["median_f32"] = focal.focal_median(points, centre)
                    for key in row:
                        if match := re.fullmatch(r"weiszfeld_clipped_([^_]+)_([^_]+)", key):
                            low, high = float(match[1]), float(match[2])
                            made[key] = focal.focal_weiszfeld(points, centre, min_focal=low, max_focal=high)
                for key, value in made.items():
                    golden = torch.tensor(row[key], dtype=torch.float64)
                    accept = (1e-10 if dtype == "float64" else 2e-6) * abs(row[key])
                    report.compare(case, name, key, dtype, value, golden, accept)
        for key in [key for key in listing if key.startswith("batch_")]:  # maps in one call, each independent
            names = [next(name for name in listing["cases"] if name.startswith(word)) for word in key.split("_")[1:]]
            stacked, centre = (
                torch.from_numpy(np.stack([maps[name] for name in names])),
                listing["cases"][names[0]]["pp"],
            )
            golden = torch.tensor(listing[key], dtype=torch.float64)
            value = focal.focal_weiszfeld(stacked, torch.tensor(centre))
            report.compare(case, "batch", key, "float32", value, golden, 2e-6 * float(golden.min()))
    if "pnp" in listing:
        check_metrics_pnp(report, folder, listing["pnp"])


__all__ = ["allowed_error", "check_images", "check_metrics_focal", "check_postproc", "post_process"]
