# SPDX-License-Identifier: Apache-2.0
"""Every family can be measured: tiny ones with random weights, from the command line, until their memory is spent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_oracle import write_take
from PIL import Image

import longtake
from longtake import cli
from longtake.checkpoints import write_safetensors
from longtake.checkpoints.convert import build_empty
from longtake.datasets.table import open_sequence
from longtake.errors import CapabilityError
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.benchmark.run import run_benchmark
from longtake.evaluation.benchmark.walk import resizer
from longtake.evaluation.nets import rules_of
from longtake.registry import MODELS


def weights(folder: Path, name: str) -> Path:
    """The weights of a tiny model of this name, as its constructor leaves them."""
    import torch

    path, entry = folder / f"{name}.safetensors", MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = type(build_empty(entry.family, entry.config.tiny().to_dict(), name))(entry.config.tiny())
    write_safetensors(path, module.state_dict(), module.config.to_dict(), entry.family)
    return path


def measure(folder: Path, name: str, **options: Any) -> dict[str, Any]:
    model = longtake.load(name, weights(folder, name), device="cpu")
    protocol = Protocol("rgbd", cloud_points=500, **options)
    takes = open_sequence("rgbd", folder / "take")
    return run_benchmark(takes, model, rules_of(model)[-1:], protocol, folder / "out", quiet=True)[0]


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_scored_or_says_why_not(name: str, tmp_path: Path) -> None:
    write_take(tmp_path / "take", frames=4)
    run = measure(tmp_path, name, lengths=(2, 4))
    assert run["rule"] == ("append" if MODELS[name].family != "cut3r" else "ttt3r")
    two, four = run["by_length"]["2"], run["by_length"]["4"]
    for each in (two, four):
        assert each["status"] == "ok"
        assert {figure for figure, value in each.items() if value is None} <= set(each["reasons"])
        assert each["poses_compared"] == each["frames"] and each["depth_pixels"] > 0
    grows = not MODELS[name].build().capabilities.bounded
    assert (four["state_bytes"] > two["state_bytes"]) is grows
    whole = measure(tmp_path, name, fit="resize", max_frames=1)
    assert whole["figures"]["depth_pixels_cropped"] == 0
    assert whole["figures"]["depth_pixels"] == (48 // 2 - 3) * (64 // 2)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [(64, 48), (48, 64), (60, 60), (90, 41)])
def test_a_squeezed_picture_is_taken_as_it_is(name: str, size: tuple[int, int]) -> None:
    """Else a model would cut it, and depth would be compared at the wrong pixels."""
    module: Any = build_empty(MODELS[name].family, MODELS[name].config.tiny().to_dict(), name)
    picture = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    squeezed, pixel_map = resizer(module)(picture)
    assert (pixel_map.original_size, pixel_map.offset) == (size, (0, 0))
    assert pixel_map.scale == (squeezed.shape[1] / size[0], squeezed.shape[0] / size[1])
    again, own = module.prepare(squeezed)
    assert (own.size, own.scale, own.offset) == (pixel_map.size, (1, 1), (0, 0))
    assert again.shape == squeezed.shape


def test_a_memory_that_is_bounded_stops_growing(tmp_path: Path) -> None:
    write_take(tmp_path / "take", frames=6)
    for name, option in (("streamvggt", "budget"), ("vggt", "window")):
        free, bound = (measure(tmp_path, name, lengths=(4, 6), **own) for own in ({}, {option: 3}))
        bytes_of = [[run["by_length"][n]["state_bytes"] for n in ("4", "6")] for run in (free, bound)]
        assert bytes_of[0][0] < bytes_of[0][1] and bytes_of[1][0] == bytes_of[1][1] < bytes_of[0][0]
        assert bound["settings"]["protocol"][option] == 3
    with pytest.raises(CapabilityError, match="budget= bounds it"):
        measure(tmp_path, "streamvggt", window=3)


SPEND = """
import resource, sys
from longtake import cli
words = sys.argv[1:]
assert cli.main([*words, "--max-frames", "3", "--json", "warm"]) == 0
(size,) = [int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize")]
resource.setrlimit(resource.RLIMIT_AS, (size + 90_000_000,) * 2)
sys.exit(cli.main([*words, "--lengths", "3,6,120", "--json", "out"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process like this")
def test_a_cache_grows_until_the_system_refuses(tmp_path: Path) -> None:
    write_take(tmp_path / "take", frames=120)
    words = ["evaluate", "rgbd", "take", "--model", "streamvggt", "--weights", str(weights(tmp_path, "streamvggt"))]
    words += ["--device", "cpu", "--cloud-points", "500", "--size", "518"]
    ended = subprocess.run(
        [sys.executable, "-c", SPEND, *words], cwd=tmp_path, capture_output=True, check=False, text=True
    )
    assert ended.returncode == 0, ended.stderr
    (run,) = json.loads((tmp_path / "out" / "take.json").read_text())["runs"].values()
    reached = run["out_of_memory_at"]
    assert 6 <= reached < 120 and len(run["frames_used"]) == reached and len(run["frames_dropped"]) == 120 - reached
    assert [each["status"] for each in run["by_length"].values()] == ["ok", "ok", "out of memory"]
    assert run["by_length"]["6"]["state_bytes"] == pytest.approx(2 * run["by_length"]["3"]["state_bytes"], rel=0.01)
    assert f"out of memory after {reached} frames" in (tmp_path / "out" / "report.html").read_text()
    (line,) = [line.split(maxsplit=5) for line in ended.stdout.splitlines() if line.startswith("append     120")][:1]
    assert line[2:5] == ["0", "of", "1"] and line[5].startswith("out of memory")
    with Image.open(tmp_path / "out" / "state_mb.png") as plot:
        assert plot.width > 1000


def test_models_measured_into_one_folder_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_take(tmp_path / "take", frames=4)
    words = ["evaluate", "rgbd", str(tmp_path / "take"), "--device", "cpu", "--cloud-points", "500"]
    words += ["--json", str(tmp_path / "out")]
    first = ["--model", "streamvggt", "--weights", str(weights(tmp_path, "streamvggt")), "--budget", "3"]
    second = ["--model", "longtake-small", "--weights", str(weights(tmp_path, "longtake-small")), "--rule", "ttt3r"]
    assert cli.main([*words, *first]) == 0
    with Image.open(tmp_path / "out" / "clouds-take.png") as picture:
        width = picture.width
    capsys.readouterr()
    assert cli.main([*words, *second]) == 0
    rows = [
        line.split()[:5] for line in capsys.readouterr().out.splitlines() if line.startswith(("longtake", "stream"))
    ]
    assert rows[:2] == [["longtake-small", "ttt3r", "4", *rows[0][3:]], ["streamvggt", "append,", "budget", "3", "4"]]
    with Image.open(tmp_path / "out" / "clouds-take.png") as picture:
        assert picture.width > width + 600  # one more cloud beside the truth
    assert cli.main([*words, *second, "--stride", "2"]) == 0  # another protocol: not beside it
    assert "streamvggt" not in capsys.readouterr().out


def test_rules_are_refused_where_there_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_take(tmp_path / "take", frames=2)
    words = ["evaluate", "rgbd", str(tmp_path / "take"), "--model", "vggt", "--weights", str(weights(tmp_path, "vggt"))]
    assert cli.main([*words, "--rule", "ttt3r", "--json", str(tmp_path / "out")]) == 2
    assert "rule='ttt3r' with a full attention model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
