# SPDX-License-Identifier: Apache-2.0
"""Measure weights and write what of the model card depends on them: its figures, its licences, its pictures.

    python tools/model_card.py --data ../shared/data
    python tools/model_card.py --data ../shared/data --weights runs/train/average.safetensors

Replaces the text between the marks in docs/model_card.md and the picture docs/images/model_card.jpg: the best, the
middle and the worst of heldout_v1's short takes, and the walk through the office.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from longtake.evaluation.figures import best_scale
from longtake.evaluation.nets import Net, weights_hash
from longtake.evaluation.pictures import panel_row
from longtake.evaluation.run import TakeResult, evaluate_takes
from longtake.evaluation.sets import TakeSet, find_sets
from longtake.evaluation.summary import summarize
from longtake.evaluation.tables import FIGURES, naive_cells, summary_cells
from longtake.outputs.sheet import INK, MUTED, PAPER
from longtake.registry import load

ROOT = Path(__file__).resolve().parents[1]
CARD, PICTURE = ROOT / "docs" / "model_card.md", ROOT / "docs" / "images" / "model_card.jpg"
SYNTHETIC = ROOT / "src" / "longtake" / "synthetic"
BATCH, GAP, TEXT, HEAD = 8, 10, 19, 34  # takes at once; pixels
COLUMNS = ("frame", "true depth", "predicted depth", "error, to 50 %")


def measure(net: Net, each: TakeSet, rule: str) -> list[TakeResult]:
    """Run over the takes of a set, keeping a frame in the middle and the last of each for pictures."""
    results: list[TakeResult] = []
    for first in range(0, len(each.takes), BATCH):
        group = each.takes[first : first + BATCH]
        last = len(group[0]) - 1
        results += evaluate_takes(net, group, rule, keep=(last // 4, last))
        print(f"{each.name}: {len(results)} of {len(each.takes)} takes", flush=True)
    return results


def scale_error(results: Sequence[TakeResult]) -> tuple[float, float]:
    """Median error of metric scale, in percent, if one number of metres stood for the model's unit in all takes.

    The number is the one that makes the mean error smallest, so this is the least that such a model can be off. The
    second number: the spread of the takes' true units, as the ratio of their 90th to their 10th percentile.
    """
    units = np.array([result.figures.depth.scale for result in results])
    one = best_scale(np.ones_like(units), units)
    low, high = np.percentile(units, (10, 90))
    return float(np.median(np.abs(one / units - 1)) * 100), float(high / low)


def figures(named: dict[str, list[TakeResult]]) -> list[str]:
    """The table of figures, and a line on metric scale."""
    lines = [f"| takes | {' | '.join(FIGURES)} |", "| --- |" + " ---: |" * len(FIGURES)]
    for name, results in named.items():
        summary = summarize([result.figures for result in results])
        label = f"{name}: {len(results)} of {len(results[0].indices)} frames"
        lines.append(f"| {label} | {' | '.join(summary_cells(summary))} |")
        lines.append(f"| naive guesses | {' | '.join(naive_cells(summary))} |")
    several = max(named.values(), key=len)
    if len(several) > 1:
        off, spread = scale_error(several)
        lines += [
            "",
            "Metric scale: with the one number of metres that suits all takes best, the model's unit is off by "
            f"{off:.0f} % in the median take;",
            f"the unit itself varies by a factor of {spread:.1f} between the takes.",
        ]
    return lines


def licences() -> list[str]:
    """How many textures and furniture models there are under which licence, counted from the attribution files."""
    lines = ["| licence | textures | furniture models |", "| --- | ---: | ---: |"]
    counts = []
    for name in ("TEXTURES.tsv", "FURNITURE.tsv"):
        with (SYNTHETIC / name).open(encoding="utf-8", newline="") as file:
            counts.append(Counter(row["licence"] for row in csv.DictReader(file, delimiter="\t")))
    both = counts[0] + counts[1]
    lines += [f"| {licence} | {counts[0][licence]} | {counts[1][licence]} |" for licence, _ in both.most_common()]
    return [*lines, f"| all | {counts[0].total()} | {counts[1].total()} |"]


def chosen(short: list[TakeResult], office: list[TakeResult]) -> list[tuple[str, TakeResult, int]]:
    """What is drawn: a title, a take and one of its two kept frames."""
    order = sorted(short, key=lambda result: result.figures.depth.abs_rel)
    rows = [("best depth", order[0], 1), ("the middle one", order[len(order) // 2], 1)]
    rows += [("second worst depth", order[-2], 1), ("worst depth", order[-1], 1)]
    path = max(short, key=lambda result: np.nan_to_num(result.figures.pose.ate_over_spread))
    rows.append(("worst path", path, 1))
    return rows + [("a real office", result, at) for result in office for at in (0, 1)]


def draw(rows: list[tuple[str, TakeResult, int]]) -> Image.Image:
    """One row a frame: what the model saw, true and predicted depth (near is yellow), the error."""
    strips = [panel_row(result.panels[at], result.figures.depth.scale) for _, result, at in rows]
    width = sum(picture.width for picture in strips[0]) + GAP * (len(COLUMNS) + 1)
    height = HEAD + sum(strip[0].height + HEAD for strip in strips) + GAP
    page = Image.new("RGB", (width, height), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(TEXT)
    for column, name in enumerate(COLUMNS):
        pen.text((GAP + column * (strips[0][0].width + GAP), 8), name, MUTED, font)
    y = HEAD
    for (title, result, at), strip in zip(rows, strips, strict=True):
        depth, pose = result.figures.depth, result.figures.pose
        words = (
            f"{title}: {result.name}, frame {result.panels[at].index}. "
            f"AbsRel {depth.abs_rel:.2f} (constant {depth.const:.2f}), ATE/spread {pose.ate_over_spread:.2f}, "
            f"rotation {pose.rotation:.0f} of {pose.identity:.0f} degrees"
        )
        pen.text((GAP, y + 6), words, INK, font)
        y += HEAD
        for column, picture in enumerate(strip):
            page.paste(picture, (GAP + column * (strip[0].width + GAP), y))
        y += strip[0].height
    return page


def put(text: str, mark: str, lines: Sequence[str]) -> str:
    """Replace what stands between <!-- mark --> and <!-- end of mark -->."""
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- end of {mark} -->)", re.S)
    if not pattern.search(text):
        raise SystemExit(f"{CARD}: has no place for {mark}: put back the two comments.")
    return pattern.sub(lambda found: found[1] + "\n" + "\n".join(lines) + "\n\n" + found[2], text)


def main() -> None:
    """Measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="the folder of heldout_v1 and office_walk")
    parser.add_argument("--weights", type=Path, default=None, help="by default those in the package")
    parser.add_argument("--takes", type=int, default=None, help="at most so many short takes, for a quick look")
    parser.add_argument("--rule", default="overwrite")
    options = parser.parse_args()
    net = Net.of(load("longtake-small", options.weights))
    sets = {each.name: each for each in find_sets(options.data, options.takes)}
    measured = {name: measure(net, sets[name], options.rule) for name in ("short", "office_walk")}
    named = {"heldout_v1": measured["short"], "office_walk": measured["office_walk"]}
    lines = [f"sha256 of the tensors `{weights_hash(net.module)[:16]}...`, rule {options.rule}, CPU, float32.", ""]
    text = put(CARD.read_text(encoding="utf-8"), "figures", lines + figures(named))
    CARD.write_text(put(text, "licences", licences()), encoding="utf-8")
    draw(chosen(measured["short"], measured["office_walk"])).save(PICTURE, quality=88)
    print(f"wrote {CARD.name} and {PICTURE.name}")


if __name__ == "__main__":
    main()
