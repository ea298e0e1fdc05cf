# SPDX-License-Identifier: Apache-2.0
"""Odd data sets from the command line: a stated value, a named reason or an error that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from evaluation_oracle import write_take
from model_files import our_file
from PIL import Image

from longtake import cli

Change = Callable[[Path], object]


def poses(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Rewrite poses.txt."""

    def rewrite(take: Path) -> None:
        table = change(np.loadtxt(take / "poses.txt").reshape(-1, 16))
        np.savetxt(take / "poses.txt", table)

    return rewrite


def first_only(take: Path) -> None:
    for path in sorted(take.glob("*/*.png")):
        if path.stem != "000000":
            path.unlink()
    poses(lambda table: table[:1])(take)


def no_depth(take: Path) -> None:
    for path in (take / "depth").iterdir():
        Image.fromarray(np.zeros((24, 32), np.uint16)).save(path)


def rounding(table: np.ndarray) -> np.ndarray:
    table = np.tile(table[:1], (len(table), 1))
    table[:, [3, 7, 11]] *= 1 + 1e-16 * np.arange(len(table))[:, None]
    return table


def set_at(row: int, column: int, value: float) -> Change:
    def change(table: np.ndarray) -> np.ndarray:
        table[row, column] = value
        return table

    return poses(change)


def run(take: Path, change: Change, out: Path) -> int:
    write_take(take, frames=5)
    change(take)
    weights = our_file(take.parent / "w.safetensors")
    words = ["evaluate", "rgbd", str(take), "--rule", "ttt3r", "--weights", str(weights), "--device", "cpu"]
    return cli.main([*words, "--cloud-points", "300", "--json", str(out)])


STILL = "the true camera stands still"


@pytest.mark.parametrize(
    ("change", "frames", "reasons"),
    [
        (poses(lambda table: np.tile(table[:1], (5, 1))), 5, {"ate_over_spread": STILL, "ate_sim3": "degenerate"}),
        (poses(rounding), 5, {"ate_over_spread": STILL, "translation_direction_deg": STILL}),
        (no_depth, 5, {"absrel_scale": "no pixel has a valid true depth", "acc": "no frame has a true pose"}),
        (first_only, 1, {"ate_sim3": "one pose: there is nothing to align"}),
        (set_at(2, 3, np.nan), 4, {}),
        (set_at(0, 7, np.inf), 4, {}),
        (lambda take: (take / "rgb" / "000003.png").write_bytes(b""), 4, {}),
    ],
    ids=["still", "rounding", "no depth", "one frame", "nan pose", "infinite pose", "unreadable picture"],
)  # fmt: skip
def test_a_value_or_a_reason(change: Change, frames: int, reasons: dict[str, str], tmp_path: Path) -> None:
    assert run(tmp_path / "take", change, tmp_path / "out") == 0
    (found,) = json.loads((tmp_path / "out" / "take.json").read_text())["runs"].values()
    figures, page = found["figures"], (tmp_path / "out" / "report.html").read_text()
    assert figures["frames"] == frames
    assert {name for name, value in figures.items() if value is None} <= set(figures["reasons"])
    for name, said in reasons.items():
        assert said in figures["reasons"][name] and said in page
    assert len(found["frames_used"]) + len(found["frames_dropped"]) == (5 if frames > 1 else 1)
    assert all(each["reason"] in page or "empty" in each["reason"] for each in found["frames_dropped"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (poses(lambda table: table * np.nan), "no frame is left; dropped: 000000.png (its pose is not finite"),
        (poses(lambda table: table[:3]), "5 pictures in rgb/ but 3 lines in poses.txt"),
        (lambda take: (take / "poses.txt").write_bytes(b"\xff\xfe\x00"), "cannot be read as text"),
        (lambda take: (take / "intrinsics.txt").unlink(), "no such file; the layout wants it. Fetch or unpack it"),
        (lambda take: (take / "poses.txt").unlink(), "no rgbd sequence here; pass the root of a data set"),
        (lambda take: [path.write_bytes(b"") for path in (take / "rgb").iterdir()], "nothing could be measured"),
    ],
    ids=["nan", "fewer poses", "no text", "no camera", "no poses", "no picture"],
)  # fmt: skip
def test_what_cannot_be_measured_is_an_error_with_a_remedy(
    change: Change, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "take", change, tmp_path / "out") == 2
    assert said in capsys.readouterr().err


def test_a_folder_of_another_layout_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_take(tmp_path / "take", frames=2)
    (tmp_path / "empty").mkdir()
    assert cli.main(["evaluate", "tum", str(tmp_path / "take")]) == 2
    assert "It has the layout of rgbd: name that instead." in capsys.readouterr().err
    assert cli.main(["evaluate", "tum", str(tmp_path / "empty")]) == 2
    assert "no tum sequence here; pass the root" in capsys.readouterr().err
    assert cli.main(["data", "check", str(tmp_path / "empty")]) == 2
    assert "no known layout; it holds nothing" in capsys.readouterr().err
