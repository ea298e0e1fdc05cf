# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning: learns what it is shown, writes what it learned, in two forms that say the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import TINY, tiny_learner

from longtake import cli
from longtake.checkpoints import read_any, write_safetensors
from longtake.checkpoints.adapters import write_adapters
from longtake.datasets.write import Take, write_take
from longtake.errors import CheckpointError
from longtake.families.cut3r import Cut3r
from longtake.nn.lora import adapt, adapter_tensors, folded_state
from longtake.registry import SMALL, load
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import make_batch
from longtake.training.finetune import ADAPTERS, WEIGHTS, FineTuneConfig, FineTuner
from longtake.training.snapshot import save_learner


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    batch = make_batch(WorldConfig(), 1, 10, 48, 64, "cpu", torch.Generator().manual_seed(8))
    images = (batch.images[0].permute(0, 2, 3, 1) * 255).round().byte().numpy()
    take = Take(images, batch.depth[0].numpy(), batch.world_from_cam[0].numpy(), batch.intrinsics[0].numpy())
    return write_take("7scenes", tmp_path / "data", 0, take).parent


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> FineTuneConfig:
    save_learner(tiny_learner(), tmp_path / "base.safetensors")
    return FineTuneConfig(
        (folder,), tmp_path / "out", weights=tmp_path / "base.safetensors", rank=4, steps=20, takes=1, frames=3,
        size=64, max_stride=1, hold_out=0.4, test_frames=3, test_stride=1, rate=1e-2, warmup=2,
    )  # fmt: skip


@pytest.mark.parametrize("rank", [4, 0])
def test_it_learns_and_writes_what_it_learned(config: FineTuneConfig, rank: int) -> None:
    tuner = FineTuner(replace(config, rank=rank, rate=1e-2 if rank else 1e-3), TINY)
    takes = tuner.recordings.draw(1, 3)
    before = tuner.forward_backward(takes, torch.tensor([False]))["loss"]
    start = {name: tensor.clone() for name, tensor in tuner.learner.state_dict().items()}
    figures = tuner.run()
    assert tuner.forward_backward(takes, torch.tensor([False]))["loss"] < 0.95 * before
    moved = {n for n, t in tuner.learner.state_dict().items() if not torch.equal(t, start[n])}
    assert moved
    assert not rank or all("lora" in name for name in moved)
    assert figures[0] is not None
    assert figures[1] is not None
    assert figures[0].takes == 1
    assert figures[0].abs_rel != figures[1].abs_rel
    plain = Cut3r(TINY)
    plain.load_state_dict(read_any(config.out / WEIGHTS).tensors)
    tuner.average.swap()
    with torch.no_grad():
        said = tuner.learner.walk(takes.images, torch.tensor([False]))
        tuner.learner.model = plain
        again = tuner.learner.walk(takes.images, torch.tensor([False]))
    assert torch.allclose(said.heads[2].points_self, again.heads[2].points_self, rtol=1e-3)
    assert (config.out / ADAPTERS).exists() == bool(rank)
    assert len((config.out / "log.jsonl").read_text().splitlines()) == 1


def test_strength_lies_between_the_old_weights_and_the_new(config: FineTuneConfig) -> None:
    base = tiny_learner().model.state_dict()
    moved = {}
    for strength in (1.0, 0.5, 0.0):
        FineTuner(replace(config, steps=3, hold_out=0.0, strength=strength), TINY).run()
        found = read_any(config.out / WEIGHTS).tensors
        moved[strength] = {name: found[name] - base[name] for name in base}
    assert any(t.abs().max() > 1e-4 for t in moved[1.0].values())
    for name, whole in moved[1.0].items():
        assert torch.allclose(moved[0.5][name], whole / 2, atol=1e-6)
        assert not moved[0.0][name].any()


def test_broken_data_on_the_way_loses_nothing(config: FineTuneConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    tuner = FineTuner(config, TINY)
    step = tuner.step

    def stopped(progress: float) -> dict[str, float]:
        if tuner.step_count == 2:
            raise KeyboardInterrupt
        return step(progress)

    monkeypatch.setattr(tuner, "step", stopped)
    tuner.run()
    assert read_any(config.out / WEIGHTS).metadata is not None


def test_adapters_load_like_weights_and_only_on_their_own(tmp_path: Path) -> None:
    model = load("longtake-small", device="cpu").module
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapt(model, 2)
    with torch.no_grad():
        for name, tensor in adapter_tensors(model).items():
            if name.endswith("lora_up"):
                tensor.normal_(std=0.01)
    path, about = tmp_path / "adapters.safetensors", (SMALL.to_dict(), "cut3r")
    options = {"scale": 1.0, "base_tensors": base}
    write_adapters(path, adapter_tensors(model), *about, base="longtake-small", **options)
    wanted = folded_state(model)
    loaded = load("longtake-small", path, device="cpu").module.state_dict()
    assert any(not torch.equal(loaded[name], base[name]) for name in base)
    assert all(torch.allclose(loaded[name], wanted[name], atol=1e-6) for name in wanted)
    assert path.stat().st_size < 2e6
    write_adapters(path, adapter_tensors(model), *about, base=None, **options)
    with pytest.raises(CheckpointError, match="not in the package"):
        load("longtake-small", path)
    name = next(iter(base))
    write_adapters(path, adapter_tensors(model), *about, base="longtake-small", scale=1.0,
                   base_tensors=base | {name: base[name] + 1})  # fmt: skip
    with pytest.raises(CheckpointError, match="other weights"):
        load("longtake-small", path)


def test_the_verb_refuses_numbers_that_make_no_sense(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["finetune", str(folder), "--steps", "0", "--hold-out", "1.5", "--size", "100", "--frames", "1"]
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    for flag in ("--steps 0", "--hold-out 1.5", "--size 100", "--frames 1"):
        assert flag in error
    write_safetensors(tmp_path / "other.safetensors", {}, TINY.to_dict(), "cut3r")
    assert cli.main(["finetune", str(folder), "--frames", "3", "--weights", str(tmp_path / "other.safetensors")]) == 2
