# SPDX-License-Identifier: Apache-2.0
"""One training step: draw takes, walk them with the stream's own loop, predict, compare, differentiate.

On a GPU the step is captured once per shape as a CUDA graph, so the host never holds it up; on a CPU it runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from longtake.families.cut3r import Cut3r
from longtake.frame import PATCH, Flags, Heads, Views
from longtake.nn import grid_positions
from longtake.stream import absorb
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import Batch, make_batch
from longtake.training.losses import FlowHead, FrameTerms, LossWeights, compute_frame_terms, compute_loss
from longtake.training.mixed_rule import MixedRule
from longtake.training.shapes import Shape
from longtake.training.targets import Targets, make_targets


@dataclass(frozen=True, slots=True)
class Walk:
    """What the loop returned for T frames of B takes."""

    heads: tuple[Heads, ...]  # one of B views a frame
    log_focal: Tensor  # (T, B)
    flow: tuple[Tensor, ...]  # one a frame, (B, H / 4, W / 4, 2)
    rate: Tensor  # (T, B) mean ttt3r rate


class Learner(nn.Module):
    """The model and its training-only flow head."""

    family: ClassVar[str] = "cut3r"  # as weight files name it
    looks: ClassVar[Mapping[str, bool]] = {"overwrite": False, "ttt3r": True}  # held-out looks: name, and whether gated
    captured: ClassVar[bool] = True  # whether a GPU runs its steps as CUDA graphs

    def __init__(self, model: Cut3r) -> None:
        super().__init__()
        self.model = model
        self.flow = FlowHead(model.config.decoder_width)

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

    def walk(self, images: Tensor, gated: Tensor) -> Walk:
        """images (B, T, 3, H, W) in [0, 1], gated (B,) bool -> what the stream would have said, differentiable."""
        takes, frames, _, height, width = images.shape
        grid = (height // PATCH, width // PATCH)
        rule = MixedRule(gated)
        flags = Flags.plain(takes, images.device)
        tables = self.model.memory.tables(grid_positions(*grid, images.device))
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
        return Walk(heads=tuple(heads), log_focal=torch.stack(focal), flow=tuple(flow), rate=rate)


@lru_cache(maxsize=1)
def compiled_frame_terms() -> Callable[..., FrameTerms]:
    """`compute_frame_terms` under torch.compile."""
    return torch.compile(compute_frame_terms)


class Step:
    """Forward and backward for one shape; leaves gradients in the flat buffer and the loss's parts in `parts`."""

    def __init__(
        self,
        learner: Learner,
        shape: Shape,
        world: WorldConfig,
        weights: LossWeights,
        gradients: Tensor,
        gated_share: float,
        *,
        precision: torch.dtype | None,
        compiled: bool = False,
    ) -> None:
        self.learner, self.shape, self.world, self.weights = learner, shape, world, weights
        self.gradients, self.gated_share, self.precision = gradients, gated_share, precision
        self.frame_terms = compiled_frame_terms() if compiled else None
        self.parts: dict[str, Tensor] = {}
        self.graph: torch.cuda.CUDAGraph | None = None

    def draw_batch(self) -> tuple[Batch, Targets]:
        """Fresh takes and their targets."""
        s = self.shape
        device = self.gradients.device
        with torch.no_grad():
            batch = make_batch(self.world, s.takes, s.frames, s.height, s.width, device, fast=device.type == "cuda")
            return batch, make_targets(batch.depth, batch.world_from_cam, batch.intrinsics)

    def forward_backward(self) -> None:
        """One pass. Gradients are those of this batch alone."""
        batch, targets = self.draw_batch()
        device = batch.images.device
        gated = torch.rand(self.shape.takes, device=device) < self.gated_share
        self.gradients.zero_()
        with torch.autocast(device.type, self.precision, enabled=self.precision is not None):
            walk = self.learner.walk(batch.images, gated)
        loss, parts = compute_loss(walk.heads, walk.log_focal, walk.flow, targets, self.weights, self.frame_terms)
        loss.backward()
        self.parts = parts | {
            "rate_first": walk.rate[1 if len(walk.rate) > 1 else 0].mean(),
            "rate_last": walk.rate[-1].mean(),
        }

    def capture(self, pool: Any = None, warm_ups: int = 3) -> None:
        """Record the pass as a CUDA graph; afterwards `run` replays it with new random takes.

        pool: memory that graphs share (torch.cuda.graph_pool_handle); they must not run at the same time.
        """
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(warm_ups):
                self.forward_backward()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.forward_backward()

    def run(self) -> None:
        """Gradients of one fresh batch."""
        if self.graph is None:
            self.forward_backward()
        else:
            self.graph.replay()
