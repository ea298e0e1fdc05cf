# SPDX-License-Identifier: Apache-2.0
"""The formats by name, and `export`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from longtake.errors import InputError, OutputError
from longtake.frame import Frame
from longtake.outputs.align import align_take, metric_take, scale_take
from longtake.outputs.exports.colmap import write_binary, write_text
from longtake.outputs.exports.depths import write_npz, write_png16
from longtake.outputs.exports.gltf import write_glb
from longtake.outputs.exports.mesh import write_mesh
from longtake.outputs.exports.nerfstudio import write_nerfstudio
from longtake.outputs.exports.points import Points, select_points
from longtake.outputs.exports.rerun_file import write_rrd
from longtake.outputs.exports.splat import write_splat
from longtake.outputs.exports.trajectories import write_euroc, write_kitti, write_tum
from longtake.outputs.exports.views import View, write_views
from longtake.outputs.ply import PlyWriter
from longtake.outputs.take import Take, read_take
from longtake.outputs.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Job:
    """One export: what, where to, and the options that its format may use."""

    take: Take
    to: Path
    choose: Callable[[], Points]  # the chosen points, read only where a format wants them
    originals: Iterable[Frame] | None
    depth_scale: float
    keep_percentile: float
    voxel: float | None

    def views(self) -> Iterable[View]:
        """Write the pictures into `images` and yield them."""
        return write_views(self.take, self.to / "images", self.originals)


@dataclass(frozen=True, slots=True)
class Format:
    """A line of the table."""

    summary: str
    name: str  # of the file, or of the folder if it has no suffix
    write: Callable[[Job], None]
    originals: bool = False  # whether pictures of the original size are of use


def _ply(job: Job) -> None:
    points = job.choose()
    with PlyWriter(job.to) as file:
        file.append(points.places, points.colors, points.confidence)


FORMATS: dict[str, Format] = {
    "ply": Format("points with colour and confidence", "cloud.ply", _ply),
    "colmap": Format(
        "COLMAP sparse model, text, with pictures",
        "colmap",
        lambda job: write_text(job.to / "sparse/0", job.views(), job.choose()),
        originals=True,
    ),
    "colmap-bin": Format(
        "COLMAP sparse model, binary, with pictures",
        "colmap-bin",
        lambda job: write_binary(job.to / "sparse/0", job.views(), job.choose()),
        originals=True,
    ),
    "nerfstudio": Format(
        "transforms.json with pictures, depth and points",
        "nerfstudio",
        lambda job: write_nerfstudio(job.to, job.views(), job.choose(), job.take.scale),
        originals=True,
    ),
    "glb": Format(
        "glTF: points, path and an animated camera", "take.glb", lambda job: write_glb(job.to, job.take, job.choose())
    ),
    "mesh": Format(
        "surface by TSDF fusion, PLY (extra: mesh)",
        "mesh.ply",
        lambda job: write_mesh(job.to, job.take, keep_percentile=job.keep_percentile, voxel=job.voxel),
    ),
    "splat": Format(
        "start of a Gaussian splatting, PLY", "splat.ply", lambda job: write_splat(job.to, job.take, job.choose())
    ),
    "tum": Format(
        "path: timestamp, position, quaternion", "tum.txt", lambda job: write_tum(job.to, list(job.take.frames))
    ),
    "kitti": Format("path: 3x4 matrices", "kitti.txt", lambda job: write_kitti(job.to, list(job.take.frames))),
    "euroc": Format(
        "path: nanoseconds, position, quaternion", "euroc.csv", lambda job: write_euroc(job.to, list(job.take.frames))
    ),
    "png16": Format(
        "depth maps, 16-bit PNG", "depth_png16", lambda job: write_png16(job.to, job.take, job.depth_scale)
    ),
    "npz": Format("depth, confidence and camera of each frame, numpy", "npz", lambda job: write_npz(job.to, job.take)),
    "rrd": Format("Rerun recording (extra: rerun)", "take.rrd", lambda job: write_rrd(job.to, job.take, job.choose())),
}


def find_format(name: str) -> Format:
    """Return a line of the table. Raises InputError with near names."""
    if name not in FORMATS:
        near = get_close_matches(name.lower(), FORMATS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"no export format is called {name!r}.{hint} There are: {', '.join(FORMATS)}.")
    return FORMATS[name]


def one_size(prefix: str = "", **given: bool) -> None:
    """Raise InputError where more than one thing is given that says how large a take is."""
    words = [prefix + name for name, there in given.items() if there]
    if len(words) > 1:
        each = "both" if len(words) == 2 else "all"
        raise InputError(f"{' and '.join(words)} {each} say how large the take is; give one.")


def export(
    folder: str | os.PathLike[str],
    format: str,  # noqa: A002 (the word that everybody uses)
    to: str | os.PathLike[str] | None = None,
    *,
    keep_percentile: float = 100.0,
    voxel: float | None = None,
    max_points: int | None = None,
    originals: Iterable[Frame] | None = None,
    depth_scale: float = 1000.0,
    align: Trajectory | None = None,
    scale: float | None = None,
    metric: bool = False,
) -> Path:
    """Write a take in another tool's format; return the file or folder, by default exports/NAME in the take's folder.

    format: a name of FORMATS. keep_percentile, voxel, max_points: which points, see `select_points` and `write_mesh`.
    originals: the source's frames, for formats with pictures; without them, the pictures that the model saw.
    depth_scale: of png16. align: a known trajectory, into whose world everything is brought, see `align_take`.
    scale: metres that a unit of the take is known to be. metric: scale by the model's own estimate, see `metric_take`.
    Of align, scale and metric at most one: each says how large the take is.
    A file or folder of that name is replaced. Raises InputError, OutputError, MissingExtra.
    """
    chosen, take = find_format(format), read_take(folder)
    if not depth_scale > 0:
        raise InputError(f"depth scale {depth_scale:g}: give a number above 0, such as 1000 or 5000.")
    if not take.posed:
        raise InputError(f"{take.folder}: no frame has a pose: there is nothing to export.")
    one_size(scale=scale is not None, metric=metric, align=align is not None)
    if align is not None:
        take, _ = align_take(take, align)
    if scale is not None:
        take = scale_take(take, scale)
    if metric:
        take = metric_take(take)
    target = Path(to) if to is not None else take.folder / "exports" / chosen.name

    def choose() -> Points:
        return select_points(take, keep_percentile=keep_percentile, voxel=voxel, max_points=max_points)

    job = Job(take, target, choose, originals, depth_scale, keep_percentile, voxel)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if to is None and target.is_dir():
            shutil.rmtree(target)  # ours, from an earlier export
        chosen.write(job)
    except OSError as error:
        raise OutputError(
            f"{target}: the export could not be written ({error.strerror or error}). "
            "Free some room, or name another place with --to."
        ) from error
    return target
