# SPDX-License-Identifier: Apache-2.0
"""`longtake localize`: where in a saved take a photo was taken."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from longtake.frame import Prediction


def main(
    state: Annotated[Positional[Path], arg(metavar="STATE")],
    photos: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO")],
    *,
    weights: Path | None = None,
    lens: str | None = None,
    device: str = "auto",
    precision: Literal["float32", "bf16"] | None = None,
    json: bool = False,
) -> None:
    """Say where photos were taken in a take whose state was saved with `longtake reconstruct --state`.

    The memory is read and not written. The pose is that of the camera in the world of the take.

    Args:
        state: A file that `longtake reconstruct --state` or stream.save() wrote.
        photos: Images, or folders of them.
        weights: Weight file, for models whose weights are not in the package.
        lens: A file with the photos' camera, as `longtake reconstruct --lens` takes it, or exif. By default the take's,
            where it was known and the photos have its aspect.
        device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
        precision: Matrices are multiplied in float32 or in bf16. By default as in the take; otherwise, whether the
            weights are the take's is not checked.
        json: Print one JSON list: name, world_from_cam, intrinsics of the photo's size, confidence.
    """
    from json import dumps

    from longtake.errors import InputError
    from longtake.registry import load
    from longtake.saved import saved_model
    from longtake.sources import KnownSource, images, resolve_lens
    from longtake.stream import Stream

    if not photos:
        raise InputError("no photo is given: longtake localize STATE PHOTO ...")
    known = resolve_lens(lens)
    name, size, saved = saved_model(state)
    model = load(name or "longtake-small", weights, device=device, size=size, precision=precision or saved)
    stream = model.resume(state, strict=precision in (None, saved))
    if not isinstance(stream, Stream):
        raise InputError(f"{state}: holds the states of several takes; give that of one.")
    found = []
    for photo in photos:
        for frame in KnownSource(images(photo, prefetch=False), lens=known):
            found.append(told(stream.step(frame, update=False)))
    if json:
        print(dumps(found))
        return
    print(f"{'photo':<32}  {'x':>8} {'y':>8} {'z':>8}  {'looks along':<22}  confidence")
    for each in found:
        pose = each["world_from_cam"]
        place = " ".join(f"{row[3]:8.3f}" for row in pose[:3])
        ahead = " ".join(f"{row[2]:6.3f}" for row in pose[:3])
        print(f"{each['name']:<32}  {place}  {ahead:<22}  {each['confidence']:10.2f}")


def told(prediction: Prediction) -> dict[str, Any]:
    """Return what is said of a photo. Confidence is the median over its pixels; compare it within one take."""
    return {
        "name": prediction.name,
        "world_from_cam": prediction.world_from_cam.cpu().double().numpy().tolist(),
        "intrinsics": prediction.intrinsics_original.tolist(),
        "confidence": float(prediction.confidence.median()),
        "is_metric": prediction.is_metric,
    }
