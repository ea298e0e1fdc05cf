# SPDX-License-Identifier: Apache-2.0
"""A surface: depth maps fused into a truncated signed distance (Curless and Levoy 1996), its zero level as triangles.

Open3D (extra `mesh`) keeps the distance in a sparse grid of voxels, so memory follows the surface, not the room.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from longtake.errors import InputError, MissingExtra
from longtake.files import replacing
from longtake.outputs.depth import read_depth
from longtake.outputs.exports.points import surest
from longtake.outputs.pictures import read_confidence
from longtake.outputs.take import Take, TakeFrame

_BLOCK = 8  # voxels along a side of the blocks that the grid is made of
_BAND = 4.0  # voxels on either side of the surface that have a distance
_FOOTPRINTS = 1.5  # width of a voxel in pixels of the depth maps, at the median depth
_FINEST = 512, 2048  # voxels along the scene: at most so many by default, and at most so many at all
_STEEP = 0.1  # depth that changes by so much of itself from pixel to pixel is an edge, where models smear
_SAMPLE = 64  # frames that tell the size of the scene


def write_mesh(path: Path, take: Take, *, keep_percentile: float = 100.0, voxel: float | None = None) -> None:
    """Write a PLY of triangles with colours and normals, in the take's world; normals face the cameras.

    keep_percentile: of each frame, the surest so many percent of the pixels that the cloud was drawn from.
    voxel: side in units of the take; by default one and a half pixels at the median depth, and at most 512 along the
    scene. Left out are pixels at edges of depth and what hardly any frame saw: one alone in takes of 10 frames or more,
    two alone in those of 20 or more.
    Raises InputError, OSError, MissingExtra.
    """
    o3d = _open3d()
    if not 0 < keep_percentile <= 100:
        raise InputError(f"keep percentile {keep_percentile:g}: give more than 0 and at most 100 (all pixels).")
    share = keep_percentile / 100 * float(take.manifest.get("cloud", {}).get("keep_percentile", 100.0))
    side = choose_voxel(take, voxel)
    kinds = (o3d.core.float32,) * 3
    cpu = o3d.core.Device("CPU:0")
    grid = o3d.t.geometry.VoxelBlockGrid(("tsdf", "weight", "color"), kinds, ((1), (1), (3)), side, _BLOCK, 10_000, cpu)
    for frame in take.posed:
        depth = usable_depth(take, frame, share)
        if not depth.any():
            continue
        with Image.open(_picture(take, frame)) as picture:
            color = np.asarray(picture.convert("RGB"), np.float32) / 255
        pair = [o3d.t.geometry.Image(np.ascontiguousarray(each)) for each in (depth[..., None], color)]
        assert frame.intrinsics is not None and frame.world_from_cam is not None
        lens = o3d.core.Tensor(frame.intrinsics)
        pose = o3d.core.Tensor(np.ascontiguousarray(np.linalg.inv(frame.world_from_cam)))
        reach = (1.0, float(depth.max()) + side, _BAND)
        blocks = grid.compute_unique_block_coordinates(pair[0], lens, pose, *reach)
        grid.integrate(blocks, *pair, lens, lens, pose, *reach)
    views = min(3.0, 1.0 + len(take.posed) // 10)
    mesh = grid.extract_triangle_mesh(views - 0.5) if grid.hashmap().size() else o3d.t.geometry.TriangleMesh()
    if not len(mesh.vertex) or not len(mesh.vertex.positions):
        raise InputError(
            f"{take.folder}: its depth maps agree on no surface. Keep more pixels (--keep-percentile 100) or give a "
            f"larger --voxel than {side:.3g}."
        )
    _write(o3d, path, mesh)


def choose_voxel(take: Take, voxel: float | None = None) -> float:
    """Return the side of a voxel, checked or chosen. Raises InputError where it is no length or far too small."""
    frames = take.posed[:: max(len(take.posed) // _SAMPLE, 1)]
    footprints, places = [], []
    for frame in frames:
        assert frame.intrinsics is not None and frame.world_from_cam is not None
        depth = take.scale * read_depth(frame.files["depth"])
        if (depth > 0).any():
            middle = float(np.median(depth[depth > 0]))
            footprints.append(middle / float(frame.intrinsics[0, 0]))
            place, ahead = frame.world_from_cam[:3, 3], frame.world_from_cam[:3, 2]
            places += [place - middle * np.ones(3), place + middle * np.ones(3), place + middle * ahead]
    if not places:
        raise InputError(f"{take.folder}: no frame has a known depth: there is no surface to fuse.")
    extent = float(np.ptp(np.stack(places), axis=0).max())
    if voxel is None:
        return max(_FOOTPRINTS * float(np.median(footprints)), extent / _FINEST[0])
    if not (np.isfinite(voxel) and voxel > 0):
        raise InputError(f"voxel {voxel:g}: give a length above 0, in {take.unit}.")
    if extent / voxel > _FINEST[1]:
        raise InputError(
            f"voxels of {voxel:g} are too small for a scene that is {extent:.3g} wide: give {extent / _FINEST[1]:.2g} "
            "or more."
        )
    return voxel


def usable_depth(take: Take, frame: TakeFrame, share: float) -> np.ndarray:
    """Return (H, W) float32 depth in units of the take: 0 at edges and but for the surest `share` percent of pixels."""
    depth = np.float32(take.scale) * read_depth(frame.files["depth"])
    known = depth > 0
    steps = [np.abs(np.diff(depth, axis=axis)) for axis in (0, 1)]
    for axis, step in enumerate(steps):
        low, high = np.delete(depth, -1, axis), np.delete(depth, 0, axis)
        steep = step > _STEEP * np.minimum(low, high)  # also beside the unknown, whose depth is 0
        known &= ~np.pad(steep, [(0, int(axis == i)) for i in (0, 1)])
        known &= ~np.pad(steep, [(int(axis == i), 0) for i in (0, 1)])
    if share < 100 and known.any():
        sureness = read_confidence(frame.files["confidence"])
        chosen = np.zeros_like(known)
        chosen[known] = surest(sureness[known], share)
        known = chosen
    return np.where(known, depth, np.float32(0))


def _picture(take: Take, frame: TakeFrame) -> Path:
    if "image" not in frame.files:
        raise InputError(f"{take.folder}: keeps no pictures, which a mesh has its colours from. Reconstruct it again.")
    return frame.files["image"]


def _write(o3d: ModuleType, path: Path, mesh: object) -> None:
    """Write in one move: Open3D goes by the ending, and says by its answer alone that it could not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        named = draft.with_name(draft.name + ".ply")
        try:
            if not o3d.t.io.write_triangle_mesh(str(named), mesh):
                raise OSError("the mesh could not be written")
            named.replace(draft)
        finally:
            named.unlink(missing_ok=True)


def _open3d() -> ModuleType:
    try:
        import open3d  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra("a mesh is fused by Open3D, which is not installed: pip install 'longtake[mesh]'") from error
    return open3d
