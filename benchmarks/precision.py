# SPDX-License-Identifier: Apache-2.0
"""What bf16 changes: error and speed of the embedded model in both precisions, on the yardstick's long takes.

python benchmarks/precision.py ../shared/data [--set long] [--rule ttt3r] [--device cpu]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import longtake
from longtake.engine import PRECISIONS
from longtake.evaluation.run import evaluate_takes
from longtake.evaluation.sets import find_sets


def main() -> None:
    """Run both, print a row each and the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--set", default="long")
    parser.add_argument("--rule", default="ttt3r")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    takes = next(each.takes for each in find_sets(options.data) if each.name == options.set)
    rows = []
    for precision in PRECISIONS:
        model = longtake.load(device=options.device, precision=precision)
        began = time.perf_counter()
        results = evaluate_takes(model, takes, options.rule, None, lengths=())
        seconds = time.perf_counter() - began
        ate = float(np.mean([r.figures.pose.ate for r in results]))
        abs_rel = float(np.mean([r.figures.depth.abs_rel for r in results]))
        fps = sum(len(r.indices) for r in results) / seconds
        rows.append((ate, abs_rel, fps))
        print(f"{precision:8s} mean ATE {ate:.4f}  mean AbsRel {abs_rel:.4f}  {fps:.1f} frames/s", flush=True)
    ratios = [new / old for old, new in zip(*rows, strict=True)]
    print("ratio    mean ATE {:.4f}  mean AbsRel {:.4f}  frames/s {:.2f}".format(*ratios))


if __name__ == "__main__":
    main()
