# SPDX-License-Identifier: Apache-2.0
"""Goldens of single functions of the full attention kit: pose encoding, unprojection, VGGT's image loader."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conformance_report import DTYPES, FAIL, PASS, Report
from conformance_vggt import compare_mixed
from safetensors.torch import load_file
from torch import Tensor

from longtake.geometry.camera import unproject
from longtake.geometry.pose import inverse, transform
from longtake.geometry.pose_encoding import decode_camera, encode_camera
from longtake.geometry.rotation import quat_wxyz_from_matrix
from longtake.tokenize.images_whole import on_white, pad_to_largest, prepare_padded, prepare_square
from longtake.tokenize.images_wide import prepare_wide

Tensors = dict[str, Tensor]
LIMIT = 1e-5  # "atol = rtol = 1e-5"


def run_pose_encoding(g: Tensors) -> Tensors:
    height, width = (int(side) for side in g["image_size_hw"])
    wxyz = quat_wxyz_from_matrix(g["mat_to_quat_in"])
    made = {
        "pose_enc": encode_camera(g["extrinsics"], g["intrinsics"], height, width),
        "mat_to_quat_out": torch.cat((wxyz[..., 1:], wxyz[..., :1]), -1),
    }
    for prefix, encoding in (("decoded", g["pose_enc"]), ("raw_decoded", g["raw_pose_enc"])):
        cam_from_world, made[f"{prefix}_intrinsics"] = decode_camera(encoding, height, width)
        made[f"{prefix}_extrinsics"] = cam_from_world[..., :3, :]
    flip = (g["mat_to_quat_out"][..., 3:].abs() < 1e-6) & (
        (made["mat_to_quat_out"] * g["mat_to_quat_out"]).sum(-1, True) < 0
    )
    made["mat_to_quat_out"] = torch.where(flip, -made["mat_to_quat_out"], made["mat_to_quat_out"])  # w = 0: any sign
    return made


def run_unproject(g: Tensors) -> Tensors:
    last = torch.tensor([0, 0, 0, 1], dtype=g["extrinsics"].dtype).expand(len(g["extrinsics"]), 1, 4)
    world_from_cam = inverse(torch.cat((g["extrinsics"], last), 1))
    points = unproject(g["depth"][..., 0], g["intrinsics"])
    return {
        "cam_points": points,
        "world_points": transform(world_from_cam, points),
        "extrinsics_inverse": world_from_cam,
        "valid_mask": (g["depth"][..., 0] > 1e-8).to(torch.uint8),
    }


RUNS = {
    "pose_encoding": (
        run_pose_encoding,
        {"extrinsics", "intrinsics", "image_size_hw", "raw_pose_enc", "mat_to_quat_in"},
    ),
    "unproject": (run_unproject, {"depth", "extrinsics", "intrinsics"}),
}


def check_vggt_function(report: Report, case: str, path: Path, dtype: str) -> None:
    """Check one of the files that RUNS names."""
    function, inputs = RUNS[path.stem]
    stored = load_file(path)
    made = function({name: t.to(DTYPES[dtype]) if t.is_floating_point() else t for name, t in stored.items()})
    for name, golden in stored.items():
        if name not in inputs:
            if name in made:
                compare_mixed(report, case, path.stem, name, dtype, made[name], golden, LIMIT)
            else:
                report.remark(case, path.stem, name, FAIL, "a golden that this program does not compute", dtype)


def check_vggt_images(report: Report, case: str, path: Path) -> None:
    """Check VGGT's image loader, by whose rule streams prepare frames, and its other modes: SHA-256 of the result."""
    listing = json.loads(path.with_name("postproc.json").read_text())["preprocess"]
    with np.load(path) as stored:
        for row in listing:
            if row["function"].startswith("load_and_preprocess"):
                count = len(row["in_shapes"])
                coords = stored.get(f"{row['name']}.coords")
                _check_image(report, case, row, [stored[f"{row['name']}.in{i}"] for i in range(count)], coords)


def _check_image(
    report: Report, case: str, row: dict[str, Any], pictures: list[np.ndarray], coords: np.ndarray | None
) -> None:
    size, made = row["target_size"], []
    for picture in pictures:
        rgb = on_white(picture) if picture.shape[2] == 4 else np.broadcast_to(picture, (*picture.shape[:2], 3))
        rgb = np.ascontiguousarray(rgb)
        if row["mode"] == "crop":
            made.append(prepare_wide(rgb, size))
        else:
            made.append(prepare_padded(rgb, size) if row["mode"] == "pad" else prepare_square(rgb, size))
    if coords is not None:  # where the original lies: x1, y1, x2, y2, and its size
        maps = [each for _, each in made]
        corners = [
            [-x, -y, m.original_size[0] * m.scale[0] - x, m.original_size[1] * m.scale[1] - y, *m.original_size]
            for m in maps
            for x, y in [m.offset]
        ]
        ours, wanted = torch.tensor(corners), torch.from_numpy(coords)
        report.compare(case, "preprocess", f"{row['name']}.coords", "float32", ours, wanted, 1e-6)
    planes = np.stack([picture for picture, _ in pad_to_largest(made)]).transpose(0, 3, 1, 2)
    planes = np.ascontiguousarray(planes)
    same = hashlib.sha256(planes.tobytes()).hexdigest() == row["sha256_u8"]
    text = "the SHA-256 is the kit's" if same else f"another SHA-256, shape {planes.shape}, wanted {row['out_shape']}"
    report.remark(case, "preprocess", row["name"], PASS if same else FAIL, text, "uint8")
