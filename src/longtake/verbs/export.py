# SPDX-License-Identifier: Apache-2.0
"""`longtake export`: a finished take becomes what another tool opens."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from longtake.frame import Frame


def main(  # noqa: PLR0913
    take: Annotated[Positional[Path], arg(metavar="TAKE")],
    *,
    format: str,  # noqa: A002
    to: Path | None = None,
    keep_percentile: float = 100.0,
    voxel: float | None = None,
    max_points: int | None = None,
    source: str | None = None,
    depth_scale: float = 1000.0,
    align: Path | None = None,
    scale: float | None = None,
    metric: bool = False,
    quiet: bool = False,
) -> None:
    """Export a take: ply, colmap, colmap-bin, nerfstudio, glb, mesh, splat, tum, kitti, euroc, png16, npz, rrd.

    Separate several formats by commas. docs/exports.md says which tool opens what.

    Args:
        take: A folder that `longtake reconstruct` wrote.
        format: One or more of the formats above.
        to: File or folder to write (with several formats, the folder for all); by default exports/ in the take.
        keep_percentile: Keep the surest so many percent of the points.
        voxel: Keep only the surest point of each cube with sides of this length, in units of the take; of a mesh, its
            resolution.
        max_points: Keep at most so many points, evenly spread over the take.
        source: The video or folder that the take was made from: pictures in its own size. By default the pictures that
            the model saw, with intrinsics to match.
        depth_scale: Values of png16 are depth times this: 1000 is common, TUM takes 5000, KITTI 256.
        align: A trajectory in TUM's format that is known to be right: everything is moved, turned and scaled to fit it.
        scale: Metres that one unit of the take is known to be: everything is scaled by it.
        metric: Everything is scaled to metres as the model itself estimates them: often 15 to 20 % off, at times more.
        quiet: Print nothing.
    """
    from longtake.errors import InputError
    from longtake.outputs import read_tum
    from longtake.outputs.align import align_take, metric_take
    from longtake.outputs.exports import FORMATS, export
    from longtake.outputs.exports.table import find_format, one_size
    from longtake.outputs.size import HOW_SURE
    from longtake.outputs.take import read_take
    from longtake.verbs._live import amount

    names = list(dict.fromkeys(name.strip() for name in format.split(",") if name.strip()))
    if not names:
        raise InputError(f"no format in {format!r}. There are: {', '.join(FORMATS)}.")
    for name in names:
        find_format(name)
    one_size("--", scale=scale is not None, metric=metric, align=align is not None)
    if metric:
        metres = metric_take(read_take(take)).scale
        if not quiet:
            print(f"scaled: one unit is taken for {metres:.3g} m, {HOW_SURE}")
    known = None if align is None else read_tum(align)
    if known is not None and not quiet:
        _, found = align_take(read_take(take), known)
        print(f"aligned by {found.matches} frames: scale {found.similarity.scale:.4g}, {found.error:.3g} m apart (RMS)")
    for name in names:
        target = to / FORMATS[name].name if to and len(names) > 1 else to
        with closing(_frames(source if FORMATS[name].originals else None)) as originals:
            written = export(
                take,
                name,
                target,
                keep_percentile=keep_percentile,
                voxel=voxel,
                max_points=max_points,
                originals=originals if source and FORMATS[name].originals else None,
                depth_scale=depth_scale,
                align=known,
                scale=scale,
                metric=metric,
            )
        if not quiet:
            files = [path for path in written.rglob("*") if path.is_file()] if written.is_dir() else [written]
            size = amount(sum(path.stat().st_size for path in files))
            print(f"{written}{'/' * written.is_dir()}  {size}  {FORMATS[name].summary}")


def _frames(source: str | None) -> Generator[Frame, None, None]:
    """Yield the frames of the source: a generator, so that closing it lets go of the file."""
    from longtake.sources import open_source

    if source is not None:
        yield from open_source(source)
