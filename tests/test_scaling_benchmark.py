# SPDX-License-Identifier: Apache-2.0
"""The benchmark of scaling: every family runs on every axis, what it keeps is a stream's, and the plot holds it all."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from longtake.rules import rule_names

PROGRAM = Path(__file__).resolve().parents[1] / "benchmarks" / "scaling.py"
sys.path.insert(0, str(PROGRAM.parent))
import growth  # noqa: E402
import scaling  # noqa: E402

GIVEN = argparse.Namespace(frames=2, seconds=60.0, grids="4x3,5x4", streams="1,2", graphs=False)


def test_a_label_names_a_model_and_what_it_keeps() -> None:
    assert scaling.parse("vggt:window=16") == ("vggt", {"window": 16})
    assert scaling.parse("cut3r-512:rule=filt3r") == ("cut3r-512", {"rule": "filt3r"})


def test_every_model_and_rule_has_a_curve() -> None:
    labels = scaling.labels_of("all", "all")
    assert {f"longtake-small:rule={rule}" for rule in rule_names()} <= set(labels)
    assert {"vggt", "fast3r:window=16", "point3r", "dust3r"} <= set(labels)
    assert scaling.labels_of("longtake-small:rule=half", "all") == ["longtake-small:rule=half"]


@pytest.mark.parametrize("label", ["longtake-small:rule=filt3r", "streamvggt:budget=16", "vggt", "point3r"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_all_axes_are_measured_and_bytes_are_a_streams(
    label: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaling, "LOOKS", 1)
    name, options = scaling.parse(label)
    model = scaling.build(name, tiny=True, device=torch.device("cpu"), precision=precision)
    rows = list(scaling.measure(model, options, GIVEN))
    assert [(row.axis, row.x) for row in rows] == [
        ("frames", 1), ("frames", 2), ("patches", 12), ("patches", 20), ("streams", 1), ("streams", 2),
    ]  # fmt: skip
    assert all(row.seconds > 0 and row.peak_bytes > 0 for row in rows)
    one, two = (row for row in rows if row.axis == "streams")
    if label != "point3r":  # how many of its pointers merge depends on the picture
        assert two.state_bytes == 2 * one.state_bytes
    stream = model.stream(**options)
    for t in range(2):
        stream.step(growth.picture(t))
    assert rows[1].state_bytes == stream.state_bytes


def test_the_program_leaves_a_table_json_and_a_plot(tmp_path: Path) -> None:
    words = [
        "--tiny",
        "--frames",
        "2",
        "--grids",
        "4x3",
        "--streams",
        "1,2",
        "--device",
        "cpu",
        "--rules",
        "ttt3r,half",
    ]
    said = subprocess.run(
        [sys.executable, str(PROGRAM), *words, "--out", str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    told = json.loads((tmp_path / "scaling.json").read_text())
    assert [curve["label"] for curve in told["curves"]] == ["longtake-small:rule=ttt3r", "longtake-small:rule=half"]
    assert len(said.splitlines()) == 2 * 5 + 1 and "frames/s in total" in said
    with Image.open(tmp_path / "scaling.png") as picture:
        colors = {color for _, color in picture.convert("RGB").getcolors(1 << 24) or []}
    assert {(0x3B, 0x62, 0xD6), (0xD9, 0x86, 0x1E)} <= colors
