# SPDX-License-Identifier: Apache-2.0
"""Write takes as RGB-D folders and look at them.

Layout: rgb/NNNNNN.jpg, depth/NNNNNN.png (uint16 millimetres, 0 = unknown), poses.txt (a row-major 4x4 world_from_cam a
line, metres), intrinsics.txt (3x3, pixels, centres at integers).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from PIL import Image
from torch import Tensor

from longtake.errors import InputError, OutputError
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import Batch, make_batch


def write_take(
    folder: Path,
    images: Tensor,
    depth: Tensor,
    world_from_cam: Tensor,
    intrinsics: Tensor,
    depth_stride: int = 1,
    quality: int = 92,
) -> None:
    """Write one take: images (T, 3, H, W) in [0, 1], depth (T, H, W) metres, poses (T, 4, 4), K (3, 3).

    `depth_stride` 2 keeps every second depth pixel, starting at (0, 0). Raises OutputError if it cannot write.
    """
    try:
        (folder / "rgb").mkdir(parents=True, exist_ok=True)
        (folder / "depth").mkdir(parents=True, exist_ok=True)
        pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        millimetres = (depth * 1000).round().clamp(0, 65535)[:, ::depth_stride, ::depth_stride].cpu().numpy()
        for i, (picture, z) in enumerate(zip(pixels, millimetres.astype(np.uint16), strict=True)):
            Image.fromarray(picture).save(folder / "rgb" / f"{i:06d}.jpg", quality=quality)
            Image.fromarray(z).save(folder / "depth" / f"{i:06d}.png")
        np.savetxt(folder / "poses.txt", world_from_cam.cpu().double().numpy().reshape(-1, 16), fmt="%.7f")
        np.savetxt(folder / "intrinsics.txt", intrinsics.cpu().double().numpy(), fmt="%.6f")
    except OSError as error:
        raise OutputError(
            f"{folder}: could not write the take ({error}). Free some space or choose another folder."
        ) from error


def contact_sheet(images: Tensor, depth: Tensor, columns: int = 8) -> Image.Image:
    """Lay out frames (T, 3, H, W) in [0, 1], each row of pictures above its depth (T, H, W), near bright, far dark."""
    count, _, height, width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.zeros((rows * 2 * height, columns * width, 3), np.uint8)
    pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    near = 1 / depth.clamp_min(1e-3).cpu().numpy()
    grey = (255 * np.clip(near / np.quantile(near, 0.98), 0, 1)).astype(np.uint8)
    for i in range(count):
        y, x = 2 * height * (i // columns), width * (i % columns)
        sheet[y : y + height, x : x + width] = pixels[i]
        sheet[y + height : y + 2 * height, x : x + width] = grey[i][..., None]
    return Image.fromarray(sheet)


def write_rgbd(out: Path, number: int, batch: Batch) -> Path:
    """Write the first take of a batch as the RGB-D folder take_NN below `out`; return the folder."""
    folder = out / f"take_{number:02d}"
    write_take(folder, batch.images[0], batch.depth[0], batch.world_from_cam[0], batch.intrinsics[0])
    return folder


def write_film(path: Path, takes: list[tuple[Tensor, Tensor]], rate: int = 15) -> None:
    """Write takes, each (T, 3, H, W) pictures in [0, 1] and (T, H, W) depth, one after the other beside their depth.

    H.264 in an MP4 file, twice the size. Raises OutputError if it cannot write.
    """
    height, width = takes[0][0].shape[-2:]
    try:
        with av.open(str(path), "w", options={"movflags": "faststart", "fflags": "+bitexact"}) as container:
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height, stream.pix_fmt = 4 * width, 2 * height, "yuv420p"
            stream.codec_context.thread_count = 1
            stream.codec_context.colorspace, stream.codec_context.color_range = 5, 1  # BT.470BG (601 matrix), limited
            stream.options = {"crf": "20", "preset": "fast", "threads": "1"}
            for images, depth in takes:
                for picture, z in zip(images, depth, strict=True):
                    pair = np.array(contact_sheet(picture[None], z[None], 1))  # the depth below the picture
                    both = np.concatenate([pair[:height], pair[height:]], 1).repeat(2, 0).repeat(2, 1)
                    frame = av.VideoFrame.from_ndarray(both, format="rgb24")
                    # written down in the file too, so that players undo the same conversion
                    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG")
                    container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (OSError, FFmpegError) as error:
        raise OutputError(
            f"{path}: could not write the film ({error}). Free some space or choose another folder."
        ) from error


def write_world(
    out: Path,
    takes: int = 4,
    frames: int = 16,
    size: tuple[int, int] = (160, 128),
    seed: int = 0,
    config: WorldConfig | None = None,
    write: Callable[[Path, int, Batch], Path] = write_rgbd,
) -> list[Path]:
    """Draw takes and write each, by default as an RGB-D folder, with a contact sheet; a sheet and a film of all.

    `size` is (width, height) in pixels, `config` the mixture (None: its defaults), which world.json holds. The same
    seed gives the same takes. `write` writes one take (a batch of one) of a number below `out` and returns its folder.
    Returns the folders.
    """
    width, height = size
    if takes < 1 or frames < 1 or width < 8 or height < 8 or width > 4096 or height > 4096:
        raise InputError(
            f"{takes} takes of {frames} frames at {width}x{height}: wanted at least one take and one frame, and 8 to "
            "4096 pixels a side. Change --takes, --frames or --size."
        )
    if old := sorted(out.glob("take_*")):
        raise OutputError(f"{out} holds {old[0].name} already: choose another folder, or delete its takes.")
    config = config or WorldConfig()
    folders, drawn = [], []
    for i in range(takes):
        generator = torch.Generator().manual_seed(seed * 100_003 + i)
        batch = make_batch(replace(config, chunk=8), 1, frames, height, width, "cpu", generator)
        folder = write(out, i, batch)
        contact_sheet(batch.images[0], batch.depth[0]).save(folder / "sheet.png")
        folders.append(folder)
        drawn.append((batch.images[0], batch.depth[0]))
    middle = [(images[frames // 2], depth[frames // 2]) for images, depth in drawn]
    contact_sheet(torch.stack([m[0] for m in middle]), torch.stack([m[1] for m in middle])).save(out / "sheet.png")
    write_film(out / "film.mp4", drawn)
    (out / "world.json").write_text(
        json.dumps({"seed": seed, "config": asdict(config)}, indent=2) + "\n", encoding="utf-8"
    )
    return folders
