# SPDX-License-Identifier: Apache-2.0
"""One training step: draw takes, walk them with the stream's own loop, predict, compare, differentiate.

On a GPU the step is captured once per shape as a CUDA graph, so the host never holds it up; on a CPU it runs as it is.
Takes of several windows have three: one draws, one walks the first window, one any later window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from longtake.families.cut3r import Cut3r
from longtake.frame import PATCH, Flags, Heads, State, Views
from longtake.geometry.pose import world_from_cam
from longtake.nn import grid_positions
from longtake.stream import absorb
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import Batch, make_batch
from longtake.training.attention import sound_attention
from longtake.training.losses import FlowHead, FrameTerms, LossWeights, compute_frame_terms, compute_loss
from longtake.training.mixed_rule import MixedRule, draw_rules
from longtake.training.shapes import Shape
from longtake.training.targets import Targets, make_targets
from longtake.training.windows import Drawn, draw_takes

RATES = ("rate_first", "rate_last")  # parts of one frame of the take, not means over it
POSE = "pose"  # beside the state's tensors: what was said of the last frame of a window, (B, 4, 4)


@dataclass(frozen=True, slots=True)
class Walk:
    """What the loop returned for T frames of B takes."""

    heads: tuple[Heads, ...]  # one of B views a frame
    log_focal: Tensor  # (T, B)
    flow: tuple[Tensor, ...]  # one a frame, (B, H / 4, W / 4, 2)
    rate: Tensor  # (T, B) mean ttt3r rate
    state: State | None = None  # after the last frame, where takes can be gone on with


class Learner(nn.Module):
    """The model and its training-only flow head."""

    family: ClassVar[str] = "cut3r"  # as weight files name it
    looks: ClassVar[Mapping[str, bool]] = {"overwrite": False, "ttt3r": True}  # held-out looks: name, and whether gated
    carries: ClassVar[bool] = True  # whether takes are walked in windows; if not, they are as long as a window
    captured: ClassVar[bool] = True  # whether a GPU runs its steps as CUDA graphs

    def __init__(self, model: Cut3r) -> None:
        super().__init__()
        self.model = model
        self.flow = FlowHead(model.config.decoder_width)

    def begin_confidence(self, confidence: float) -> None:
        """Let confidence be this number everywhere, for training to go on from."""
        self.model.heads.begin_confidence(confidence)  # type: ignore[operator]

    def compile_parts(self) -> None:
        """Compile the parts that repeat, each for the sizes it meets: takes of a step, and pixels of a frame.

        Frames are walked one by one, so the length of a take is not among them. Parts for sizes that may vary were
        tried: they took longer to compile, and one kernel ran 20 times slower (docs/performance.md).
        """
        torch._dynamo.config.automatic_dynamic_shapes = False
        torch._dynamo.config.cache_size_limit = 64
        model, memory = self.model, self.model.memory.pose_memory
        for part in (model.image_encoder.patch, *model.image_encoder.blocks, *model.memory.layers, model.heads):
            part.compile()
        memory.read = torch.compile(memory.read)  # type: ignore[method-assign]
        memory.write = torch.compile(memory.write)  # type: ignore[method-assign]

    def walk(self, images: Tensor, rules: Tensor, state: State | None = None, *, filtered: bool = False) -> Walk:
        """images (B, T, 3, H, W) in [0, 1] -> what the stream would have said, differentiable.

        rules (B,), filtered: see `MixedRule`; as bool, rules say which takes are gated as ttt3r does.
        state: where an earlier walk under the same rules left these takes; None begins them.
        """
        takes, frames, _, height, width = images.shape
        grid = (height // PATCH, width // PATCH)
        rule = MixedRule(rules, filtered=filtered)
        flags = Flags.plain(takes, images.device)
        tables = self.model.memory.tables(grid_positions(*grid, images.device))
        if state is None:
            with torch.autocast(images.device.type, enabled=False):
                # Copies: an expanded start has other strides than later states, and would be compiled for apart.
                state = self.model.begin(takes, rule).map(torch.Tensor.contiguous)
        views = images.transpose(0, 1).contiguous() * 2 - 1  # time first
        heads, focal, flow, logits = [], [], [], []
        for t in range(frames):
            tokens = self.model.tokenize(Views(image=views[t]))
            exchange, state = absorb(self.model, state, tokens, rule, flags, tables=tables)
            final = exchange.layers[-1]
            heads.append(self.model.detokenize(exchange))
            focal.append(self.model.heads.log_focal(final))  # type: ignore[operator]
            flow.append(self.flow(final[:, 1:], grid))
            logits.append(exchange.stats.mean_logit)
        rate = torch.stack(logits).detach().sigmoid().mean(-1)
        return Walk(heads=tuple(heads), log_focal=torch.stack(focal), flow=tuple(flow), rate=rate, state=state)


@lru_cache(maxsize=1)
def compiled_frame_terms() -> Callable[..., FrameTerms]:
    """`compute_frame_terms` under torch.compile."""
    return torch.compile(compute_frame_terms)


class Step:
    """Forward and backward for one shape; leaves gradients in the flat buffer and the loss's parts in `parts`.

    Takes of several windows: gradients and parts are means over the windows, each of which starts from the state that
    the one before it left, without a gradient (truncated back-propagation). Memory is that of one window, plus the
    drawn takes as 8-bit pictures and depth.
    """

    def __init__(
        self,
        learner: Learner,
        shape: Shape,
        world: WorldConfig,
        weights: LossWeights,
        gradients: Tensor,
        gated_share: float,
        *,
        filtered_share: float = 0.0,
        damped_share: float = 0.0,
        precision: torch.dtype | None,
        compiled: bool = False,
        kernel: bool = True,
    ) -> None:
        if not learner.carries and shape.windows > 1:
            shape = replace(shape, frames=shape.window)
        self.learner, self.shape, self.world, self.weights = learner, shape, world, weights
        self.gradients, self.precision = gradients, precision
        self.shares = (gated_share, filtered_share, damped_share)
        self.fast, self.compiled = kernel and gradients.is_cuda, compiled
        self.frame_terms = compiled_frame_terms() if compiled else None
        self.parts: dict[str, Tensor] = {}
        self.drawn: Drawn | None = None  # of takes of several windows
        self.rules = self.at = gradients.new_zeros(())  # how those are written, and where the window begins
        self.carried: dict[str, Tensor] = {}  # the state between windows, and `POSE`
        self.graphs: tuple[torch.cuda.CUDAGraph, ...] = ()

    def draw_batch(self) -> tuple[Batch, Targets]:
        """Fresh takes and their targets."""
        s = self.shape
        device = self.gradients.device
        with torch.no_grad():
            batch = make_batch(
                self.world, s.takes, s.frames, s.height, s.width, device, fast=self.fast, compiled=self.compiled
            )
            return batch, make_targets(batch.depth, batch.world_from_cam, batch.intrinsics)

    def forward_backward(self) -> None:
        """One pass. Gradients are those of this batch alone."""
        self._repeat([work for work, _ in self.works()])

    def works(self) -> tuple[tuple[Callable[[], None], int], ...]:
        """What a pass consists of, in order, and how often each is done; a graph for each serves any length."""
        if self.shape.windows == 1:
            return ((self.whole, 1),)
        return (self.draw, 1), (self.first_window, 1), (self.later_window, self.shape.windows - 1)

    def whole(self) -> None:
        """A pass over takes of one window."""
        batch, targets = self.draw_batch()
        self.rules = draw_rules(self.shape.takes, *self.shares, self.gradients.device)
        self.gradients.zero_()
        self.parts = self._learn(batch.images, targets)[1]

    def draw(self) -> None:
        """Fresh takes of several windows."""
        self.drawn = draw_takes(self.world, self.shape, self.gradients.device, fast=self.fast, compiled=self.compiled)
        self.rules = draw_rules(self.shape.takes, *self.shares, self.gradients.device)

    def first_window(self) -> None:
        """Begin the drawn takes."""
        assert self.drawn is not None
        self.gradients.zero_()
        self.at = torch.zeros((), dtype=torch.int64, device=self.gradients.device)
        images, targets = self.drawn.window(self.at, self.shape.window, first=True)
        walk, parts = self._learn(images, targets)
        self.parts = {name: part / (1 if name in RATES else self.shape.windows) for name, part in parts.items()}
        self.carried = {name: tensor.clone() for name, tensor in _left(walk).items()}

    def later_window(self) -> None:
        """Go on with them. Where it is and what it goes on from lie in tensors: one graph serves them all."""
        assert self.drawn is not None
        self.at += self.shape.window
        images, targets = self.drawn.window(self.at, self.shape.window)
        # Leaves that want a gradient nobody reads: compiled parts know states with one, and would be compiled anew.
        named = {name: t.clone().requires_grad_(t.is_floating_point()) for name, t in self.carried.items()}
        before = (named.pop(POSE).detach(), targets.first_from_cam[0])
        state = State.from_tensors(named)
        walk, parts = self._learn(images, targets.later(), state, before)
        for name, part in parts.items():
            if name not in RATES:
                self.parts[name] += part / self.shape.windows
        self.parts["rate_last"].copy_(parts["rate_last"])
        for name, tensor in _left(walk).items():
            self.carried[name].copy_(tensor)

    def _learn(
        self,
        images: Tensor,
        targets: Targets,
        state: State | None = None,
        before: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Walk, dict[str, Tensor]]:
        """Walk, compare, add this window's share to the gradients."""
        autocast = torch.autocast(images.device.type, self.precision, enabled=self.precision is not None)
        with autocast, sound_attention():
            walk = self.learner.walk(images, self.rules, state, filtered=self.shares[1] > 0)
        said = (walk.heads, walk.log_focal, walk.flow)
        loss, parts = compute_loss(*said, targets, self.weights, self.frame_terms, before)
        (loss / self.shape.windows).backward()
        return walk, parts | {
            "rate_first": walk.rate[1 if len(walk.rate) > 1 else 0].mean(),
            "rate_last": walk.rate[-1].mean(),
        }

    def rehearse(self, passes: int = 3, *, brief: bool = False) -> None:
        """Do whatever a graph cannot hold: compile, load kernels, make constants.

        brief: draw whole takes, and walk two frames of such takes. A whole pass takes as much memory again as the
        graphs that are there already, which is what ended a run at its fourth size (docs/training.md).
        """
        walked = self
        if brief:
            walked = copy(self)
            walked.shape = self.shape.brief
            if self.shape.windows > 1:
                self.draw()
                self.drawn = None
            else:
                self.draw_batch()
        for _ in range(passes):
            walked.forward_backward()

    def capture(self, pool: Any = None, *, brief: bool = False) -> None:
        """Record the pass as CUDA graphs; afterwards `run` replays them with new random takes.

        pool: memory that graphs share (torch.cuda.graph_pool_handle); they must not run at the same time. brief: see
        `rehearse`; for all but the first graphs of a pool.
        """
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.rehearse(brief=brief)
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graphs = []
        for work, _ in self.works():
            graphs.append(torch.cuda.CUDAGraph())
            with torch.cuda.graph(graphs[-1], pool=pool):
                work()
        self.graphs = tuple(graphs)

    def run(self) -> None:
        """Gradients of one fresh batch."""
        if self.graphs:
            self._repeat([graph.replay for graph in self.graphs])
        else:
            self.forward_backward()

    def _repeat(self, does: Sequence[Callable[[], None]]) -> None:
        for do, (_, times) in zip(does, self.works(), strict=True):
            for _ in range(times):
                do()


def _left(walk: Walk) -> dict[str, Tensor]:
    """What a window leaves to the next one, without gradients: the state, and the pose of its last frame."""
    assert walk.state is not None
    named = walk.state.tensors() | {POSE: world_from_cam(walk.heads[-1].pose.float())}
    return {name: tensor.detach() for name, tensor in named.items()}
