# SPDX-License-Identifier: Apache-2.0
"""The pieces of the trainer: one buffer for all weights, the average, the guard, the curriculum, weights on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from tiny import TINY, tiny_learner

from longtake.checkpoints import pack, write_safetensors
from longtake.errors import CheckpointError, OutputError
from longtake.families.cut3r import Cut3r
from longtake.frame import Flags, Tokens, Views
from longtake.registry import load
from longtake.rules import get_rule
from longtake.stream import absorb
from longtake.training.flat import Average, FlatParameters
from longtake.training.guard import SLOWER, Guard
from longtake.training.precompile import Ready, as_compiled, later_shapes
from longtake.training.schedule import CURRICULA, Schedule, Stage
from longtake.training.shapes import shape_of
from longtake.training.snapshot import load_learner, save_learner
from longtake.training.step import Learner


@pytest.mark.parametrize("gated", [False, True])
def test_the_walk_is_the_stream_s_own_loop(gated: bool) -> None:
    learner = tiny_learner().eval()
    images = torch.rand(2, 4, 3, 32, 48)
    rule = get_rule("ttt3r" if gated else "overwrite")
    with torch.no_grad():
        walk = learner.walk(images, torch.tensor([gated, gated]))
        state = learner.model.begin(2, rule)
        for t in range(4):
            tokens: Tokens = learner.model.tokenize(Views(image=images[:, t] * 2 - 1))
            exchange, state = absorb(learner.model, state, tokens, rule, Flags.plain(2))
            heads = learner.model.detokenize(exchange)
            assert torch.allclose(walk.heads[t].points_self, heads.points_self, atol=1e-4)
            assert torch.allclose(walk.heads[t].pose, heads.pose, atol=1e-4)


def test_one_buffer_holds_all_weights_and_gradients() -> None:
    learner = tiny_learner()
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    flat = FlatParameters([learner])
    assert flat.values.numel() == sum(p.numel() for p in before.values())
    for name, p in learner.named_parameters():
        assert torch.equal(p, before[name])
        assert p.untyped_storage().data_ptr() == flat.values.untyped_storage().data_ptr()
    learner.walk(torch.rand(1, 2, 3, 32, 32), torch.tensor([False])).heads[1].points_self.sum().backward()
    assert flat.gradients.abs().sum() > 0
    flat.optimiser(1e-2, 0.0).step()
    assert any(not torch.equal(p, before[name]) for name, p in learner.named_parameters())


@pytest.mark.parametrize(("value", "norm"), [(3.0, True), (float("nan"), False), (float("inf"), False)])
def test_clipping_bounds_the_norm_and_empties_what_is_not_finite(value: float, norm: bool) -> None:
    flat = FlatParameters([torch.nn.Linear(3, 3)])
    flat.gradients.fill_(0.1)
    flat.gradients[0] = value
    flat.clip(1.0)
    assert flat.gradients.isfinite().all()
    assert torch.isclose(flat.gradients.norm(), torch.tensor(1.0 if norm else 0.0), atol=1e-5)


def test_the_average_follows_and_swaps_back() -> None:
    flat = FlatParameters([torch.nn.Linear(4, 4)])
    average = Average(flat, 0.9)
    start = flat.values.clone()
    for _ in range(200):
        flat.values.add_(0.01)
        average.update()
    now = flat.values.clone()
    assert (average.values > start).all()
    assert (average.values < now).all()
    average.swap()
    assert (flat.values < now).all()
    average.swap()
    assert torch.equal(flat.values, now)


def test_the_guard_brings_healthy_weights_back() -> None:
    flat = FlatParameters([torch.nn.Linear(4, 4)])
    optimiser = flat.optimiser(1e-3, 0.0)
    guard = Guard(flat, optimiser, Average(flat, 0.9))
    flat.gradients.fill_(1.0)
    optimiser.step()
    assert guard.check(2.0)
    healthy = flat.values.clone()
    flat.values.fill_(1e6)
    assert not guard.check(50.0)
    assert torch.equal(flat.values, healthy)
    assert guard.slowed == SLOWER
    assert all(
        float(t.abs().sum()) == 0 for o in optimiser.optimisers for state in o.state.values() for t in state.values()
    )
    assert not guard.check(float("nan"))
    assert guard.check(2.5)
    guard.new_stage()
    assert guard.check(40.0)


def test_stages_end_by_what_was_learned_or_by_time() -> None:
    stages = (Stage(2, until=0.5, flow_below=0.6), Stage(4, until=0.7), Stage(8, until=1.0))
    schedule = Schedule(stages, rate=1.0, warmup=10, flat=0.5)
    assert not schedule.advance(0.1, 0.9)
    assert schedule.advance(0.1, 0.5)
    assert not schedule.advance(0.6, 0.5)
    assert schedule.advance(0.71, 0.5)
    assert not schedule.advance(2.0, 0.0), "the last stage has no end"
    assert schedule.stage.frames == 8


def test_the_rate_warms_up_stays_and_falls() -> None:
    schedule = Schedule((Stage(2, until=1.0),), rate=2.0, warmup=10, flat=0.5, floor=0.02)
    assert schedule.learning_rate(0.0, 0) == pytest.approx(0.2)
    assert schedule.learning_rate(0.5, 100) == pytest.approx(2.0)
    falling = [schedule.learning_rate(p / 20, 100) for p in range(10, 21)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(0.04)


def test_a_new_stage_warms_up_again() -> None:
    schedule = Schedule((Stage(2, until=0.1), Stage(4, until=1.0)), rate=1.0, warmup=10)
    assert schedule.learning_rate(0.0, 100) == pytest.approx(1.0)
    assert schedule.advance(0.2, 1.0, step=100)
    rates = [schedule.learning_rate(0.2, 100 + i) for i in range(60)]
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("name", CURRICULA)
def test_every_curriculum_fits_the_model_and_keeps_the_work_of_a_step(name: str) -> None:
    previous = 0.0
    for stage in CURRICULA[name]:
        assert previous < stage.until <= 1.0
        previous = stage.until
        for turn, (height, width) in enumerate(stage.sizes):
            assert height % 16 == width % 16 == 0
            shape = shape_of(stage, turn, 1024)
            pixels = shape.takes * shape.frames * shape.height * shape.width
            assert pixels == pytest.approx(stage.share * 1024 * 160 * 128, rel=0.25)
    assert CURRICULA[name][-1].until == 1.0


def test_only_what_is_needed_anew_is_compiled_ahead() -> None:
    stages = (Stage(4, until=0.3, share=0.5), Stage(8, until=0.6), Stage(16, until=1.0, sizes=((128, 160), (192, 240))))
    shapes = later_shapes(stages, 1024)
    assert [(s.takes, s.height, s.width) for s in shapes] == [(64, 128, 160), (28, 192, 240)]
    assert later_shapes(stages[:2], 1024) == []
    assert [s.height for s in later_shapes(stages[2:], 1024)] == [192], "the first size compiles where it trains"


def test_a_stage_takes_turns_among_the_sizes_that_are_there(tmp_path: Path) -> None:
    stage = Stage(16, until=1.0, sizes=((112, 160), (96, 160), (160, 112)))
    shapes = [shape_of(stage, turn, 1024) for turn in range(3)]
    log = tmp_path / "precompile.log"
    ready = Ready(log, shapes[0])
    ready.look()
    assert ready.turns(shapes) == [0]
    assert ready.turns(shapes[1:]) == [0], "where none is there, the stage compiles its first size"
    log.write_text("a warning\n" + json.dumps({"ready": asdict(as_compiled(shapes[2]))}) + '\n{"ready": {"takes": 8')
    ready.look()
    assert ready.turns(shapes) == [0, 2]


def test_weights_come_back_and_can_be_loaded_as_a_model(tmp_path: Path) -> None:
    learner, path = tiny_learner(1), tmp_path / "average.safetensors"
    save_learner(learner, path)
    other = tiny_learner(2)
    load_learner(other, path)
    assert all(torch.equal(a, b) for a, b in zip(learner.parameters(), other.parameters(), strict=True))
    model = load("longtake-small", path, device="cpu")
    assert model.config == TINY
    wrong = Learner(Cut3r(replace(TINY, decoder_depth=1)))
    with pytest.raises(CheckpointError, match="another configuration"):
        load_learner(wrong, path)


def test_a_shipped_model_can_be_gone_on_with(tmp_path: Path) -> None:
    """Packed and without its flow head."""
    learner, path = tiny_learner(1), tmp_path / "shipped.safetensors"
    write_safetensors(path, pack(learner.model.state_dict()), TINY.to_dict(), "cut3r")
    other = tiny_learner(2)
    flow = other.flow.out.weight.detach().clone()
    assert not load_learner(other, path)
    assert torch.equal(other.flow.out.weight, flow)
    wanted = {name: t for name, t in learner.model.state_dict().items()}
    for name, tensor in other.model.state_dict().items():
        assert (tensor - wanted[name]).abs().max() <= 0.01 * wanted[name].abs().max()


@pytest.mark.slow
def test_training_learns_and_leaves_its_files(tmp_path: Path) -> None:
    """A minute on one core: on four takes seen again and again, flow falls far below that of a camera at rest."""
    from longtake.synthetic.config import WorldConfig
    from longtake.training.losses import LossWeights
    from longtake.training.shapes import Shape
    from longtake.training.step import Step

    learner = tiny_learner()
    flat = FlatParameters([learner])
    optimiser = flat.optimiser(2e-3, 0.0)
    step = Step(learner, Shape(4, 3, 48, 64), WorldConfig(), LossWeights(), flat.gradients, 0.5, precision=None)
    torch.manual_seed(3)
    drawn = step.draw_batch()
    step.draw_batch = lambda: drawn  # type: ignore[method-assign]
    for i in range(250):
        step.run()
        flat.clip(1.0)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (i + 1) / 20)
        optimiser.step()
    assert step.parts["flow"] < 0.5 * step.parts["flow_zero"]
    assert step.parts["rotation"] < 0.7 * step.parts["rotation_identity"]
    assert step.parts["depth"] < 0.25


COMPARE = """
import sys, torch
from torch._dynamo.utils import counters
from tiny import tiny_learner
from longtake.synthetic.config import WorldConfig
from longtake.training.flat import FlatParameters
from longtake.training.losses import LossWeights
from longtake.training.shapes import Shape
from longtake.training.step import Step

plain, compiled = tiny_learner(), tiny_learner()
flats = {plain: FlatParameters([plain]), compiled: FlatParameters([compiled])}
compiled.compile_parts()
for frames, window in ((4, 0), (8, 0), (12, 0), (8, 4)):  # whole groups of eight frames
    made = []
    for learner, flat in flats.items():
        shape = Shape(2, frames, 32, 48, window)
        fast = learner is compiled
        step = Step(learner, shape, WorldConfig(), LossWeights(), flat.gradients, 0.5, precision=None, compiled=fast)
        torch.manual_seed(frames)
        step.run()
        made.append((float(step.parts["loss"]), flat.gradients.clone()))
    (loss, gradients), (fast_loss, fast_gradients) = made
    off = float((gradients - fast_gradients).norm() / gradients.norm())
    print(counters["stats"]["unique_graphs"], abs(loss - fast_loss) / loss, off)
"""


@pytest.mark.slow
def test_compiled_parts_agree_and_serve_takes_of_any_length() -> None:
    """In a process of its own: the type checks of the tests would be compiled too."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run(
        [sys.executable, "-c", COMPARE], capture_output=True, text=True, check=True, env=environment
    )
    rows = [[float(word) for word in line.split()] for line in result.stdout.splitlines()]
    assert len({graphs for graphs, _, _ in rows}) == 1, "a longer take must not compile anything again"
    assert rows[0][0] > 0
    assert max(loss for _, loss, _ in rows) < 1e-4
    assert max(off for _, _, off in rows) < 1e-3


def test_a_resumed_run_draws_takes_of_its_own(tmp_path: Path) -> None:
    from longtake.training.loop import TrainConfig, Trainer

    config = TrainConfig(out=tmp_path, curriculum="toy", frames_per_step=2)
    save_learner(tiny_learner(1), tmp_path / "average.safetensors")
    drawn = []
    for resume in (None, tmp_path / "average.safetensors", tmp_path / "average.safetensors"):
        trainer = Trainer(replace(config, resume=resume), TINY)
        drawn.append(trainer.step_for(trainer.schedule.stage, 0).draw_batch()[0].images)
    assert not torch.equal(drawn[0], drawn[1]), "the takes that the weights have seen already"
    assert torch.equal(drawn[1], drawn[2]), "the seed still decides"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    from longtake.training.loop import TrainConfig, train

    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="Give --out a folder"):
        train(TrainConfig(out=tmp_path / "file" / "run", curriculum="toy", frames_per_step=2), TINY)


def test_the_loop_runs_and_can_be_gone_on_with(tmp_path: Path) -> None:
    from longtake.training.loop import TrainConfig, train

    config = TrainConfig(
        out=tmp_path, minutes=1, curriculum="toy", frames_per_step=2, warmup=2, held_out=1, look_every=600, max_steps=2
    )
    train(config, TINY)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["event"] for r in records][0] == "start"
    assert records[-1]["event"] == "end"
    assert [r["frames"] for r in records if r["event"] == "shape"] == [0], "frames so far, in every record"
    assert records[-1]["step"] == 2
    assert {r["rule"] for r in records if r["event"] == "held-out"} == {"overwrite", "ttt3r"}
    train(replace(config, resume=tmp_path / "average.safetensors", max_steps=1), TINY)
    again = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert again[-1]["step"] == 1, "a new run starts a new log"
