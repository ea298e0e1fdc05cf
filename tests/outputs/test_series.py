# SPDX-License-Identifier: Apache-2.0
"""What the report plots against time is what the files say, in columns however long the take is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from take_maker import pose, prediction, record

from longtake.geometry.similarity import Similarity
from longtake.outputs.depth import read_depth
from longtake.outputs.pictures import read_confidence
from longtake.outputs.plots import draw_plot, draw_tracking, plots_of, scale_of
from longtake.outputs.series import COLUMNS, read_series, spans
from longtake.outputs.takefiles import CAMERA_LINES
from longtake.outputs.tracking_strip import STATES
from longtake.outputs.trajectory import Trajectory


def lines(out: Path, count: int, **changes: object) -> list[dict]:
    """Turn a finished take's cameras back into the lines that the report reads."""
    record(out, count, report=False)
    records = json.loads((out / "cameras.json").read_text("utf-8"))["frames"]
    records = [each | changes for each in records]
    write(out, records)
    return records


def write(out: Path, records: list[dict]) -> None:
    (out / CAMERA_LINES).write_text("".join(json.dumps(each) + "\n" for each in records), "utf-8")


def test_curves_are_those_of_the_files(tmp_path: Path) -> None:
    records = lines(tmp_path, 12, written=0.25)
    series = read_series(tmp_path, [0.01 * i for i in range(12)])
    assert series is not None and series.in_seconds and not series.trouble and series.error is None
    np.testing.assert_array_equal(series.index, [3 * i for i in range(12)])
    for i in range(1, 12):
        here, there = pose(i).double().numpy(), pose(i - 1).double().numpy()
        assert series.curves["speed"][i] == pytest.approx(np.linalg.norm(here[:3, 3] - there[:3, 3]) / 0.1, rel=1e-3)
        turn = np.arccos((np.trace(here[:3, :3] @ there[:3, :3].T) - 1) / 2)
        assert series.curves["turning"][i] == pytest.approx(np.degrees(turn) / 0.1, rel=1e-2, abs=0.2)
    assert np.isnan(series.curves["speed"][0])
    for i, each in enumerate(records):
        for name, read in (("confidence", read_confidence), ("depth", read_depth)):
            values = read(tmp_path / each[name])
            np.testing.assert_allclose(series.curves[name][i], np.percentile(values[values > 0], (10, 50, 90)))
    np.testing.assert_allclose(series.curves["focal"], prediction(0).intrinsics_original[0, 0])
    np.testing.assert_allclose(series.curves["written"], 0.25)
    np.testing.assert_allclose(series.curves["latency"], [0.01 * i for i in range(12)])


def test_times_of_a_calendar_are_counted_from_the_first_frame(tmp_path: Path) -> None:
    """As recordings' files of timestamps have them: an axis of ten digits would say the same at every mark."""
    records = lines(tmp_path, 12)
    write(tmp_path, [each | {"time": 1_305_031_102.25 + 0.125 * i} for i, each in enumerate(records)])
    series = read_series(tmp_path)
    assert series is not None and series.in_seconds and series.time[0] == 1_305_031_102.25
    np.testing.assert_allclose(series.clock, 0.125 * np.arange(12))
    words = re.findall(r'<span style="left:[\d.]+%">([^<]*)</span>', draw_tracking(series))
    assert len(set(words)) == len(words) > 2 and words[0] == "0"


def test_a_long_take_becomes_columns_that_lose_nothing(tmp_path: Path) -> None:
    base = lines(tmp_path, 2)
    count = 5 * COLUMNS + 3
    eye = np.eye(4)
    records = []
    for i in range(count):
        eye[0, 3] = 0.01 * i + (i % 2)  # to and fro: neighbours in a column are far apart, its ends are not
        tracking = "lost" if i == 777 else "ok"
        records.append(base[i % 2] | {"time": i / 10, "world_from_cam": eye.tolist(), "tracking": tracking})
    write(tmp_path, records)
    series = read_series(tmp_path)
    assert series is not None and len(series.number) == COLUMNS
    assert (np.diff(series.number) >= 5).all() and series.number[0] == 0
    steps = np.abs(np.diff([each["world_from_cam"][0][3] for each in records])) / 0.1
    assert np.average(series.curves["speed"], weights=np.diff(np.append(series.number, count))) == pytest.approx(
        steps.mean(), rel=0.01
    )
    assert (series.tracking == STATES.index("lost")).sum() == 1


def truth_of(count: int, move: Similarity, every: int = 1, ahead: float = 0.0, noise: float = 0.0) -> Trajectory:
    poses = move.poses(np.stack([pose(i).double().numpy() for i in range(0, count, every)]))
    poses[:, 1, 3] += noise * (-1.0) ** np.arange(len(poses))
    return Trajectory(np.arange(0, count, every) / 10 + ahead, poses)


@pytest.mark.parametrize(("every", "ahead"), [(1, 0.0), (2, 0.0), (1, 1.7e9), (2, 1.7e9)])
def test_a_path_that_is_only_moved_and_scaled_has_no_error(every: int, ahead: float, tmp_path: Path) -> None:
    lines(tmp_path, 40)
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    move = Similarity(3.0, turn, np.array([1.0, -2, 5]))
    series = read_series(tmp_path, truth=truth_of(40, move, every, ahead))
    assert series is not None and series.error == pytest.approx(0, abs=1e-4)
    assert np.isfinite(series.curves["error"]).sum() == 40 // every
    away = read_series(tmp_path, truth=truth_of(40, move, every, ahead, noise=0.2))
    assert away is not None and away.error == pytest.approx(0.2, rel=0.03)
    known = away.curves["error"][np.isfinite(away.curves["error"])]
    assert np.sqrt(np.square(known).mean()) == pytest.approx(away.error)


def test_where_nothing_fits_the_page_says_so(tmp_path: Path) -> None:
    lines(tmp_path, 6)
    few = Trajectory(np.array([0.0, 500.0]), np.tile(np.eye(4), (2, 1, 1)))
    series = read_series(tmp_path, truth=few)
    assert series is not None and "only 1 of 6 frames" in series.trouble and "error" not in series.curves
    still = Trajectory(np.arange(6) / 10, np.tile(np.eye(4), (6, 1, 1)))
    series = read_series(tmp_path, truth=still)
    assert series is not None and "directions" in series.trouble


def test_frames_without_time_or_pose_are_drawn_by_number(tmp_path: Path) -> None:
    records = lines(tmp_path, 5, time=0.0)
    records[2] |= {"world_from_cam": None, "intrinsics_original": None}
    write(tmp_path, records)
    series = read_series(tmp_path)
    assert series is not None and not series.in_seconds
    assert {plot.name for plot in plots_of(series, "units")} == {"confidence", "depth", "focal"}
    assert np.isnan(series.curves["focal"][2])
    write(tmp_path, [])
    assert read_series(tmp_path) is None


def test_states_share_the_axis_without_a_gap(tmp_path: Path) -> None:
    records = lines(tmp_path, 30)
    rng = np.random.default_rng(1)
    for each in records:
        each["tracking"] = STATES[rng.integers(3)]
    write(tmp_path, records)
    series = read_series(tmp_path)
    assert series is not None
    parts = sorted(part for state in STATES for part in spans(series, state))
    assert parts[0][0] == 0 and parts[-1][1] == 1
    assert all(a[1] == pytest.approx(b[0]) for a, b in zip(parts, parts[1:], strict=False))


@pytest.mark.parametrize("values", [[1, 1, 1], [0.0], [np.nan, 2], [-3, 8], [1e-9, 2e-9], [0] * 99 + [1e6], [np.nan]])
def test_an_axis_has_round_numbers_within_it(values: list[float]) -> None:
    curve = np.array(values, float)
    for from_zero in (True, False):
        low, high, ticks = scale_of(curve, from_zero=from_zero)
        assert low < high and 1 <= len(ticks) <= 7 and all(low <= tick <= high for tick in ticks)
        usual = curve[np.isfinite(curve)]
        if len(usual) < 99:
            assert all(low <= value <= high for value in usual)


def test_a_curve_is_drawn_across_a_few_missing_values_and_not_across_many(tmp_path: Path) -> None:
    lines(tmp_path, 60)
    series = read_series(tmp_path)
    assert series is not None
    (plot,) = [plot for plot in plots_of(series, "m") if plot.name == "speed"]
    assert draw_plot(plot, series).count('class="curve"') == 1
    series.curves["speed"][10:13] = np.nan
    assert draw_plot(plot, series).count('class="curve"') == 1
    series.curves["speed"][30:50] = np.nan
    assert draw_plot(plot, series).count('class="curve"') == 2
