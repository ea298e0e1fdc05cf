# SPDX-License-Identifier: Apache-2.0
"""How often ordinary frames are called lost, and how many cuts are: tracking on recorded takes and on drawn walks.

    python benchmarks/tracking.py ../shared/data/heldout_v1 ../shared/data/office_walk walks --cuts 500
    python benchmarks/tracking.py ../shared/data/heldout_v1 --stride 3 --cuts 0

A take is a folder with rgb/, or a walk that benchmarks/long_takes.py has kept (--walks). Each argument is a take or a
folder of takes, and a row: frames in order first, then cuts from 4 to 60 frames of a take to another of the row (of all
rows, where it has one take alone), flagged if one of the two frames after the cut is lost. No model runs: a frame is
lost by its picture alone, or by a pose that is not finite.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import longtake
from longtake.continuity.tracking import LOST, WEAK, begin_tracking, track
from longtake.evaluation.tables import Grid, make_console, print_grid
from longtake.frame import Heads

BEFORE = (4, 60)  # frames of the take that is cut
AFTER = 2


def codes_of(pictures: Tensor) -> np.ndarray:
    """Tracking codes (T,) of a take of pictures (T, 3, H, W) uint8."""
    points, sure = torch.ones(1, 1, 1, 3), torch.ones(1, 1, 1)
    heads = Heads(points, sure, points, sure, torch.ones(1, 7))
    memory, codes = begin_tracking(1), []
    for picture in pictures:
        code, memory = track(memory, picture[None] / 127.5 - 1, heads)
        codes.append(int(code))
    return np.array(codes)


def read_takes(place: Path, stride: int) -> list[Tensor]:
    """The takes of one argument: its pictures (T, 3, H, W) uint8."""
    walks = sorted(place.glob("*.npz"))
    if walks:
        return [torch.from_numpy(np.load(walk, allow_pickle=False)["pictures"][::stride]) for walk in walks]
    folders = [place] if (place / "rgb").is_dir() else sorted(p for p in place.iterdir() if (p / "rgb").is_dir())
    takes = []
    for folder in folders:
        frames = [frame.image for frame in longtake.images(folder / "rgb", stride=stride)]
        takes.append(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous())
    return takes


def found_cuts(takes: list[Tensor], others: list[Tensor], count: int, rng: np.random.Generator) -> int:
    """How many of `count` cuts from one of the takes to another of `others` are flagged."""
    found = 0
    for _ in range(count):
        before = takes[rng.integers(len(takes))]
        after = [take for take in others if take is not before]
        after = after[rng.integers(len(after))]
        length = min(int(rng.integers(*BEFORE)), len(before))
        first, to = rng.integers(len(before) - length + 1), rng.integers(len(after) - AFTER + 1)
        parts = [before[first : first + length], _sized(after[to : to + AFTER], before.shape[-2:])]
        found += LOST in codes_of(torch.cat(parts))[length:]
    return found


def _sized(pictures: Tensor, size: torch.Size) -> Tensor:
    if pictures.shape[-2:] == size:
        return pictures
    return torch.nn.functional.interpolate(pictures.float(), size, mode="area").round().byte()


def main(arguments: list[str] | None = None) -> None:
    """Read, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("takes", type=Path, nargs="+")
    parser.add_argument("--stride", type=int, default=1, help="use every so many-th frame, as a faster camera would")
    parser.add_argument("--cuts", type=int, default=200, help="of each row")
    options = parser.parse_args(arguments)
    groups = {place.name: read_takes(place, options.stride) for place in options.takes}
    everything, rows = [take for takes in groups.values() for take in takes], []
    for name, takes in groups.items():
        begin = time.perf_counter()
        codes = [codes_of(take) for take in takes]
        frames = sum(map(len, codes))
        spent = 1e3 * (time.perf_counter() - begin) / frames
        lost, weak = (sum(int((each == code).sum()) for each in codes) for code in (LOST, WEAK))
        worst = max(int((each == LOST).sum()) for each in codes)
        others = takes if len(takes) > 1 else everything
        found = found_cuts(takes, others, options.cuts if len(others) > 1 else 0, np.random.default_rng(0))
        share = f"{found} of {options.cuts}" if len(others) > 1 and options.cuts else "-"
        counts = map(str, (len(takes), frames, lost, worst, weak))
        rows.append((name, *counts, share, f"{spent:.2f}"))
    head = ("takes", "number", "frames", "lost", "in the worst", "weak", "cuts flagged", "ms a frame")
    print_grid(Grid("tracking by pictures alone", head, tuple(rows)), make_console())


if __name__ == "__main__":
    main()
