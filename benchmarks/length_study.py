# SPDX-License-Identifier: Apache-2.0
"""What the length of takes in training gives: equal device time on takes of 4, 16, 64 and 256 frames, long tests.

    python benchmarks/length_study.py --minutes 4 --start-minutes 5 --out study          # a GPU, 25 minutes
    python benchmarks/length_study.py --tiny --minutes 0.1 --lengths 2,4 --tests 4,8 --out study    # see that it runs

A smaller model learns to match on short takes first, once; from its weights one run for each length goes on. Each step
has as many takes for every length, so that nothing is compiled twice and each frame costs the same; takes of more than
32 frames go in windows of 32. Then the first 16, 64, 256 and 1,000 frames of test takes that come back to where they
began are walked under two rules. Results are written after each length; a length that fails is named and left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from longtake.evaluation.figures import depth_figures, pose_figures
from longtake.evaluation.records import write_json, write_text
from longtake.evaluation.summary import TakeFigures, summarize
from longtake.evaluation.tables import Grid, make_console, print_grid, to_markdown
from longtake.frame import Flags, Views
from longtake.geometry.pose import world_from_cam
from longtake.registry import SMALL
from longtake.stream import absorb
from longtake.synthetic.config import WorldConfig
from longtake.training.keep_going import train_and_keep_going
from longtake.training.learners import make_learner
from longtake.training.loop import TrainConfig, train
from longtake.training.mixed_rule import GATED, OVERWRITE, MixedRule
from longtake.training.schedule import Stage
from longtake.training.shapes import Shape
from longtake.training.snapshot import load_learner
from longtake.training.windows import Drawn, draw_takes

WINDOW, SIZE, TAKES = 32, (128, 160), 64
PEAK = 989e12  # dense bfloat16 operations a second of an H100 or H200
RULES = {"overwrite": OVERWRITE, "ttt3r": GATED}
WORLD = WorldConfig(mesh_share=0.0, street_share=0.0, revisit_share=0.5)  # what is quick to draw
SEED = 977


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the study is."""

    model: Any
    size: tuple[int, int]
    takes: int  # of a step
    tests: int  # takes
    frames: tuple[int, ...]  # of the tests


def stage(length: int, scale: Scale, **more: Any) -> Stage:
    """A stage whose steps have `scale.takes` takes, given 1024 frames a step."""
    height, width = scale.size
    share = scale.takes * length * height * width / (1024 * 160 * 128)
    return Stage(length, sizes=(scale.size,), share=share, window=WINDOW if length > WINDOW else 0, **more)


def run_of(stages: tuple[Stage, ...], minutes: float, out: Path, resume: Path | None) -> TrainConfig:
    """One training."""
    return TrainConfig(
        out=out,
        minutes=minutes,
        stages=stages,
        warmup=30,  # steps of 256 frames a take are few
        flat=0.55,
        muon=0.6,
        compiled=torch.cuda.is_available(),
        resume=resume,
        look_every=120.0,
        held_out=8,
        world=WORLD,
    )


def learn(config: TrainConfig, model: Any) -> Path:
    """Train; on a GPU in a process of its own, which may fail and go on. Returns the weights."""
    (train_and_keep_going if torch.cuda.is_available() else train)(config, model)
    return config.out / "average.safetensors"


def frames_per_second(log: Path) -> float:
    """The median over a run's reports."""
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return float(np.median([r["frames_per_second"] for r in records if r["event"] == "train"]))


def operations(scale: Scale) -> float:
    """Of one frame forwards and backwards: three times those forwards."""
    learner = make_learner(scale.model)
    counter = FlopCounterMode(display=False)
    with counter:
        learner.walk(torch.rand(1, 1, 3, *scale.size), torch.zeros(1, dtype=torch.int64))
    return 3.0 * counter.get_total_flops()


def draw_tests(scale: Scale, device: torch.device) -> Drawn:
    """The same test takes for all lengths, at most one drawn at a time."""
    torch.manual_seed(SEED)
    frames = max(scale.frames)
    window = max(n for n in range(2, min(frames, 50) + 1) if frames % n == 0)
    world = replace(WORLD, chunk=frames)
    shape = Shape(scale.tests, frames, *scale.size, window)
    return draw_takes(world, shape, device, fast=device.type == "cuda")


@torch.no_grad()
def test(weights: Path, scale: Scale, drawn: Drawn, device: torch.device) -> dict[str, dict[int, dict[str, float]]]:
    """Figures by rule and length. All rules are walked in one batch."""
    learner = make_learner(scale.model)
    load_learner(learner, weights)
    learner.to(device).eval()
    count = len(drawn.depth)
    rules = torch.tensor(list(RULES.values()), device=device).repeat_interleave(count)
    rule, flags = MixedRule(rules), Flags.plain(len(rules), device)
    state = learner.model.begin(len(rules), rule)
    depths, poses = [], []
    precision = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    for t in range(max(scale.frames)):
        images = drawn.pictures[:, t].float().div(127.5).sub(1).repeat(len(RULES), 1, 1, 1)
        with precision:
            exchange, state = absorb(learner.model, state, learner.model.tokenize(Views(image=images)), rule, flags)
            heads = learner.model.detokenize(exchange)
        depths.append(heads.points_self[:, ::4, ::4, 2].float().cpu())
        poses.append(world_from_cam(heads.pose.float()).cpu())
    said, path = wide(torch.stack(depths, 1)), wide(torch.stack(poses, 1))
    true, true_path = wide(drawn.depth[..., ::4, ::4]), wide(drawn.first_from_cam)
    found: dict[str, dict[int, dict[str, float]]] = {}
    for r, name in enumerate(RULES):
        for n in scale.frames:
            rows = [
                (said[r * count + i, :n], path[r * count + i, :n], true[i, :n], true_path[i, :n]) for i in range(count)
            ]
            summary = summarize([TakeFigures(depth_figures(z, g), pose_figures(p, q), 0.0) for z, p, g, q in rows])
            kept = ("abs_rel", "rotation_ratio", "ate_over_spread")
            found.setdefault(name, {})[n] = {key: float(getattr(summary, key)) for key in kept}
    return found


def wide(x: Tensor) -> np.ndarray:
    """As the figures want it."""
    return x.cpu().double().numpy()


def table(rows: Sequence[dict[str, Any]], frames: Sequence[int]) -> Grid:
    """A row for each length and rule."""
    head = ("takes of", "rule", "frames/s", "% of peak")
    head += tuple(f"{what} {n}" for what in ("ATE/spread", "rotation", "AbsRel") for n in frames)
    lines = []
    for row in rows:
        for rule, found in row["figures"].items():
            numbers = [found[n][key] for key in ("ate_over_spread", "rotation_ratio", "abs_rel") for n in frames]
            speed = (f"{row['frames_per_second']:.0f}", f"{100 * row['share_of_peak']:.1f}")
            lines.append((str(row["length"]), rule, *speed, *(f"{x:.3f}" for x in numbers)))
    return Grid("Trained on takes of so many frames, for the same time", head, tuple(lines))


def study(
    scale: Scale, lengths: Sequence[int], minutes: float, start_minutes: float, out: Path, resume: Path | None
) -> list[dict[str, Any]]:
    """Train, test and write; returns the rows."""
    begun, rows = time.monotonic(), []
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    work = operations(scale)
    drawn = draw_tests(scale, device)
    if start_minutes:
        stages = (
            stage(min(3, *lengths), scale, until=0.5, flow_below=0.6, gated=0.0),
            stage(min(4, *lengths), scale, until=1.0),
        )
        resume = learn(run_of(stages, start_minutes, out / "start", resume), scale.model)
    for length in lengths:
        config = run_of((stage(length, scale, until=1.0),), minutes, out / f"length-{length}", resume)
        try:
            weights = learn(config, scale.model)
            speed = frames_per_second(config.out / "log.jsonl")
            figures = test(weights, scale, drawn, device)
        except Exception as error:  # the other lengths are worth having
            print(f"length {length} failed: {error}", flush=True)
            continue
        share = work * speed / PEAK
        rows.append({"length": length, "frames_per_second": speed, "share_of_peak": share, "figures": figures})
        about = {"minutes": minutes, "start_minutes": start_minutes, "operations_a_frame": work}
        about |= {"model": scale.model.to_dict(), "world": asdict(WORLD), "device": device.type}
        write_json(out / "length_study.json", about | {"rows": rows, "seconds": time.monotonic() - begun})
        grid = table(rows, scale.frames)
        write_text(out / "length_study.md", to_markdown([grid]))
        print_grid(grid, make_console())
    return rows


def numbers(text: str) -> tuple[int, ...]:
    """4,16 -> (4, 16)."""
    return tuple(int(word) for word in text.split(","))


def main() -> None:
    """Read the options, run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--lengths", type=numbers, default=(4, 16, 64, 256))
    parser.add_argument("--minutes", type=float, default=4.0, help="for each length, compiling included")
    parser.add_argument("--start-minutes", type=float, default=5.0, help="for what all begin with; 0: nothing")
    parser.add_argument("--resume", type=Path, default=None, help="weights of the study's model to begin with")
    parser.add_argument(
        "--tests", type=numbers, default=(16, 64, 256, 1000), help="frames after which figures are taken"
    )
    parser.add_argument("--test-takes", type=int, default=8)
    parser.add_argument("--tiny", action="store_true", help="small pictures and a tiny model")
    parser.add_argument("--out", type=Path, default=Path("length_study"))
    told = parser.parse_args()
    if told.tiny:
        scale = Scale(replace(SMALL.tiny(), image_size=48), (32, 48), 2, min(told.test_takes, 2), told.tests)
    else:
        scale = Scale(replace(SMALL, encoder_depth=3, decoder_depth=3), SIZE, TAKES, told.test_takes, told.tests)
    study(scale, told.lengths, told.minutes, told.start_minutes, told.out, told.resume)


if __name__ == "__main__":
    main()
