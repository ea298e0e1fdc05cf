# SPDX-License-Identifier: Apache-2.0
"""CUT3R (arXiv 2501.12387): a recurrent state read and written by every frame. With the ttt3r rule it is TTT3R.

The same class holds the published models and `longtake-small`, which differs in its configuration: a convolutional
stem, a convolutional head, a slim pose memory, and neither ray maps nor colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from longtake.detokenize.heads import ConvHeads, PublishedHeads
from longtake.errors import CapabilityError, CheckpointError
from longtake.families.contract import Capabilities, refuse
from longtake.families.published import PlainConfig, check_heads, refuse_unknown_modes, shared_numbers
from longtake.frame import PATCH, Exchange, Flags, Heads, PixelMap, Policy, State, Tokens, Views
from longtake.memory.recurrent import RecurrentMemory
from longtake.nn import Lanes, drawn, grid_positions
from longtake.rules.contract import Rule, begin_buffers, wants
from longtake.rules.table import get_rule
from longtake.tokenize.images import prepare
from longtake.tokenize.images_device import DevicePreparer
from longtake.tokenize.vit import PatchEncoder

STREAMING = Policy()


@dataclass(frozen=True, slots=True)
class Cut3rConfig(PlainConfig):
    """Every number of a CUT3R-shaped model. The defaults are the official 512-pixel DPT model's."""

    head: str = "dpt"  # dpt, linear (published), conv (ours)
    image_size: int = 512  # longest side of the images it was trained on
    encoder_width: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_width: int = 768
    decoder_depth: int = 12
    image_heads: int = 12
    state_heads: int = 16
    state_size: int = 768  # state tokens
    state_layout: str = "2d"
    pose_slots: int = 256
    pose_width: int = 768  # half a slot; equals decoder_width in the published models
    pose_depth: int = 2  # read blocks, and as many write blocks
    ray_depth: int = 2  # blocks of the ray-map encoder; 0: none
    ray_heads: int = 16
    color: bool = True
    rope_base: float = 100.0
    mlp_ratio: float = 4.0
    dpt_width: int = 256
    dpt_last: int = 128
    dpt_layers: tuple[int, ...] = (96, 192, 384, 768)
    stem: tuple[int, int, int] | None = None  # channels at 1/2, 1/4, 1/8 of a convolutional stem; None: plain patches
    conv_widths: tuple[int, int, int, int] = (192, 96, 64, 48)  # conv head at 1/16, 1/8, 1/4, 1/2
    rounded_rope: bool = True  # the official half-precision rotation in the image encoder
    square_ok: bool = False  # whether square images stay square (the published loader makes them 4:3)
    square_crop: bool = False  # the middle square of image_size pixels, as the published 224-pixel models see it
    is_metric: bool = True
    metric_scale: bool = False  # conv head: whether it also says how many metres a unit has

    def __post_init__(self) -> None:
        """Refuse numbers that no model can be built from. Raises CheckpointError."""
        heads = (
            ("encoder_heads", self.encoder_heads, self.encoder_width, 4),
            ("image_heads", self.image_heads, self.decoder_width, 4),
            ("state_heads", self.state_heads, self.decoder_width, 4),
            ("ray_heads", self.ray_heads if self.ray_depth else 1, self.encoder_width if self.ray_depth else 4, 4),
        )
        check_heads(heads)
        if self.state_layout not in ("2d", "1d"):
            raise CheckpointError(f"state_layout={self.state_layout!r}; there are 2d and 1d")

    def tiny(self) -> Cut3rConfig:
        """The same kind of model, as small as it can sensibly be: for tests and for trying things out."""
        widths: dict[str, Any] = {"image_size": 48, "encoder_width": 32, "decoder_width": 32, "pose_width": 32}
        counts: dict[str, Any] = {"encoder_depth": 1, "decoder_depth": 2, "pose_depth": 1, "state_size": 6}
        heads: dict[str, Any] = {"encoder_heads": 2, "image_heads": 2, "state_heads": 2, "ray_heads": 2}
        dense: dict[str, Any] = {"dpt_width": 8, "dpt_last": 4, "dpt_layers": (4, 4, 4, 4), "conv_widths": (8, 8, 4, 4)}
        stem = None if self.stem is None else (4, 4, 8)
        ray_depth = min(self.ray_depth, 1)
        return replace(self, **widths, **counts, **heads, **dense, pose_slots=4, stem=stem, ray_depth=ray_depth)

    @classmethod
    def from_official(cls, values: Mapping[str, Any]) -> Cut3rConfig:
        """Translate the published constructor's arguments. Modes that the published weights never use are refused."""
        refuse_unknown_modes(values)
        numbers = shared_numbers(values)
        return cls(
            **numbers,
            head=values.get("head_type", "dpt"),
            square_crop=numbers["image_size"] == 224,  # the published loader's rule for this one size
            image_heads=values.get("dec_num_heads", 12),
            state_heads=values.get("state_dec_num_heads", 16),
            state_size=values.get("state_size", 768),
            state_layout=values.get("state_pe", "2d"),
            pose_slots=values.get("local_mem_size", 256),
            pose_width=values.get("dec_embed_dim", 768),
            ray_depth=values.get("ray_enc_depth", 2),
            ray_heads=values.get("ray_enc_num_heads", 16),
            color=values.get("rgb_head", True),
        )


class Cut3r(nn.Module):
    """Tokenize, exchange, detokenize, commit: the four steps of a recurrent reconstructor.

    lanes: set by an engine, lets the pose memory be written while the heads are read.
    """

    lanes: Lanes | None = None
    capabilities: ClassVar[Capabilities] = Capabilities(
        memory="recurrent", cost="constant time and memory for ever", bounded=True, batch=True, rules=True
    )

    def __init__(self, config: Cut3rConfig) -> None:
        super().__init__()
        c = self.config = config

        def encoder(channels: int, depth: int, heads: int, **options: Any) -> PatchEncoder:
            return PatchEncoder(
                channels, c.encoder_width, depth, heads, rope_base=c.rope_base, mlp_ratio=c.mlp_ratio, **options
            )

        self.image_encoder = encoder(3, c.encoder_depth, c.encoder_heads, stem=c.stem, rounded_rope=c.rounded_rope)
        self.ray_encoder = encoder(6, c.ray_depth, c.ray_heads) if c.ray_depth else None
        # Stand-ins of the plain forward for an absent image or ray map.
        self.missing_image = drawn(1, c.encoder_width) if c.ray_depth else None
        self.missing_rays = drawn(1, c.encoder_width) if c.ray_depth else None
        self.memory = RecurrentMemory(
            c.encoder_width,
            c.decoder_width,
            c.decoder_depth,
            image_heads=c.image_heads,
            state_heads=c.state_heads,
            state_size=c.state_size,
            state_layout=c.state_layout,
            pose_slots=c.pose_slots,
            pose_width=c.pose_width,
            pose_depth=c.pose_depth,
            rope_base=c.rope_base,
            mlp_ratio=c.mlp_ratio,
        )
        self.heads = self._build_heads(c)

    @staticmethod
    def _build_heads(c: Cut3rConfig) -> PublishedHeads | ConvHeads:
        if c.head == "conv":
            if c.stem is None:
                raise CheckpointError("head='conv' needs a stem: its finer maps are the head's skips")
            return ConvHeads(c.decoder_width, c.stem, c.conv_widths, metric_scale=c.metric_scale)
        if c.head not in ("dpt", "linear"):
            raise CheckpointError(f"head={c.head!r}; there are dpt, linear and conv")
        return PublishedHeads(
            c.head,
            c.encoder_width,
            c.decoder_width,
            c.image_heads,
            color=c.color,
            dpt_width=c.dpt_width,
            dpt_last=c.dpt_last,
            dpt_layers=c.dpt_layers,
            rope_base=c.rope_base,
            mlp_ratio=c.mlp_ratio,
        )

    def begin(self, n: int, rule: Rule) -> State:
        """The state of n streams before their first view, with the rule's buffers."""
        state = self.memory.begin(n)
        c = self.config
        patches = (c.image_size // PATCH) ** 2  # no picture has more: image_size is the longer side
        return state.with_(rule=begin_buffers(rule, state.tokens, (patches, c.encoder_width)))

    def tokenize(self, views: Views, policy: Policy = STREAMING) -> Tokens:
        """Encode n views of one size. Stateless, so it may look ahead. A view's image and ray map are summed."""
        parts: list[Tensor] = []
        skips: tuple[Tensor, ...] = ()
        any_view = views.tensor
        n, (height, width) = any_view.shape[0], any_view.shape[-2:]
        everywhere = torch.ones(n, dtype=torch.bool, device=any_view.device)
        has_image = views.has_image if views.has_image is not None else everywhere & (views.image is not None)
        has_rays = views.has_rays if views.has_rays is not None else everywhere & (views.rays is not None)
        if views.image is not None:
            features, skips = self.image_encoder(views.image)
            parts.append(self._where(has_image, features, self.missing_image if policy.fill_missing else None))
        elif policy.fill_missing and self.missing_image is not None:
            parts.append(self.missing_image.expand(n, height // PATCH * (width // PATCH), -1))
        if views.rays is not None:
            if self.ray_encoder is None:
                raise CapabilityError("this model has no ray-map encoder: views need an image (see `longtake models`)")
            features, _ = self.ray_encoder(views.rays)
            parts.append(self._where(has_rays, features, self.missing_rays if policy.fill_missing else None))
        elif policy.fill_missing and self.missing_rays is not None:
            parts.append(self.missing_rays.expand(n, height // PATCH * (width // PATCH), -1))
        features = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        positions = grid_positions(height // PATCH, width // PATCH, any_view.device)
        return Tokens(features=features, positions=positions, size=(height, width), has_image=has_image, skips=skips)

    @staticmethod
    def _where(present: Tensor, features: Tensor, stand_in: Tensor | None) -> Tensor:
        other = torch.zeros_like(features) if stand_in is None else stand_in.to(features.dtype)
        return torch.where(present[:, None, None], features, other)

    def exchange(self, state: State, tokens: Tokens, rule: Rule, **options: Any) -> Exchange:
        """Read and proposed write, in one pass; statistics only if the rule wants them."""
        want_entropy, want_map = wants(rule, "entropy"), wants(rule, "map")
        exchange = self.memory.exchange(
            state, tokens, rule.wants_logit, want_entropy=want_entropy, want_map=want_map, **options
        )
        if wants(rule, "heads"):
            exchange = replace(exchange, stats=replace(exchange.stats, heads=self.heads(exchange)))
        return exchange

    def detokenize(self, exchange: Exchange) -> Heads:
        """Pointmaps, confidence, pose and colour from one exchange."""
        return self.heads(exchange) if exchange.stats.heads is None else exchange.stats.heads

    def commit(
        self,
        state: State,
        exchange: Exchange,
        rule: Rule,
        flags: Flags,
        policy: Policy = STREAMING,
        trace: dict[str, Any] | None = None,
    ) -> State:
        """The state after the view, mixed at the rule's rate. Pure. trace: if given, receives the rule's `rate`."""
        step = rule(state.tokens, exchange.proposal, exchange.stats, state.rule)
        if trace is not None:
            trace["rate"] = step.rate
        start = self.begin(state.tokens.shape[0], rule)
        return self.memory.commit(
            state, exchange, step.rate, step.direction, step.buffers, flags, start, restart=policy.restart_after_reset
        )

    # --- behind a stream ---

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, PixelMap]:
        """Resize and crop a picture as the weights were trained for."""
        c = self.config
        return prepare(image, c.image_size, square_ok=c.square_ok, short_side_crop=c.square_crop)

    def prepare_on(self, image: np.ndarray, preparer: DevicePreparer) -> tuple[np.ndarray, Tensor, PixelMap]:
        """The same where the model is, within one grey level; also returns the picture as the model takes it."""
        c = self.config
        return preparer(image, c.image_size, square_ok=c.square_ok, short_side_crop=c.square_crop)

    def writer(self, rule: str | Rule | None = None, *, revise: bool | None = None, **others: Any) -> Rule:
        """The update rule, ttt3r by default. Raises CapabilityError for options of memories that grow."""
        refuse("recurrent", "its memory is constant; choose an update rule, rule=.", **others)
        return get_rule("ttt3r" if rule is None else rule)

    def step(
        self, state: State, tokens: Tokens, rule: Rule, flags: Flags, *, show: bool = True
    ) -> tuple[Heads | None, State]:
        """One view of each stream. A proposal that is not finite is not written: the memory outlives nonsense."""
        early = None if self.lanes is None or wants(rule, "heads") else self.lanes
        exchange = self.exchange(state, tokens, rule, lanes=early)
        heads = self.detokenize(exchange) if show else None
        if early is not None:  # the pose memory was written meanwhile
            early.join(exchange.proposal.device, 0)
        flags = replace(flags, update=flags.update & finite_streams(exchange.proposal, exchange.pose_memory))
        trace: dict[str, Any] = {}
        new = self.commit(state, exchange, rule, flags, trace=trace)
        if heads is None:
            return None, new
        rate = torch.where(state.seen, trace["rate"].float().mean((1, 2)), 1)
        written = torch.where(flags.active & flags.update & tokens.has_image, rate, 0)
        return replace(heads, written=written), new


def finite_streams(*tensors: Tensor) -> Tensor:
    """(n,) bool: every number of the stream is finite in all tensors (n, ...)."""
    return torch.stack([tensor.isfinite().flatten(1).all(1) for tensor in tensors]).all(0)
