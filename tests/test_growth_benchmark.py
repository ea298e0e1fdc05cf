# SPDX-License-Identifier: Apache-2.0
"""The benchmark of growth: every family runs in it, what it fills is what a stream keeps, and it says why it ended."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import growth  # noqa: E402
from growth_plot import draw_growth  # noqa: E402

LABELS = growth.ALL.split(",")


def tiny(label: str) -> tuple[growth.Model, dict[str, int]]:
    name, options = growth.parse(label)
    return growth.build(name, tiny=True, device=torch.device("cpu"), precision="float32"), options


def test_checkpoints_end_where_they_should() -> None:
    assert growth.checkpoints(1) == [1]
    assert growth.checkpoints(50) == [1, 2, 5, 10, 20, 50]
    assert growth.checkpoints(70) == [1, 2, 5, 10, 20, 50, 70]


@pytest.mark.parametrize("label", LABELS)
def test_kept_bytes_are_those_of_a_stream_that_saw_the_frames(label: str) -> None:
    """So the memories that are filled without reading are what reading would have left."""
    model, options = tiny(label)
    *rows, ended = growth.measure(model, options, 5, 60.0)
    assert ended == growth.Ended("frames", 5)
    assert [row.t for row in rows] == [1, 2, 5]
    stream = model.stream(**options)
    kept = [0]
    for t in range(5):
        stream.step(growth.picture(t))
        kept.append(stream.state_bytes)
    assert [row.state_bytes for row in rows] == [kept[row.t] for row in rows]
    assert all(row.seconds > 0 and row.peak_bytes > 0 for row in rows)


@pytest.mark.parametrize("label", ["vggt", "fast3r"])
def test_a_memory_filled_without_reading_is_the_one_that_reading_leaves(label: str) -> None:
    model, _ = tiny(label)
    filled, read = model.stream(), model.stream()
    for t in range(3):
        growth.write(filled, t, reading=t == 0)
        growth.write(read, t, reading=True)
    features = [stream.state.memories[0]["features"] for stream in (filled, read)]
    torch.testing.assert_close(*features)
    assert [frame.index for frame in filled.shown[0]] == [frame.index for frame in read.shown[0]]
    assert len(filled.step(growth.picture(3)).revised) == len(read.step(growth.picture(3)).revised) == 3


@pytest.mark.parametrize("label", ["streamvggt", "dust3r"])
def test_a_memory_filled_by_copies_has_the_shapes_that_reading_leaves(label: str) -> None:
    model, _ = tiny(label)
    filled, read = model.stream(), model.stream()
    for t in range(5):
        growth.write(filled, t, reading=growth.must_read(model, {}, t))
        growth.write(read, t, reading=True)
    ours, theirs = filled.state.memories[0], read.state.memories[0]
    assert {name: (x.shape, x.dtype) for name, x in ours.items()} == {n: (x.shape, x.dtype) for n, x in theirs.items()}
    assert growth.must_read(model, {"budget": 3}, 4) == (label == "streamvggt"), "which keys go depends on the keys"
    assert filled.step(growth.picture(5)).points.shape == read.step(growth.picture(5)).points.shape


def test_what_was_measured_to_its_end_is_not_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*words: str) -> list[str]:
        monkey = pytest.MonkeyPatch()
        with monkey.context() as patch:
            patch.setattr(sys, "argv", ["growth.py", "--tiny", "--device", "cpu", "--out", str(tmp_path), *words])
            assert growth.main() == 0
        return [line.split()[0] for line in capsys.readouterr().out.splitlines() if " done at" in line]

    assert call("--frames", "2", "--models", "longtake-small,dust3r") == ["longtake-small", "dust3r"]
    assert call("--frames", "2", "--models", "longtake-small,dust3r,fast3r") == ["fast3r"]
    models = json.loads((tmp_path / "growth.json").read_text())["models"]
    assert [m["label"] for m in models] == ["longtake-small", "dust3r", "fast3r"]
    assert call("--frames", "3", "--models", "dust3r") == ["dust3r"], "two frames are not three"


def test_a_run_out_of_time_or_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model, options = tiny("streamvggt")
    ticks = iter(range(1000))
    *rows, ended = growth.measure(model, options, 50, 7.0, clock=lambda: float(next(ticks)))
    assert ended == growth.Ended("time", 20) and [row.t for row in rows] == [1, 2, 5, 10]
    model, _ = tiny("vggt")
    encode = model.module.tokenize
    left = iter(range(9))

    def until_full(views: growth.Views) -> object:
        if next(left, None) is None:
            raise torch.OutOfMemoryError("as a device would")
        return encode(views)

    monkeypatch.setattr(model.module, "tokenize", until_full)
    *rows, ended = growth.measure(model, {}, 50, 60.0)
    assert ended.why == "memory" and len(rows) in (1, 2) and rows[-1].t < ended.at <= 5


def test_the_picture_tells_the_ends_apart() -> None:
    rows = [{"t": t, "seconds": 0.01 * t, "peak_bytes": 1e9 * t, "state_bytes": 1e6 * t} for t in (1, 2, 5)]
    about = {"sizes": "tiny", "precision": "float32", "device": "cpu", "torch": "2"}

    def drawn(why: str) -> bytes:
        model = {"label": "vggt", "memory": "full", "parameters": 10, "rows": rows, "ended": {"why": why, "at": 10}}
        nothing = {"label": "fast3r", "rows": [], "ended": {"why": "memory", "at": 1}}
        return draw_growth(about, [model, nothing]).tobytes()

    assert len({drawn(why) for why in ("frames", "time", "memory")}) == 3
