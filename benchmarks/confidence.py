# SPDX-License-Identifier: Apache-2.0
"""Does confidence say where depth is wrong? Sparsification on takes with ground truth, against chance and 1/depth.

    python benchmarks/confidence.py ../shared/data/heldout_v1 --out confidence
    python benchmarks/confidence.py FOLDER --takes 16 --weights runs/train/average.safetensors --out confidence

For each take the least sure share of the pixels is dropped, and the relative depth error of the rest is taken, with the
take's one scale. The oracle drops by the error itself. AUSE: mean gap to the oracle over the error of all pixels. Of
the yardstick the takes of 16 frames are used. Writes confidence.json, confidence.md and confidence.png to OUT.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from longtake.errors import OutputError
from longtake.evaluation.benchmark.plot import Line, draw_plot
from longtake.evaluation.nets import Net, weights_hash
from longtake.evaluation.records import write_json, write_text
from longtake.evaluation.sets import find_sets
from longtake.evaluation.sparsification import DROPS, ORDERS, Sparsification, curves, gather, gather_pixels
from longtake.evaluation.tables import Grid, make_console, print_grid, to_markdown
from longtake.registry import load

SHOWN = (0, 10, 25, 50, 75, 90)  # percent dropped


def table(found: Sparsification, title: str) -> Grid:
    """Error of the rest at some shares, and the areas."""
    rows = tuple(
        (
            name,
            *(f"{found.curves[name][percent]:.3f}" for percent in SHOWN),
            f"{found.ause[name]:.3f}",
            "-" if name in ("confidence", "oracle") else f"{100 * found.better[name]:.0f} %",
        )
        for name in ORDERS
    )
    return Grid(title, ("dropped by", *(f"{percent} %" for percent in SHOWN), "AUSE", "takes won"), rows)


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="heldout_v1, a take or a folder of takes")
    parser.add_argument("--out", type=Path, default=Path("confidence"))
    parser.add_argument("--takes", type=int, default=None, help="at most so many")
    parser.add_argument("--rule", default="overwrite")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    model = load("longtake-small", options.weights, device=options.device)
    takes = find_sets(options.data, options.takes)[0]
    done = []
    for take in takes.takes:
        done.append(curves(gather_pixels(Net.of(model), take, options.rule)))
        print(f"\r{len(done)} of {len(takes.takes)} takes", end="", flush=True)
    print()
    found = gather(done)
    grid = table(found, f"{takes.name}: AbsRel of the rest, {len(done)} takes, {options.rule}")
    print_grid(grid, make_console())
    lines = [
        Line(name, tuple(zip(100 * DROPS[::10], found.curves[name][::10], strict=True)), naive=name == "random")
        for name in ORDERS
    ]
    write_json(
        options.out / "confidence.json",
        {
            "weights_sha256": weights_hash(model.module),
            "takes": [take.name for take in takes.takes],
            "rule": options.rule,
            "ause": dict(found.ause),
            "better": dict(found.better),
            "curves": {name: curve.round(5) for name, curve in found.curves.items()},
        },
    )
    write_text(options.out / "confidence.md", to_markdown([grid]))
    picture = options.out / "confidence.png"
    try:
        draw_plot("Error of the rest", "AbsRel, one scale a take", lines, "% dropped").save(picture)
    except OSError as error:
        raise OutputError(f"{picture}: could not be written ({error}).") from error
    print(f"wrote {picture}")


if __name__ == "__main__":
    main()
