# SPDX-License-Identifier: Apache-2.0
"""`longtake compare --models a,b,c`: families side by side, and what each costs against the number of frames."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_files import our_file
from PIL import Image
from test_compare import write_take

from longtake import cli
from longtake.checkpoints import write_safetensors
from longtake.checkpoints.convert import TRANSLATIONS
from longtake.families.contract import Capabilities
from longtake.frame import Frame
from longtake.registry import MODELS, Model, load
from longtake.rules import RuleStep
from longtake.verbs._compare_cost import MARKS, Bill, Watched
from longtake.verbs._compare_pictures import panels
from longtake.verbs._compare_run import Clip, find_takes, run_entry
from longtake.verbs._compare_table import cost_grid, main_grid, spent_lines


def abilities(name: str) -> Capabilities:
    module: Any = MODELS[name].build()
    return module.capabilities


def tiny_file(folder: Path, name: str) -> str:
    """NAME=FILE with the weights of a tiny model of this name."""
    path, entry = folder / f"{name}.safetensors", MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module: Any = TRANSLATIONS[entry.family]().build(entry.config.tiny().to_dict())
    write_safetensors(path, module.state_dict(), module.config.to_dict(), entry.family)
    return f"{name}={path}"


def test_every_model_runs_under_the_rules_that_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_take(tmp_path / "take", frames=6, seed=1)
    words = ["compare", str(tmp_path / "take"), "--models", ",".join(tiny_file(tmp_path, name) for name in MODELS)]
    words += ["--rules", "ttt3r", "--window", "3", "--budget", "3", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    for name in MODELS:
        rule = "ttt3r" if abilities(name).rules else "append"
        told, *costs = [row for row in rows if row[:2] == [name, rule]]
        assert all(np.isfinite(float(cell)) for cell in told[2:9])
        assert [row[2] for row in costs] == ["frames/s", "peak", "kept"]
    assert ["model", "rule", "1", "2", "5", "6"] in rows
    told = json.loads((tmp_path / "out" / "compare.json").read_text())["entries"]
    kept = {each["model"]: [c["state_bytes"] for c in each["takes"][0]["costs"].values()] for each in told}
    for name, sizes in kept.items():
        bounded = abilities(name).bounded
        assert (sizes[0] == sizes[-1]) is bounded
        if "vggt" in name:  # a window and a budget of three frames: nothing grows after the fifth
            assert sizes[0] < sizes[2] == sizes[3]
    with Image.open(tmp_path / "out" / "compare.png") as picture:
        assert picture.height > 1200  # three more panels


def test_a_bill_is_the_sum_of_its_frames() -> None:
    bill, rng = Bill(), np.random.default_rng(0)
    seconds, peaks = rng.uniform(0.1, 1, 23), rng.integers(1, 100, 23)
    for i in range(23):
        bill.add(float(seconds[i]), int(peaks[i]), 10 * i, "ok")
    costs, before = bill.close(), 0
    assert list(costs) == [*(n for n in MARKS if n < 23), 23]
    for n, cost in costs.items():
        assert cost.frames_per_second == pytest.approx((n - before) / seconds[before:n].sum())
        assert (cost.peak_bytes, cost.state_bytes) == (peaks[:n].max(), 10 * (n - 1))
        before = n
    assert bill.seconds == pytest.approx(seconds.sum())
    assert bill.close() is costs and list(costs)[-1] == 23


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load("longtake-small", our_file(tmp_path / "w.safetensors"), device="cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak counts from the process's start")
def test_the_peak_is_that_of_the_steps(model: Model) -> None:
    """What is held between two steps and let go of again is not the model's."""
    watched = Watched(model, {}).streams(1, rule="ttt3r", reset_every=None)
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 0.0, 0)
    watched.step([frame])
    large = np.ones(300_000_000, np.uint8)
    del large
    watched.step([frame])
    first, second = (watched.bills[0].by_length[n].peak_bytes for n in (1, 2))
    assert first is not None and second is not None and second < first + 200_000_000


class Exhausting:
    """A rule that finds memory spent at its fourth call."""

    name = "exhausting"
    summary = "for tests"
    wants_logit = False

    def begin(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"calls": tokens.new_zeros(tokens.shape[0])}

    def __call__(self, tokens: Any, proposal: Any, stats: Any, buffers: Any) -> RuleStep:
        if buffers["calls"][0] == 3:
            raise MemoryError
        return RuleStep(torch.ones_like(tokens[..., :1]), proposal - tokens, {"calls": buffers["calls"] + 1})


def test_what_was_walked_before_memory_was_over_is_kept(tmp_path: Path, model: Model) -> None:
    write_take(tmp_path / "a", frames=9, seed=1)
    rule: Any = Exhausting()
    takes, clips = find_takes([str(tmp_path / "a")]), find_takes([str(tmp_path / "a" / "rgb")])
    entry, whole, seen = (
        run_entry(model, how, which, reset_every=None)
        for how, which in ((rule, takes), ("ttt3r", takes), (rule, clips))
    )
    (line,), (other,) = entry.takes, whole.takes
    done = line.out_of_memory_after
    assert done is not None and 0 < done < 9
    assert list(line.costs)[-1] == done and list(other.costs)[-1] == 9
    assert np.isnan(line.ate) and np.isnan(line.rpe_rotation) and max(line.by_length, default=0) <= done
    assert len(seen.takes[0].path) == seen.takes[0].out_of_memory_after == done
    assert spent_lines([entry, whole]) == [f"{entry.label}: out of memory after {done} frames of a"]
    row = cost_grid([whole, entry]).rows[3]
    assert row[-1] == "-" and row[3] != "-"
    assert main_grid([entry]).rows[0][2] == "-"
    assert panels([entry, whole])


def test_the_last_word_counts_where_frames_are_revised(tmp_path: Path) -> None:
    write_take(tmp_path / "a", frames=4, seed=1)
    file = tiny_file(tmp_path, "fast3r").partition("=")[2]
    model = load("fast3r", file, device="cpu")
    (clip,) = clips = find_takes([str(tmp_path / "a" / "rgb")])
    assert isinstance(clip, Clip)
    (line,) = run_entry(model, "overwrite", clips, reset_every=None).takes
    last = [*model.stream().run(clip.open())][-1]
    said = torch.stack([p.world_from_cam[:3, 3] for p in (*last.revised, last)])
    assert np.abs(line.path - said.numpy()).max() < 1e-6


def test_mistakes_are_named_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_take(tmp_path / "a", frames=3, seed=1)
    ours = f"longtake-small={our_file(tmp_path / 'w.safetensors')}"
    for models, more, said in (
        ("vggt", [], "the weights of vggt are not in this package"),
        (f"vggt={tmp_path / 'nothing.pth'}", [], "no such file"),
        ("vgt", [], "Did you mean 'vggt'"),
        (tiny_file(tmp_path, "point3r"), ["--window", "4"], "window=4: none of longtake-small, point3r has a memory"),
        (tiny_file(tmp_path, "vggt"), ["--window", "1"], "window=1: give at least 2 frames"),
    ):
        assert cli.main(["compare", str(tmp_path / "a"), "--models", f"{ours},{models}", *more]) == 2
        told = capsys.readouterr()
        assert said in told.err and not told.out


def test_what_is_done_is_told_though_a_later_model_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_take(tmp_path / "a", frames=3, seed=1)
    ours, out = f"longtake-small={our_file(tmp_path / 'w.safetensors')}", tmp_path / "out"
    wrong = "point3r=" + tiny_file(tmp_path, "dust3r").partition("=")[2]
    words = ["compare", str(tmp_path / "a"), "--models", f"{ours},{wrong}", "--rules", "ttt3r", "--out", str(out)]
    assert cli.main([*words, "--device", "cpu"]) == 2
    told = capsys.readouterr()
    assert "dust3r" in told.err and told.out.splitlines()[2].split()[:2] == ["longtake-small", "ttt3r"]
    assert len(json.loads((out / "compare.json").read_text())["entries"]) == 1
