# SPDX-License-Identifier: Apache-2.0
"""Sequences in one row, marks where memory ran out, and pictures that show what they say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from benchmark_room import Knower, Room, cameras
from PIL import Image

from longtake.evaluation.benchmark.cloud_score import Clouds
from longtake.evaluation.benchmark.gather import gather, grids
from longtake.evaluation.benchmark.plot import COLORS, SIZE, Line, draw_plot
from longtake.evaluation.benchmark.portraits import CELL, Portrait, draw_portraits
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.benchmark.published import PUBLISHED, WORDS, beside_published
from longtake.evaluation.benchmark.walk import walk


def entry(sequence: str, figures: dict[str, Any], rule: str = "ttt3r") -> dict[str, Any]:
    done = {n: {"status": "ok", "depth_pixels": 1} | each if each else _LOST for n, each in figures.items()}
    return {"model": "m", "rule": rule, "sequence": sequence, "by_length": done}


_LOST = {"status": "out of memory", "reason": "out of memory after 3 frames"}


def test_paths_are_averaged_plainly_and_depth_by_pixels() -> None:
    (row,) = gather(
        [
            entry("a", {"50": {"ate_sim3": 1.0, "absrel_scale": 0.1, "depth_pixels": 100}}),
            entry("b", {"50": {"ate_sim3": 3.0, "absrel_scale": 0.4, "depth_pixels": 300}}),
            entry("c", {"50": {"ate_sim3": None, "absrel_scale": None, "depth_pixels": 0}}),
        ]
    )
    assert row.figures["ate_sim3"] == 2 and row.figures["absrel_scale"] == pytest.approx(0.325)
    assert (row.sequences, row.reached, row.counted["ate_sim3"]) == (3, 3, 2)
    (path, *_) = grids([row])
    assert path.rows[0][:3] == ("ttt3r", "50", "2.000 (2)")  # of three, two have the figure: it says so
    assert path.title == "Camera path: m, 3 sequences"


def test_the_ends_of_sequences_of_any_length_stand_in_one_row() -> None:
    whole = [entry(name, {str(n): {"ate_sim3": n / 10, "whole": n}}) for name, n in (("a", 20), ("b", 50))]
    nothing = {**entry("c", {}), "by_length": {"0": {"status": "no frame", "reason": "none", "whole": 0}}}
    (row,) = gather([*whole, nothing])
    assert (row.shortest, row.length, row.sequences, row.reached) == (20, 50, 3, 2)
    assert row.figures["ate_sim3"] == 3.5
    assert grids([row])[0].rows[0][:3] == ("ttt3r", "20 to 50", "3.500")
    assert grids([row])[0].title == "Camera path: m, 2 of 3 sequences"


def test_memory_is_told_at_each_length() -> None:
    kept = {str(n): {"state_bytes": n * 10**6, "peak_bytes": 10**8 + n} for n in (3, 6)}
    rows = gather([entry("a", kept)])
    assert [row.figures["state_mb"] for row in rows] == [3, 6]
    assert [cells[5:] for cells in grids(rows)[3].rows] == [("3.00", "100"), ("6.00", "100")]


def test_memory_that_ran_out_is_written_and_drawn() -> None:
    rows = gather([entry("a", {"50": {"ate_sim3": 0.5}, "100": {}})])
    assert [row.out_of_memory for row in rows] == [0, 1]
    (path, *_) = grids(rows)
    assert path.rows[1][2:5] == ("0 of 1", "out of memory", "-")
    plain, marked = (
        np.asarray(draw_plot("t", "u", [Line("a", ((50, 0.5), (80, 0.6)), lost), Line("b", ((50, 0.1), (100, 0.2)))]))
        for lost in (None, 100.0)
    )
    changed = np.argwhere((plain != marked).any(-1))
    assert len(changed) > 200
    blue = np.array([int(COLORS[0][i : i + 2], 16) for i in (1, 3, 5)])
    right = marked[:, SIZE[0] - 80 :]
    assert (np.abs(right.astype(int) - blue).sum(-1) < 12).sum() > 30  # the cross, at the length that was not reached


def test_a_plot_without_any_point_is_still_a_picture() -> None:
    assert draw_plot("t", "u", [Line("a", (), 50.0), Line("b", ())]).size == SIZE


def test_every_published_figure_is_named_and_printed_once() -> None:
    tables, sources = beside_published({})
    printed = sum(cell not in ("",) for grid in tables for row in grid.rows for cell in row[3:])
    assert printed == sum(len(row.values) for row in PUBLISHED)
    assert {row.figure for row in PUBLISHED} <= set(WORDS)
    assert {row[2] for grid in tables for row in grid.rows} == {source.split()[0] for source in sources}


def test_clouds_are_drawn_from_one_camera() -> None:
    poses = cameras(6)
    clouds = walk(Knower(poses), Room(poses), Protocol("rgbd")).clouds
    assert clouds is not None
    runs = {"same": clouds, "shifted": moved(clouds, 0.7), "lost": moved(clouds, 1e6)}
    page = np.asarray(draw_portraits([Portrait(words, "acc 0 m", each) for words, each in runs.items()]))
    cells = [page[124 : 124 + 2 * CELL[1] + 28, 40 + i * (CELL[0] + 28) :][:, : CELL[0]].astype(int) for i in range(4)]
    truth, same, shifted, lost = cells
    assert np.abs(truth - same).mean() < 3  # a perfect prediction looks like the truth
    assert np.abs(truth - shifted).mean() > 2 * np.abs(truth - same).mean() + 3
    empty = np.asarray(Image.fromarray(lost.astype(np.uint8)).convert("L"))
    assert empty.std() < 12  # points that are far away leave the floor alone


def moved(clouds: Clouds, by: float) -> Clouds:
    return replace(clouds, predicted=clouds.predicted + by, path=clouds.path + by)
