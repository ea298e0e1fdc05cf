# SPDX-License-Identifier: Apache-2.0
"""The texture atlas: 128x128 tiles with mip levels in one flat buffer that a kernel can gather from.

A texel is one int32 holding r + 256 g + 65536 b, so a bilinear sample costs four loads. Level l of tile k starts at
`k * PER_TILE + LEVEL_START[l]`. Tiles wrap around.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from longtake.synthetic.patterns import COUNT, pattern_tiles

TILE = 128
LEVELS = 8
LEVEL_START = tuple(sum((TILE >> k) ** 2 for k in range(level)) for level in range(LEVELS))
PER_TILE = sum((TILE >> k) ** 2 for k in range(LEVELS))
USES = ("floor", "wall", "ceiling", "object", "outdoor", "clutter")
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Textures:
    """Packed tiles on a device. `ranges[use]` is the half-open span of tile numbers with that use.

    The atlas comes first; patterns (see `patterns`), use "pattern", follow it.
    """

    texels: Tensor  # (K * PER_TILE,) int32
    count: int  # tiles of the atlas
    ranges: dict[str, tuple[int, int]]


def attribution() -> list[dict[str, str]]:
    """One row a tile, in the atlas's order: use, file, source, original, licence."""
    with (HERE / "TEXTURES.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def read_tiles() -> Tensor:
    """Return all tiles as (K, 128, 128, 3) uint8 RGB."""
    with Image.open(HERE / "textures.webp") as picture:
        grid = np.array(picture.convert("RGB"))
    rows, columns = grid.shape[0] // TILE, grid.shape[1] // TILE
    tiles = grid.reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2).reshape(-1, TILE, TILE, 3)
    return torch.from_numpy(tiles[: len(attribution())].copy())


def pack(tiles: Tensor) -> Tensor:
    """Build the flat int32 buffer of all mip levels from (K, 128, 128, 3) uint8 tiles."""
    level = tiles.float()
    parts = []
    for _ in range(LEVELS):
        # 8 bits, square-root encoded: box filtering in this space is a little dark, which nobody sees at 160x128
        b = level.round().to(torch.int32)
        parts.append((b[..., 0] + 256 * b[..., 1] + 65536 * b[..., 2]).flatten(1))
        k, size = level.shape[0], level.shape[1] // 2
        level = level.view(k, size, 2, size, 2, 3).mean((2, 4)) if size else level
    return torch.cat(parts, 1).flatten()


def load_textures(device: torch.device | str = "cpu", *, patterns: bool = True) -> Textures:
    """Load the shipped atlas onto a device, once per device (112 MB).

    patterns: draw them too, for worlds with painted rooms (two seconds, 45 MB).
    """
    return _load(str(torch.device(device)), patterns)


@lru_cache(maxsize=16)
def _load(device: str, patterns: bool) -> Textures:
    uses = [row["use"] for row in attribution()]
    ranges = {use: (uses.index(use), uses.index(use) + uses.count(use)) for use in USES if use in uses}
    tiles = read_tiles()
    if patterns:
        ranges["pattern"] = (len(uses), len(uses) + COUNT)
        tiles = torch.cat([tiles, pattern_tiles(TILE)])
    return Textures(pack(tiles).to(device), len(uses), ranges)
