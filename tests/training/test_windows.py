# SPDX-License-Identifier: Apache-2.0
"""Long takes in windows: the same takes, targets and gradients as a plain loop that lets go of the state in between."""

from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
import torch
from tiny import tiny_learner
from torch import Tensor

from longtake.errors import InputError
from longtake.frame import Flags, Views
from longtake.geometry.pose import inverse, world_from_cam
from longtake.nn import grid_positions
from longtake.registry import SMALL_FULL
from longtake.stream import absorb
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import Batch, make_batch
from longtake.training.flat import FlatParameters
from longtake.training.learners import make_learner
from longtake.training.losses import LossWeights, compute_loss
from longtake.training.mixed_rule import MixedRule
from longtake.training.schedule import Stage
from longtake.training.shapes import Shape, shape_of
from longtake.training.step import Learner, Step
from longtake.training.targets import Targets, make_targets
from longtake.training.windows import draw_takes

WORLD = WorldConfig(revisit_share=1.0)  # out and back: what was seen first comes again windows later
LONG = Shape(2, 12, 32, 48, 4)


def step_of(shape: Shape, gated: float = 0.5) -> tuple[Learner, FlatParameters, Step]:
    learner = tiny_learner()
    flat = FlatParameters([learner])
    return learner, flat, Step(learner, shape, WORLD, LossWeights(), flat.gradients, gated, precision=None)


def drawn_whole(shape: Shape) -> Batch:
    return make_batch(WORLD, shape.takes, shape.frames, shape.height, shape.width, "cpu")


def sliced(targets: Targets, start: int, stop: int) -> Targets:
    timed = ("log_depth", "world", "first_from_cam", "flow", "flow_valid")
    return replace(targets, **{name: getattr(targets, name)[start:stop] for name in timed})


def by_hand(learner: Learner, shape: Shape, batch: Batch, gated: Tensor) -> list[float]:
    """The plain twin: one loop over all frames, the loss of a window whenever one is full. Leaves the gradients."""
    targets = make_targets(batch.depth, batch.world_from_cam, batch.intrinsics)
    rule, grid = MixedRule(gated), (shape.height // 16, shape.width // 16)
    tables = learner.model.memory.tables(grid_positions(*grid, batch.depth.device))
    state = learner.model.begin(shape.takes, rule)
    heads, focal, flow, losses, before = [], [], [], [], None
    for t in range(shape.frames):
        tokens = learner.model.tokenize(Views(image=batch.images[:, t] * 2 - 1))
        exchange, state = absorb(learner.model, state, tokens, rule, Flags.plain(shape.takes), tables=tables)
        heads.append(learner.model.detokenize(exchange))
        focal.append(learner.model.heads.log_focal(exchange.layers[-1]))  # type: ignore[operator]
        flow.append(learner.flow(exchange.layers[-1][:, 1:], grid))
        if (t + 1) % shape.window == 0:
            wanted = sliced(targets, t + 1 - shape.window, t + 1)
            loss, _ = compute_loss(heads, torch.stack(focal), flow, wanted, LossWeights(), before=before)
            (loss / (shape.frames // shape.window)).backward()
            losses.append(float(loss.detach()))
            before = (world_from_cam(heads[-1].pose).detach(), wanted.first_from_cam[-1])
            state, heads, focal, flow = state.map(Tensor.detach), [], [], []
    return losses


def test_windows_of_a_take_are_the_drawn_take() -> None:
    """Pictures come back exactly; targets are those of the whole take, with the flow into each window's first frame."""
    torch.manual_seed(4)
    batch = drawn_whole(LONG)
    torch.manual_seed(4)
    drawn = draw_takes(WORLD, LONG, torch.device("cpu"))
    whole = make_targets(batch.depth, batch.world_from_cam, batch.intrinsics)
    for start in (0, 4, 8):
        images, targets = drawn.window(torch.tensor(start), 4, first=start == 0)
        assert torch.equal(images, batch.images[:, start : start + 4])
        targets = targets if start == 0 else targets.later()
        wanted = sliced(whole, start, start + 4)
        assert torch.equal(targets.flow_valid, wanted.flow_valid)
        for name in ("log_depth", "world", "first_from_cam", "log_focal", "log_scale", "flow"):
            torch.testing.assert_close(getattr(targets, name), getattr(wanted, name), rtol=1e-5, atol=1e-5)
    assert whole.flow_valid[4].any() and whole.flow_valid[8].any(), "or nothing of the sort was tested"
    back = inverse(batch.world_from_cam[:, 1]) @ batch.world_from_cam[:, -1]
    far = inverse(batch.world_from_cam[:, 1]) @ batch.world_from_cam[:, 6]
    assert (back[:, :3, 3].norm(dim=-1) < 0.5 * far[:, :3, 3].norm(dim=-1)).all(), "the takes come back"


def test_gradients_of_long_takes_are_those_of_a_loop_that_lets_go_of_the_state() -> None:
    learner, flat, step = step_of(LONG)
    torch.manual_seed(5)
    step.run()
    ours, parts = flat.gradients.clone(), dict(step.parts)
    torch.manual_seed(5)
    batch = drawn_whole(LONG)
    gated = torch.rand(LONG.takes) < 0.5
    flat.gradients.zero_()
    losses = by_hand(learner, LONG, batch, gated)
    torch.testing.assert_close(ours, flat.gradients, rtol=1e-3, atol=1e-5 * float(flat.gradients.abs().max()))
    assert float(parts["loss"]) == pytest.approx(sum(losses) / 3, rel=1e-5)
    flat.gradients.zero_()
    by_hand(learner, replace(LONG, window=12), batch, gated)
    off = (ours - flat.gradients).norm() / flat.gradients.norm()
    assert off > 0.01, "nothing was let go of: the test could not fail"


@pytest.mark.parametrize("window", [4, 16])
def test_takes_of_one_window_are_walked_as_before(window: int) -> None:
    made = []
    for shape in (Shape(2, 4, 32, 48), Shape(2, 4, 32, 48, window)):
        _, flat, step = step_of(shape)
        torch.manual_seed(6)
        step.run()
        made.append((flat.gradients.clone(), step.parts["loss"]))
    assert torch.equal(made[0][0], made[1][0]) and torch.equal(made[0][1], made[1][1])


def test_every_pass_begins_anew() -> None:
    _, flat, step = step_of(LONG)
    made = []
    for _ in range(2):
        torch.manual_seed(7)
        step.run()
        made.append(flat.gradients.clone())
    assert torch.equal(made[0], made[1]), "a pass must not go on from the state that the one before it left"
    assert step.parts["rate_last"] < 1 and step.parts["rate_first"] < 1


def held(shape: Shape, *, brief: bool | None = None) -> int:
    """The most bytes that backward passes kept at a time during one step, or during a rehearsal."""
    _, _, step = step_of(shape)
    now, most = 0, 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal now, most
            self.tensor, size = tensor.detach(), tensor.numel() * tensor.element_size()
            now += size
            most = max(most, now)
            weakref.finalize(self, lose, size)

    def lose(size: int) -> None:
        nonlocal now
        now -= size

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        if brief is None:
            step.run()
        else:
            step.rehearse(1, brief=brief)
    assert now == 0, "a window's tensors outlive it"
    return most


def test_memory_is_that_of_one_window_however_long_the_take() -> None:
    window, four, whole = held(Shape(1, 3, 32, 48)), held(Shape(1, 12, 32, 48, 3)), held(Shape(1, 12, 32, 48))
    assert four < 1.05 * window
    assert whole > 3 * window


@pytest.mark.parametrize("window", [0, 8])
def test_a_brief_rehearsal_does_everything_and_needs_the_memory_of_two_frames(window: int) -> None:
    shape = Shape(1, 16, 32, 48, window)
    two, brief, whole = held(Shape(1, 2, 32, 48)), held(shape, brief=True), held(shape, brief=False)
    assert brief < 1.05 * two
    assert whole > 3 * brief
    _, _, step = step_of(shape)
    step.rehearse(1, brief=True)
    assert step.shape == shape, "the step itself stays as it was"


def test_takes_that_are_no_whole_number_of_windows_are_refused() -> None:
    for frames, window in ((10, 4), (4, 1)):
        with pytest.raises(InputError, match="windows of at least two frames that divide the take"):
            Shape(1, frames, 32, 48, window)
    assert shape_of(Stage(64, until=1.0, window=16), 0, 1024).windows == 4
    assert Shape(1, 8, 32, 48, 16).windows == 1


def test_a_family_that_cannot_go_on_sees_takes_as_long_as_a_window() -> None:
    learner = make_learner(replace(SMALL_FULL.tiny(), width=64))
    flat = FlatParameters([learner])
    step = Step(learner, Shape(1, 6, 32, 48, 3), WORLD, LossWeights(), flat.gradients, 0.0, precision=None)
    assert step.shape.frames == 3
    step.run()
    assert flat.gradients.abs().sum() > 0


@pytest.mark.gpu
def test_captured_windows_do_what_plain_calls_do() -> None:
    learner = tiny_learner().cuda()
    flat = FlatParameters([learner])
    shape, shares = Shape(4, 12, 48, 64, 4), {"filtered_share": 0.25, "damped_share": 0.25}
    step = Step(learner, shape, WORLD, LossWeights(), flat.gradients, 0.25, precision=None, **shares)
    torch.cuda.manual_seed(8)
    step.run()
    wanted, loss = flat.gradients.clone(), float(step.parts["loss"])
    step.capture()
    made = []
    for _ in range(2):
        torch.cuda.manual_seed(8)
        step.run()
        made.append(flat.gradients.clone())
        assert float(step.parts["loss"]) == pytest.approx(loss, rel=1e-3)
        assert (made[-1] - wanted).norm() < 0.02 * wanted.norm()
    step.run()
    assert (flat.gradients - wanted).norm() > 0.1 * wanted.norm(), "a replay draws takes of its own"
