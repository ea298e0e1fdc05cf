# SPDX-License-Identifier: Apache-2.0
"""Pack a folder of small textures into the atlas of the synthetic world.

    python tools/build_textures.py FOLDER_WITH_MANIFEST [--out src/longtake/synthetic]

Reads FOLDER/manifest.tsv (file, source, original, licence) and writes `textures.webp`, a grid of 128x128 tiles, and
`TEXTURES.tsv`, one row a tile in the order of the grid, with its use in a room and its attribution. No randomness: the
same folder and versions give the same files.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

TILE = 128
COLUMNS = 40
ROWS = 32

# How many of each ambientCG kind, and where in a room it belongs. Kinds that no room has get few tiles.
KINDS = {
    "floor": {"WoodFloor": 60, "Tiles": 110, "Carpet": 16, "Terrazzo": 21, "Marble": 26, "Tatami": 6, "Planks": 50},
    "wall": {"Plaster": 7, "Paint": 6, "Wallpaper": 6, "Bricks": 80, "Concrete": 58, "WoodSiding": 13, "Paper": 6,
             "Travertine": 14, "Cork": 4, "Chipboard": 8},
    "ceiling": {"OfficeCeiling": 6},
    "object": {"Wood": 90, "Fabric": 80, "Metal": 60, "Plastic": 25, "Granite": 12, "Onyx": 12, "Bamboo": 6,
               "Cardboard": 4, "Rubber": 4, "Porcelain": 3, "Foil": 3, "Bark": 10, "Rust": 9, "DiamondPlate": 8,
               "CorrugatedSteel": 8, "Leather": 8, "Net": 4, "Chainmail": 4, "Clay": 4, "GlazedTerracotta": 3},
    "outdoor": {"PavingStones": 60, "Rock": 25, "Rocks": 14, "Ground": 35, "Gravel": 14, "Asphalt": 14, "Moss": 4,
                "Grass": 4, "Road": 4, "RoofingTiles": 10, "Snow": 4, "SolarPanel": 2, "ThatchedRoof": 2},
}  # fmt: skip
USES = ("floor", "wall", "ceiling", "object", "outdoor", "clutter")


def tile(path: Path) -> tuple[np.ndarray, bool]:
    """Read a texture as (128, 128, 3) uint8; the flag is False where it is mostly transparent or flat."""
    with Image.open(path) as picture:
        rgba = picture.convert("RGBA")
    alpha = np.asarray(rgba)[..., 3]
    grey = Image.new("RGBA", rgba.size, (128, 128, 128, 255))
    rgb = Image.alpha_composite(grey, rgba).convert("RGB")
    if rgb.size != (TILE, TILE):
        rgb = rgb.resize((TILE, TILE), Image.Resampling.LANCZOS)
    pixels = np.asarray(rgb)
    good = float((alpha > 128).mean()) > 0.6 and float(pixels.astype(float).std()) > 6
    return pixels, good


def choose(folder: Path, total: int) -> list[tuple[str, dict[str, str], np.ndarray]]:
    """Pick `total` tiles: (use, manifest row, pixels), sorted by use."""
    with (folder / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    by_kind: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        place, _, name = row["file"].partition("/")
        by_kind[name.rsplit("_", 1)[0] if place == "ambientcg" else "permissive"].append(row)
    chosen: list[tuple[str, dict[str, str], np.ndarray]] = []
    for use, kinds in KINDS.items():
        for kind, wanted in kinds.items():
            found = by_kind.get(kind, [])
            for i in np.linspace(0, len(found) - 1, min(wanted, len(found))).round().astype(int):
                pixels, _ = tile(folder / found[i]["file"])
                chosen.append((use, found[i], pixels))
    clutter = [(row, *tile(folder / row["file"])) for row in by_kind["permissive"]]
    usable = [(row, pixels) for row, pixels, good in clutter if good]
    missing = total - len(chosen)
    for i in np.unique(np.linspace(0, len(usable) - 1, missing).round().astype(int)):
        chosen.append(("clutter", usable[i][0], usable[i][1]))
    return sorted(chosen[:total], key=lambda entry: USES.index(entry[0]))


def main() -> None:
    """Write the atlas and its attribution table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("src/longtake/synthetic"))
    parser.add_argument("--quality", type=int, default=90)
    options = parser.parse_args()
    chosen = choose(options.folder, COLUMNS * ROWS)
    grid = np.zeros((ROWS * TILE, COLUMNS * TILE, 3), np.uint8)
    for i, (_, _, pixels) in enumerate(chosen):
        y, x = divmod(i, COLUMNS)
        grid[y * TILE : (y + 1) * TILE, x * TILE : (x + 1) * TILE] = pixels
    Image.fromarray(grid).save(options.out / "textures.webp", quality=options.quality, method=6)
    with (options.out / "TEXTURES.tsv").open("w", encoding="utf-8", newline="") as file:
        file.write("use\tfile\tsource\toriginal\tlicence\n")
        for use, row, _ in chosen:
            file.write("\t".join([use, row["file"], row["source"], row["original"], row["licence"]]) + "\n")
    counts = {use: sum(entry[0] == use for entry in chosen) for use in USES}
    print(f"{len(chosen)} tiles {counts}, {(options.out / 'textures.webp').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
