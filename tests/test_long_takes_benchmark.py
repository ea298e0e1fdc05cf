# SPDX-License-Identifier: Apache-2.0
"""The benchmark of long takes: its walk is the stream's own, what is done is kept, and it stops when it is told to."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from stream_models import SMALL, build

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import long_takes  # noqa: E402
import long_takes_walk  # noqa: E402

from longtake.stream import Streams  # noqa: E402
from longtake.synthetic.config import worlds  # noqa: E402

RUNS = ("filt3r", "recal3r+memix", "overwrite@4@scale", "ttt3r@3@exact", "filt3r@spent:3+cut@sim3")


def model() -> Any:
    return SimpleNamespace(module=build(SMALL), device=torch.device("cpu"), name="tiny")


@pytest.mark.parametrize("run", RUNS)
def test_the_walk_says_what_streams_say(run: str) -> None:
    """Resets by number and by trigger, joins, and the rate of each frame."""
    tiny = model()
    pictures = torch.randint(0, 256, (10, 2, 3, 32, 48), generator=torch.Generator().manual_seed(3)).byte()
    pictures[6] = pictures[5]  # and something that can be followed
    walked = long_takes_walk.walk(tiny, run, long_takes_walk.Walks(pictures, np.zeros((2, 10, 4, 4))))
    rule, options = long_takes_walk.options_of(run)
    streams = Streams(tiny.module, 2, rule=rule, **options)
    chains = []
    for t in range(10):
        said = streams.step([p.permute(1, 2, 0).numpy() for p in pictures[t]])
        for i, prediction in enumerate(said):
            assert prediction is not None
            np.testing.assert_allclose(walked.world_from_cam[i, t], prediction.world_from_cam, atol=1e-5)
            assert walked.tracking[i, t] == prediction.tracking_code
        chains.append(streams.state.world_from_chunk.clone())
    assert len(walked.rates) == 10 and walked.rates[0] == 1
    assert walked.state_bytes == streams.state_bytes // 2
    moved = any(not torch.equal(chain, chains[0]) for chain in chains)
    assert moved == ("@" in run), "or resets were not tested"


def test_pictures_are_what_the_model_sees() -> None:
    walks = long_takes_walk.draw_walks(model(), 1, 8, (64, 96), world=replace(worlds()["first"], effects=False))
    assert walks.pictures.shape == (8, 1, 3, 32, 48) and walks.pictures.dtype == torch.uint8
    places = walks.world_from_cam[0, :, :3, 3]
    assert np.linalg.norm(places[-1] - places[1]) < 0.5 * np.linalg.norm(places[4] - places[0]), "they come back"


def test_kept_walks_are_the_same_and_not_drawn_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what was drawn of another length or world is not taken for them."""
    world = replace(worlds()["first"], effects=False)
    draw = partial(long_takes_walk.draw_walks, model(), 2, keep=tmp_path)
    first, again = (draw(4, (32, 48), world=world) for _ in range(2))
    assert torch.equal(first.pictures, again.pictures)
    np.testing.assert_array_equal(first.world_from_cam, again.world_from_cam)
    assert capsys.readouterr().out.count("drew take") == 2
    draw(5, (32, 48), world=world)
    draw(4, (32, 48), world=worlds()["bare"])
    assert capsys.readouterr().out.count("drew take") == 4


def test_a_walk_that_closes_loops_is_the_same_where_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    """One take after the other through the stream itself; that a loop straightens a take, test_closing shows."""
    tiny = model()
    pictures = torch.randint(0, 256, (35, 2, 3, 32, 48), generator=torch.Generator().manual_seed(5)).byte()
    walks = long_takes_walk.Walks(pictures, np.zeros((2, 35, 4, 4)))
    batch, each = (long_takes_walk.walk(tiny, run, walks) for run in ("ttt3r@4@scale", "ttt3r@4@scale@loops"))
    assert capsys.readouterr().out == "take 1 of 2: 0 loops\ntake 2 of 2: 0 loops\n"
    np.testing.assert_allclose(each.world_from_cam, batch.world_from_cam, atol=1e-4)
    np.testing.assert_allclose(each.rates, batch.rates, atol=2e-5)
    np.testing.assert_array_equal(each.tracking, batch.tracking)
    assert each.state_bytes == batch.state_bytes


def test_a_run_that_is_cut_short_is_a_result_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--takes", "1", "--frames", "4", "--size", "64x48", "--device", "cpu", "--out", str(tmp_path)]
    words += ["--rules", "overwrite,constant:0.5", "--combined", "filt3r@2@scale"]
    long_takes.main([*words, "--budget", "0"])
    assert "overwrite, constant:0.5, filt3r@2@scale; the same command goes on" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    long_takes.main(words)
    table = json.loads((tmp_path / "table.json").read_text())
    assert {row[0] for row in table["rows"]} == {"overwrite", "constant:0.5", "filt3r@2@scale"}
    assert (tmp_path / "rules.png").stat().st_size > 1000 and (tmp_path / "resets.png").exists()
    (tmp_path / "runs" / "overwrite.json").unlink()
    before = (tmp_path / "table.md").read_text()
    capsys.readouterr()
    long_takes.main([*words, "--budget", "600"])
    out = capsys.readouterr().out
    assert "overwrite: ATE/spread" in out and "constant:0.5: ATE/spread" not in out, "only what was missing is walked"
    after = (tmp_path / "table.md").read_text()
    speeds = [index for index, head in enumerate(table["head"]) if head == "frames/s"]

    def figures(text: str) -> list[list[str]]:
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
        return [[cell for i, cell in enumerate(row) if i not in speeds] for row in rows[2:]]

    assert len(figures(before)) == 3 and figures(after) == figures(before)


WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("av", "tyro"):
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Absent())
import long_takes
long_takes.read_options([])
"""


def test_it_needs_neither_the_video_library_nor_the_parser_of_verbs() -> None:
    """On a machine with a GPU there may be nothing but PyTorch and what the package cannot do without."""
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, cwd=BENCHMARKS)
