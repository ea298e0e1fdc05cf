# SPDX-License-Identifier: Apache-2.0
"""The length study: every length has steps of as many takes, and its run leaves figures for every rule and length."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from tiny import TINY

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import length_study  # noqa: E402

from longtake.training.shapes import shape_of  # noqa: E402

SCALE = length_study.Scale(TINY, (32, 48), 2, 2, (2, 6))


def test_every_length_has_as_many_takes_and_gradients_through_a_window_at_most() -> None:
    for scale in (SCALE, length_study.Scale(TINY, length_study.SIZE, length_study.TAKES, 8, (16,))):
        for length in (3, 4, 16, 32, 64, 256):
            shape = shape_of(length_study.stage(length, scale, until=1.0), 0, 1024)
            assert shape.takes == scale.takes
            assert shape.frames == length
            assert length // shape.windows <= length_study.WINDOW


@pytest.mark.slow
def test_a_study_leaves_its_figures_after_each_length(tmp_path: Path) -> None:
    length_study.study(SCALE, (2, 0, 4), 0.05, 0.0, tmp_path, None)  # takes of no frames fail, and only they
    rows = json.loads((tmp_path / "length_study.json").read_text())["rows"]
    assert [row["length"] for row in rows] == [2, 4]
    for row in rows:
        assert row["frames_per_second"] > 0 and 0 < row["share_of_peak"] < 1
        for rule in ("overwrite", "ttt3r"):
            for n in ("2", "6"):
                assert all(math.isfinite(x) for x in row["figures"][rule][n].values())
    text = (tmp_path / "length_study.md").read_text()
    assert "ATE/spread 6" in text and "ttt3r" in text
