# SPDX-License-Identifier: Apache-2.0
"""Training where there is torch, NumPy, Pillow and safetensors only: `longtake train` with all numbers by name.

    python -m longtake.training.run --keep-going --metric-scale minutes=26 out=runs/next curriculum=long \\
        compiled=true resume=runs/train/average.safetensors new_confidence=true world.mesh_share=0.2

Numbers are those of `TrainConfig`, of its `world` and of its `weights`.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from longtake.catalog import find
from longtake.errors import LongtakeError
from longtake.training.job import changed, read_job
from longtake.training.keep_going import train_and_keep_going
from longtake.training.loop import TrainConfig, train
from longtake.training.recipes import RECIPES, recipe


def main(words: list[str] | None = None) -> None:
    """Read the words, train."""
    parser = argparse.ArgumentParser(prog="python -m longtake.training.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("changes", nargs="*", metavar="NAME=VALUE")
    parser.add_argument("--model", default="longtake-small")
    parser.add_argument(
        "--recipe", metavar="NAME:PART", help="begin from the numbers of a shipped run, such as small:3"
    )
    parser.add_argument("--metric-scale", action="store_true", help="let the model say metres, too")
    parser.add_argument("--keep-going", action="store_true", help="begin again after failures")
    parser.add_argument("--devices", type=int, default=1, help="with --keep-going: of this host, one process each")
    parser.add_argument("--job", type=Path, help="all of it from a file that a run with --keep-going wrote")
    told = parser.parse_args(words)
    if told.devices < 1 or (told.devices > 1 and not told.keep_going):
        parser.error(f"--devices {told.devices}: at least 1, and more than one with --keep-going or under torchrun")
    if told.job is not None:
        config, model_config = read_job(told.job)
    else:
        config, model_config = TrainConfig(), find(told.model).config
        if told.recipe is not None:
            name, _, part = told.recipe.partition(":")
            if part not in RECIPES.get(name, {}):
                parser.error(
                    f"--recipe {told.recipe}: there are " + ", ".join(f"{n}:{p}" for n in RECIPES for p in RECIPES[n])
                )
            config = recipe(name, config.out)[list(RECIPES[name]).index(part)]
        if told.metric_scale:
            model_config = replace(model_config, metric_scale=True)
    config = changed(config, told.changes)
    if told.keep_going:
        train_and_keep_going(config, model_config, told.devices)
    else:
        train(config, model_config)


if __name__ == "__main__":
    try:
        main()
    except LongtakeError as error:
        sys.exit(str(error))
