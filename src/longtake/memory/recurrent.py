# SPDX-License-Identifier: Apache-2.0
"""The recurrent memory of CUT3R (arXiv 2501.12387) and TTT3R (arXiv 2509.26645): state tokens and a pose memory.

`exchange` is one pass: the frame reads the state and the state proposes its overwritten self. `commit` is pure: it
mixes the old state and the proposal at the rate that a rule returns, and owns everything that is not the rule's
business: the first view, streams without a view, views that do not write, and resets. Branch-free, so one code path
serves one stream, a batch, and a captured graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from longtake.frame import PATCH, Exchange, Flags, State, Stats, Tokens
from longtake.memory.pose_memory import PoseMemory
from longtake.memory.recurrent_statistics import Probe, mean_map, row_entropy
from longtake.memory.twin import TwinLayer
from longtake.nn import Kept, Lanes, RopeTable, drawn, kept_or_made, layer_norm, rope_table

TwinTables = tuple[tuple[RopeTable, RopeTable], tuple[RopeTable, RopeTable]]


def state_positions(count: int, layout: str = "2d", device: torch.device | str = "cpu") -> Tensor:
    """Rotary positions of the state tokens: (count, 2) int64.

    "2d": a grid of the even width w = floor(sqrt(count)) (+ 1 if odd), token i at (i div w, i mod w); "1d": (i, i).
    """
    index = torch.arange(count, device=device)
    if layout == "1d":
        return torch.stack((index, index), -1)
    if layout != "2d":
        raise ValueError(f"state layout must be '2d' or '1d', not {layout!r}")
    width = math.isqrt(count)
    width += width % 2
    return torch.stack((index // width, index % width), -1)


class RecurrentMemory(nn.Module):
    """State tokens, their twin decoder, and the pose memory."""

    kept: Kept | None = None  # set by an engine: the rotary tables of every size of picture

    def __init__(
        self,
        feature_width: int,
        width: int,
        depth: int,
        *,
        image_heads: int,
        state_heads: int,
        state_size: int,
        state_layout: str = "2d",
        pose_slots: int = 256,
        pose_width: int | None = None,
        pose_depth: int = 2,
        rope_base: float = 100.0,
        mlp_ratio: float = 4,
    ) -> None:
        super().__init__()
        self.width, self.depth, self.rope_base = width, depth, rope_base
        self.head_dims = (width // state_heads, width // image_heads)
        self.state_size, self.state_layout = state_size, state_layout
        self.start = drawn(state_size, feature_width, scale=1.0)
        self.embed_state = nn.Linear(feature_width, width)
        self.embed_image = nn.Linear(feature_width, width)
        self.pose_token = drawn(1, 1, width)
        self.layers = nn.ModuleList(TwinLayer(width, state_heads, image_heads, mlp_ratio) for _ in range(depth))
        self.state_norm, self.image_norm = layer_norm(width), layer_norm(width)
        self.pose_memory = PoseMemory(
            feature_width, width, pose_width or width, pose_slots, image_heads, pose_depth, mlp_ratio
        )

    def begin(self, n: int, rule_buffers: Mapping[str, Tensor] | None = None) -> State:
        """The state of n streams before their first view. It does not depend on any image."""
        tokens = self.embed_state(self.start).to(self.start.dtype).expand(n, -1, -1)  # the state stays wide
        device = tokens.device
        precise = torch.promote_types(tokens.dtype, torch.float32)  # poses are multiplied over a whole take
        return State(
            tokens=tokens,
            pose_memory=self.pose_memory.start.expand(n, -1, -1),
            seen=torch.zeros(n, dtype=torch.bool, device=device),
            world_from_chunk=torch.eye(4, dtype=precise, device=device).expand(n, 4, 4),
            rule=dict(rule_buffers or {}),
        )

    def exchange(
        self,
        state: State,
        tokens: Tokens,
        want_logit: bool = False,
        *,
        want_entropy: bool = False,
        want_map: bool = False,
        recall: Tensor | None = None,
        tables: TwinTables | None = None,
        trace: dict[str, Any] | None = None,
        lanes: Lanes | None = None,
    ) -> Exchange:
        """Let frame and state read each other.

        want_logit, want_entropy, want_map: which attention statistics to measure; the others cost nothing.
        recall: (n,) bool, where the pose token is read from the pose memory; default: where the stream has seen a view.
        tables: what `tables` returned for these positions, where many frames share them.
        trace: if given, receives the token lists of both decoders and the mean logits layer by layer.
        lanes: if given, the pose memory is written in lane 0, and the caller joins it before the result is read.
        """
        features = tokens.features
        tables = tables or self._kept_tables(tokens)
        appearance = features.mean(1)
        recall = state.seen if recall is None else recall
        read = self.pose_memory.read(state.pose_memory, appearance)
        pose_token = torch.where(recall[:, None, None], read, self.pose_token.to(read.dtype))
        image = torch.cat((pose_token, self.embed_image(features).to(pose_token.dtype)), 1)
        probe: Probe | None = [] if want_entropy or want_map else None
        proposal, layers, logit = self._decode(state.tokens, image, tokens, tables, want_logit, trace, probe)
        write = (self.pose_memory.write, state.pose_memory, appearance, layers[-1][:, :1])
        written = write[0](*write[1:]) if lanes is None else lanes.run(0, features.device, *write)
        return Exchange(
            layers=(features, *layers),
            proposal=proposal,
            pose_memory=written,
            pose_token_in=pose_token[:, 0],
            stats=Stats(
                mean_logit=logit,
                row_entropy=row_entropy(probe) if probe and want_entropy else None,
                mean_map=mean_map(probe) if probe and want_map else None,
                features=features,
                grid=(tokens.size[0] // PATCH, tokens.size[1] // PATCH),
                image_in=image,
                image_out=layers[-1],
            ),
            tokens=tokens,
        )

    def _decode(
        self,
        state: Tensor,
        image: Tensor,
        tokens: Tokens,
        tables: TwinTables,
        want_logit: bool,
        trace: dict[str, Any] | None,
        probe: Probe | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor], Tensor | None]:
        """Run the twin decoder; returns the proposal, the image tokens at hooks B, C and Z, and the mean logits."""
        state_tables, image_tables = tables
        states, images = [state], [image]
        logits: list[Tensor] = []
        for layer in self.layers:
            state, image, logit = layer(state, image, state_tables, image_tables, want_logit, probe)
            images.append(image)
            if logit is not None:
                logits.append(logit)
            if trace is not None:
                states.append(state)
        proposal, final = self.state_norm(state), self.image_norm(image)
        mean = torch.stack(logits).mean(0) if logits else None
        if trace is not None:
            shown = [tokens.features, *images[1:-1], final]
            trace |= {"state": [*states[:-1], proposal], "image": shown, "logits": logits}
        second, third = (images[self.depth * quarters // 4][:, 1:] for quarters in (2, 3))
        return proposal, (second, third, final), mean

    def _kept_tables(self, tokens: Tokens) -> TwinTables:
        key = (tokens.size, tokens.positions.device, self.state_norm.weight.dtype)
        return kept_or_made(self.kept, key, self.tables, tokens.positions)

    def tables(self, patch_positions: Tensor) -> TwinTables:
        """Rotary tables (state's, image's) for the state decoder and for the image decoder; positions (N, 2)."""
        device, dtype = patch_positions.device, self.state_norm.weight.dtype
        slots = state_positions(self.state_size, self.state_layout, device)
        pose = torch.full((1, 2), -1, device=device, dtype=patch_positions.dtype)  # left of and above the first patch
        views = torch.cat((pose, patch_positions), 0)
        state_pair, image_pair = (
            (rope_table(slots, head_dim, dtype, self.rope_base), rope_table(views, head_dim, dtype, self.rope_base))
            for head_dim in self.head_dims
        )
        return state_pair, image_pair

    @staticmethod
    def commit(
        state: State,
        exchange: Exchange,
        rate: Tensor,
        direction: Tensor,
        buffers: Mapping[str, Tensor],
        flags: Flags,
        start: State,
        *,
        restart: bool = True,
    ) -> State:
        """Mix state and proposal: S + rate * direction, per stream and token.

        The first view of a stream and the view after a reset write in full: rate 1 towards the proposal. Nothing is
        written where the view has no image, must not update, or did not arrive. Resets act after the view, whether it
        wrote or not.
        restart: whether a reset makes the next view a first view again (the plain forward of the kit says no).
        """

        def pick(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
            return torch.where(condition.view(-1, *[1] * (no.dim() - 1)), yes.to(no.dtype), no)

        writes = flags.active & flags.update & exchange.tokens.has_image
        rate = pick(state.seen, rate, torch.ones_like(rate))
        direction = pick(state.seen, direction, exchange.proposal - state.tokens)
        reset = flags.active & flags.reset
        tokens = pick(writes, state.tokens + rate * direction, state.tokens)
        memory = pick(writes, exchange.pose_memory, state.pose_memory)
        rule = {name: pick(writes, buffers[name], old) for name, old in state.rule.items()}
        return state.with_(
            tokens=pick(reset, start.tokens, tokens),
            pose_memory=pick(reset, start.pose_memory, memory),
            seen=(state.seen | flags.active) & ~reset if restart else state.seen | flags.active,
            rule={name: pick(reset, start.rule[name], tensor) for name, tensor in rule.items()},
        )
