# SPDX-License-Identifier: Apache-2.0
"""What bf16 and fp8 change at official size: poses and depth against our own float32 over takes of many frames.

    python benchmarks/precision_official.py --takes 8 --frames 64 --out out/precision     # a GPU, a minute
    python benchmarks/precision_official.py --tiny --takes 2 --frames 6 --device cpu      # that it runs, anywhere

Weights are random: no file is needed, and the numbers say what arithmetic does, not how good a reconstruction is. Takes
are drawn rooms, walked as streams of one batch under TTT3R's rule. Poses: distance of the camera's centre over the mean
distance that the take's camera has from the origin, and the angle between rotations in degrees. Depth: mean difference
along the camera's axis over the mean distance along it. Means over takes, at frames 1, 2, 4 and so on and over all.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from growth import build
from torch import Tensor

from longtake.device import pick_device
from longtake.errors import CapabilityError
from longtake.geometry.rotation import angle_between
from longtake.synthetic.config import worlds
from longtake.synthetic.world import make_batch

SEED = 2_718_281_828  # of the takes; training starts near 0
STRIDE = 4  # every fourth pixel of a row and a column is compared


def draw(takes: int, frames: int, size: tuple[int, int], device: torch.device) -> np.ndarray:
    """Pictures (frames, takes, H, W, 3) uint8."""
    world, drawn = replace(worlds()["bare"], chunk=16), []
    for i in range(takes):
        generator = torch.Generator(device=device).manual_seed(SEED + i)
        with torch.no_grad():
            batch = make_batch(world, 1, frames, *size, device, generator, fast=device.type == "cuda")
        drawn.append((batch.images[0] * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy())
    return np.stack(drawn, 1)


def walk(precision: str, pictures: np.ndarray, options: argparse.Namespace, device: torch.device) -> dict[str, Tensor]:
    """What a model with the same random weights says of all frames: poses and depth."""
    model = build(options.model, tiny=options.tiny, device=device, precision=precision)
    streams = model.streams(pictures.shape[1], "ttt3r", reset_every=None)
    poses, depth = [], []
    for frame in pictures:
        said = [one for one in streams.step(list(frame)) if one is not None]
        poses.append(torch.stack([torch.as_tensor(one.world_from_cam).cpu().double() for one in said]))
        z = [torch.as_tensor(one.points_self)[::STRIDE, ::STRIDE, 2].cpu().double() for one in said]
        depth.append(torch.stack(z))
    return {"poses": torch.stack(poses), "depth": torch.stack(depth)}


def compare(said: dict[str, Tensor], true: dict[str, Tensor]) -> dict[str, list[float]]:
    """Differences of each frame, means over takes."""
    ours, theirs = said["poses"], true["poses"]
    far = theirs[..., :3, 3].norm(dim=-1).mean(0).clamp_min(1e-12)
    apart = ((ours - theirs)[..., :3, 3].norm(dim=-1) / far).mean(1)
    angle = angle_between(ours[..., :3, :3], theirs[..., :3, :3]).mean(1)
    off, size = (x.abs().flatten(2).mean(-1) for x in (said["depth"] - true["depth"], true["depth"]))
    depth = (off / size.clamp_min(1e-12)).mean(1)
    return {"centre": apart.tolist(), "degrees": angle.tolist(), "depth": depth.tolist()}


def main() -> None:
    """Walk in every precision, print a row each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="cut3r-512")
    parser.add_argument("--takes", type=int, default=8)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--size", default="512x384", help="pixels of the pictures, WIDTHxHEIGHT")
    parser.add_argument("--precisions", default="bf16,fp8")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="the smallest model of that kind")
    parser.add_argument("--out", type=Path, default=Path("out/precision"))
    options = parser.parse_args()
    device = pick_device(options.device)
    # Products of float32 in full: what is compared against must not be rounded itself.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    width, height = map(int, options.size.split("x"))
    pictures = draw(options.takes, options.frames, (height, width), device)
    true = walk("float32", pictures, options, device)
    shown = [t for t in (1, 2, 4, 8, 16, 32, 64, 128, 256) if t <= options.frames]
    print(
        f"{options.takes} takes of {options.frames} frames, {options.size}: centre / degrees / depth of frame", *shown
    )
    rows = {}
    for precision in options.precisions.split(","):
        try:
            rows[precision] = found = compare(walk(precision, pictures, options, device), true)
        except CapabilityError as error:
            print(precision, error)
            continue
        cells = [" / ".join(f"{found[name][t - 1]:.4f}" for name in found) for t in shown]
        print(precision, *cells, "all", " / ".join(f"{np.mean(found[name]):.4f}" for name in found), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    about = {"model": options.model, "takes": options.takes, "size": options.size, "torch": torch.__version__}
    text = json.dumps(about | {"device": str(device), "differences": rows}, indent=1)
    (options.out / "precision.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
