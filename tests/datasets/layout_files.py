# SPDX-License-Identifier: Apache-2.0
"""A take of the synthetic world, and plain writers of the layouts that the library itself does not write."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from longtake.datasets.write import Take, encode, write_take
from longtake.synthetic.config import worlds
from longtake.synthetic.takes import write_take as write_rgbd
from longtake.synthetic.world import make_batch

SIZE = (96, 72)  # width, height
FRAMES = 10
WORLD = np.array([[0.0, 0, 1, 2.5], [-1, 0, 0, -1.2], [0, -1, 0, 0.7], [0, 0, 0, 1]])  # no axis stays where it was
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


@cache
def take(seed: int = 3) -> Take:
    """Draw one walk. Its world is not the first camera, so that a reader that normalises poses would show."""
    b = make_batch(worlds()["first"], 1, FRAMES, SIZE[1], SIZE[0], "cpu", torch.Generator().manual_seed(seed))
    images = (b.images[0] * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return Take(
        images, b.depth[0].numpy(), WORLD @ b.world_from_cam[0].double().numpy(), b.intrinsics[0].double().numpy()
    )


def rgbd(out: Path, take: Take) -> None:
    images = torch.from_numpy(take.images).permute(0, 3, 1, 2).float() / 255
    parts = (torch.from_numpy(part) for part in (take.depth, take.world_from_cam, take.intrinsics))
    write_rgbd(out / "take_00", images, *parts, depth_stride=2)


def _picture(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def nrgbd(out: Path, take: Take) -> None:
    scene, poses = out / "whiteroom", []
    for i, pose in enumerate(take.world_from_cam):
        _picture(scene / "images" / f"img{i}.png", take.images[i])
        (scene / "depth").mkdir(exist_ok=True)
        encode(take.depth[i], 1000).save(scene / "depth" / f"depth{i}.png")
        poses.append(pose @ FLIP)
    np.savetxt(scene / "poses.txt", np.concatenate(poses))
    (scene / "focal.txt").write_text(f"{take.intrinsics[0, 0]:.9f}\n")


def sintel(out: Path, take: Take) -> None:
    root = out / "training"
    for kind in ("depth", "camdata_left"):
        (root / kind / "alley_2").mkdir(parents=True)
    for i, pose in enumerate(take.world_from_cam):
        name = f"frame_{i + 1:04d}"
        _picture(root / "final" / "alley_2" / f"{name}.png", take.images[i])
        z = take.depth[i].astype("<f4")
        head = struct.pack("<fii", 202021.25, z.shape[1], z.shape[0])
        (root / "depth" / "alley_2" / f"{name}.dpt").write_bytes(head + z.tobytes())
        numbers = [*take.intrinsics.ravel(), *np.linalg.inv(pose)[:3].ravel()]
        (root / "camdata_left" / "alley_2" / f"{name}.cam").write_bytes(struct.pack("<f21d", 202021.25, *numbers))


def _quat_wxyz(rotation: np.ndarray) -> np.ndarray:
    """From the eigenvector of Bar-Itzhack's symmetric matrix: another way than the library's."""
    r = rotation
    k = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] - r[1, 2]],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r.trace()],
        ]
    )
    x, y, z, w = np.linalg.eigh(k)[1][:, -1]
    return np.array([w, x, y, z])


def colmap(out: Path, take: Take, binary: bool) -> None:
    model = out / "sparse" / "0"
    model.mkdir(parents=True)
    k, (width, height) = take.intrinsics, SIZE
    camera = (k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5)
    text = ["# two lines an image"]
    data = struct.pack("<Q", len(take.images))
    for i, pose in reversed(list(enumerate(take.world_from_cam))):  # the order of ids is not that of the names
        name = f"frame{i}.png"
        _picture(out / "images" / name, take.images[i])
        maps = out / "stereo" / "depth_maps"
        maps.mkdir(parents=True, exist_ok=True)
        z = take.depth[i].astype("<f4")
        (maps / f"{name}.geometric.bin").write_bytes(f"{width}&{height}&1&".encode() + z.tobytes())
        cam_from_world = np.linalg.inv(pose)
        values = [*_quat_wxyz(cam_from_world[:3, :3]), *cam_from_world[:3, 3]]
        points = [(1.5, 2.5, -1), (3.0, 4.0, 7)][: i % 3]  # none, one, two
        text += [f"{i + 1} {' '.join(map(repr, map(float, values)))} 4 {name}"]
        text += [" ".join(f"{x} {y} {key}" for x, y, key in points)]
        data += struct.pack("<I7dI", i + 1, *values, 4) + name.encode() + b"\0" + struct.pack("<Q", len(points))
        data += b"".join(struct.pack("<ddq", *point) for point in points)
    if binary:
        (model / "cameras.bin").write_bytes(struct.pack("<QiiQQ4d", 1, 4, 1, width, height, *camera))
        (model / "images.bin").write_bytes(data)
    else:
        numbers = " ".join(repr(float(value)) for value in camera)
        (model / "cameras.txt").write_text(f"# one line a camera\n4 PINHOLE {width} {height} {numbers}\n")
        (model / "images.txt").write_text("\n".join(text) + "\n")


def nerfstudio(out: Path, take: Take) -> None:
    k, frames = take.intrinsics, []
    for i, pose in enumerate(take.world_from_cam):
        _picture(out / "images" / f"frame_{i}.png", take.images[i])
        (out / "depth").mkdir(exist_ok=True)
        encode(take.depth[i], 1000).save(out / "depth" / f"frame_{i}.png")
        entry = {"file_path": f"images/frame_{i}.png", "depth_file_path": f"depth/frame_{i}.png"}
        frames.append({**entry, "transform_matrix": (pose @ FLIP).tolist()})
    camera = {"fl_x": k[0, 0], "fl_y": k[1, 1], "cx": k[0, 2] + 0.5, "cy": k[1, 2] + 0.5, "w": SIZE[0], "h": SIZE[1]}
    (out / "transforms.json").write_text(json.dumps({**camera, "camera_model": "OPENCV", "frames": frames[::-1]}))


def _ours(layout: str) -> Callable[[Path, Take], None]:
    return lambda out, take: void(write_take(layout, out, 0, take))


def void(_: object) -> None:
    """Forget a result."""


# name of the case: (data set, writer, depth scale of the files or None for float32, step of the depth pixels)
LAYOUTS: dict[str, tuple[str, Callable[[Path, Take], None], float | None, int]] = {
    "rgbd": ("rgbd", rgbd, 1000, 2),
    "tum": ("tum", _ours("tum"), 5000, 1),
    "bonn": ("bonn", _ours("bonn"), 5000, 1),
    "7scenes": ("7scenes", _ours("7scenes"), 1000, 1),
    "scannet": ("scannet", _ours("scannet"), 1000, 2),
    "kitti": ("kitti", _ours("kitti"), 256, 1),
    "kitti-odometry": ("kitti-odometry", _ours("kitti-odometry"), None, 0),
    "nrgbd": ("nrgbd", nrgbd, 1000, 1),
    "sintel": ("sintel", sintel, None, 1),
    "colmap-text": ("colmap", partial(colmap, binary=False), None, 1),
    "colmap-binary": ("colmap", partial(colmap, binary=True), None, 1),
    "nerfstudio": ("nerfstudio", nerfstudio, 1000, 1),
}
