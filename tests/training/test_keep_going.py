# SPDX-License-Identifier: Apache-2.0
"""A run that meets failures: memory is given back, steps shrink, the next try begins where the last one saved."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import TINY

from longtake.errors import CapabilityError, InputError
from longtake.training.job import changed, read_job, write_job
from longtake.training.keep_going import go_on_from, train_and_keep_going, with_less
from longtake.training.loop import TrainConfig, Trainer, train
from longtake.training.recipes import RECIPES
from longtake.training.schedule import Stage
from longtake.training.step import Step

STAGES = (
    Stage(2, until=0.5, sizes=((32, 48),), share=0.25),
    Stage(4, until=1.0, sizes=((32, 48),), share=0.25, window=2),
)


def config_in(folder: Path, **changes: object) -> TrainConfig:
    config = TrainConfig(out=folder, minutes=1.0, stages=STAGES, frames_per_step=4, warmup=2, held_out=1)
    return replace(config, **changes)  # type: ignore[arg-type]


def records_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("stage", [0, 1])
def test_a_dropped_step_is_freed_with_all_that_it_held(tmp_path: Path, stage: int) -> None:
    """Without the collector of cycles: what torch keeps on a device may be one, what is ours must not."""
    trainer = Trainer(config_in(tmp_path, start_stage=stage), TINY)
    trainer.train_step(0.0)
    step = next(iter(trainer.steps.values()))
    held = [*step.parts.values(), *step.carried.values(), step.rules]
    held += [step.drawn.pictures, step.drawn.depth] if step.drawn is not None else []
    assert (step.drawn is not None) == (stage == 1)
    watched = [weakref.ref(each) for each in (step, *held)]
    del step, held
    gc.collect()
    gc.disable()
    try:
        trainer.steps.clear()
        alive = [watch() for watch in watched if watch() is not None]
    finally:
        gc.enable()
    assert not alive


def test_where_memory_runs_out_steps_become_smaller_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that holds two takes of a step, where eight were wanted."""
    run = Step.run

    def limited(step: Step) -> None:
        if step.shape.takes > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        run(step)

    monkeypatch.setattr(Step, "run", limited)
    trainer = Trainer(config_in(tmp_path), TINY)
    before = trainer.flat.values.clone()
    wanted = trainer.step_for(trainer.schedule.stage, 0).shape.takes
    assert trainer.step_or_fewer(0.0).takes <= 2 < wanted
    assert trainer.step_count == 1
    assert not torch.equal(trainer.flat.values, before), "the weights go on in the same process"
    events = [r for r in records_of(tmp_path) if r["event"] == "memory"]
    assert events and events[-1]["frames_per_step"] == trainer.frames_per_step
    monkeypatch.setattr(Step, "run", lambda step: (_ for _ in ()).throw(torch.OutOfMemoryError("no")))
    with pytest.raises(torch.OutOfMemoryError):
        trainer.step_or_fewer(0.0)


def test_a_run_is_plain_values_and_back(tmp_path: Path) -> None:
    for config in (*RECIPES["small"].values(), config_in(tmp_path, resume=tmp_path / "x", max_steps=3)):
        write_job(tmp_path / "job.json", config, "longtake-small", TINY)
        assert read_job(tmp_path / "job.json") == (config, TINY)


def test_numbers_are_changed_by_name() -> None:
    config = changed(
        TrainConfig(),
        ["minutes=26", "out=runs/v4", "world.mesh_share=0.2", "compiled=true", "weights.alpha=2"]
        + ["world.fov=[50, 60]"],
    )
    wanted = replace(TrainConfig(), minutes=26.0, out=Path("runs/v4"), compiled=True)
    wanted = replace(wanted, weights=replace(wanted.weights, alpha=2.0))
    assert config == replace(wanted, world=replace(wanted.world, mesh_share=0.2, fov=(50, 60)))
    assert changed(config, ["resume=a.safetensors", "max_steps=5"]).resume == Path("a.safetensors")
    for wrong in ("minutes", "minuts=3", "minutes=soon", "compiled=1", "world.sky=2", "seed.x=1", "stages=[]"):
        with pytest.raises(InputError, match=wrong.split("=", maxsplit=1)[0]):
            changed(TrainConfig(), [wrong])


def test_the_next_try_begins_where_weights_were_saved(tmp_path: Path) -> None:
    config = config_in(tmp_path, max_steps=1, new_confidence=True)
    assert go_on_from(config, 0.0) == config, "nothing was saved yet"
    train(config, TINY)
    log = tmp_path / "log.jsonl"
    later = {"event": "train", "progress": 0.7, "stage": 1}
    log.write_text(log.read_text() + json.dumps(later | {"progress": 0.6}) + '\n{"event": "saved"}\n')
    log.write_text(log.read_text() + json.dumps(later) + "\n")
    again = go_on_from(config, 0.0)
    assert again.resume == tmp_path / "average.safetensors"
    assert again.progress == 0.6, "what came after the weights is done again"
    assert not again.new_confidence
    trainer = Trainer(again, TINY)
    assert trainer.schedule.stage == STAGES[1]
    train(again, TINY)
    assert [r["event"] for r in records_of(tmp_path)].count("start") == 2, "the log goes on"
    assert all(r["progress"] >= 0.6 for r in records_of(tmp_path)[-6:] if r["event"] == "train")


def test_each_try_has_less_of_what_may_have_failed(tmp_path: Path) -> None:
    config, given_up = replace(TrainConfig(), compiled=True), []
    smaller, words = with_less(config, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate")
    assert smaller == replace(config, frames_per_step=716) and words == "716 frames a step"
    for _ in range(4):
        config, words = with_less(config, "IllegalAddress")
        given_up.append(words)
    assert len(set(given_up)) == 4
    assert (config.world.mesh_share, config.compiled, config.kernel, config.captured) == (0, False, False, False)


def test_a_run_that_cannot_be_saved_ends_with_what_was_said(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"not weights")
    config = config_in(tmp_path / "out", resume=tmp_path / "broken.safetensors", minutes=0.2)
    with pytest.raises(CapabilityError, match=r"broken\.safetensors.*errors\.txt has all of it"):
        train_and_keep_going(config, TINY)


@pytest.mark.slow
def test_a_run_in_a_process_of_its_own_leaves_its_files(tmp_path: Path) -> None:
    train_and_keep_going(config_in(tmp_path, max_steps=1, world=replace(TrainConfig().world, effects=False)), TINY)
    assert records_of(tmp_path)[-1]["event"] == "end"
    assert (tmp_path / "average.safetensors").exists()


def test_a_step_without_sound_gradients_changes_nothing_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of gradients that are not finite nothing is left; Muon would go on along its momentum at full size."""
    trainer = Trainer(config_in(tmp_path), TINY)
    for _ in range(3):
        trainer.train_step(0.0)
    before, skipped = trainer.flat.values.clone(), float(trainer.sums["skipped"])
    run = Step.run

    def spoiled(step: Step) -> None:
        run(step)
        step.gradients[7] = float("nan")

    monkeypatch.setattr(Step, "run", spoiled)
    trainer.train_step(0.0)
    assert torch.equal(trainer.flat.values, before)
    assert float(trainer.sums["skipped"]) == skipped + 1
    assert trainer.sums["norm"].isfinite()
    monkeypatch.setattr(Step, "run", run)
    trainer.train_step(0.0)
    assert not torch.equal(trainer.flat.values, before)
