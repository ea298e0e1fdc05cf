# SPDX-License-Identifier: Apache-2.0
"""Recipes say what the logs of the shipped runs say, and run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import TINY

from longtake.training.loop import train
from longtake.training.recipes import RECIPES, recipe
from longtake.training.schedule import Schedule
from longtake.training.shapes import shape_of

LOGS = Path(__file__).resolve().parents[2] / "docs" / "logs"


def logged_runs() -> dict[str, list[dict[str, Any]]]:
    """By part: the records of its run; the third and the fourth log hold two runs each, one after the other."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for version in "1234":
        text = (LOGS / f"longtake-small-{version}.jsonl").read_text(encoding="utf-8")
        for record in map(json.loads, text.splitlines()):
            if record["event"] == "start":
                current = runs.setdefault(version if version not in runs else f"{version}b", [])
            current.append(record)
    return runs


@pytest.mark.parametrize("part", RECIPES["small"])
def test_the_recipe_is_what_the_log_of_the_shipped_run_says(part: str) -> None:
    config = RECIPES["small"][part]
    records = logged_runs()[part]
    looks = [r for r in records if r["event"] == "train"]
    stages = sorted({r["stage"] for r in looks})
    assert stages == list(range(config.start_stage, len(config.stages)))
    assert {r["stage"]: r["take"] for r in looks} == {i: config.stages[i].frames for i in stages}
    logged = {(r["takes"], r["height"], r["width"]) for r in records if r["event"] == "shape"}
    shapes = [
        shape_of(stage, turn, config.frames_per_step)
        for stage in config.stages[config.start_stage :]
        for turn in range(len(stage.sizes))
    ]
    assert logged == {(s.takes, s.height, s.width) for s in shapes}
    # The last look is after the budget; the run that ended early has none, and of part 4 is kept what led to its
    # weights.
    assert (records[-1] if part != "3" else looks[-1])["seconds"] == pytest.approx(config.minutes * 60, abs=8)
    # The rate of the first report that is warm, and long before it falls.
    schedule = Schedule(config.stages, config.rate, config.warmup, config.flat)
    assert looks[0]["rate"] == pytest.approx(schedule.learning_rate(0, looks[0]["step"] - 1), rel=1.5)
    assert max(r["rate"] for r in looks) == pytest.approx(config.rate, rel=1e-2)
    for r in looks[1:]:
        if "progress" in r and part != "4":  # whose budget was that of a longer run
            assert r["rate"] == pytest.approx(schedule.learning_rate(r["progress"], r["step"] - 1), rel=0.02)


def test_each_part_goes_on_from_the_one_before(tmp_path: Path) -> None:
    parts = recipe("small", tmp_path)
    assert [part.resume for part in parts] == [None, *(part.out / "average.safetensors" for part in parts[:-1])]
    for part in parts[:2]:
        tiny = [replace(stage, sizes=((32, 48),), frames=2) for stage in part.stages]
        train(replace(part, stages=tuple(tiny), frames_per_step=1, max_steps=1, held_out=1), TINY)
    records = [json.loads(line) for line in (parts[1].out / "log.jsonl").read_text().splitlines()]
    assert [r["stage"] for r in records if r["event"] == "train"] == [1]
