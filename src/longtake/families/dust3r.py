# SPDX-License-Identifier: Apache-2.0
"""DUSt3R (arXiv 2312.14132): a pair of images in, two pointmaps out, both in the camera of the first.

Built from the paper and from the blocks that its descendants share with it: the encoder and decoder blocks of CUT3R,
the hooks and activations of the DPT heads of CUT3R and Fast3R. No numbers of the published program have confirmed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from longtake.detokenize.pair import PairHeads, with_pose
from longtake.families.contract import Capabilities
from longtake.families.growing import GrowingFamily, Memory
from longtake.families.published import PlainConfig, check_heads, refuse_unknown_modes, shared_numbers
from longtake.frame import Heads, Tokens, Views
from longtake.memory.keep import Keep
from longtake.memory.reference import PairDecoder, PairExchange
from longtake.tokenize.vit import PatchEncoder


@dataclass(frozen=True, slots=True)
class Dust3rConfig(PlainConfig):
    """Every number of a DUSt3R model. The defaults are the published 512-pixel DPT model's."""

    image_size: int = 512  # longest side of the images it was trained on
    encoder_width: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_width: int = 768
    decoder_depth: int = 12
    decoder_heads: int = 12
    rope_base: float = 100.0
    mlp_ratio: float = 4.0
    dpt_width: int = 256
    dpt_last: int = 128
    dpt_layers: tuple[int, ...] = (96, 192, 384, 768)
    rounded_rope: bool = False  # whether the published encoder rounds its rotation as CUT3R's does is not known here
    square_ok: bool = False  # whether square images stay square (the published loader makes them 4:3)
    square_crop: bool = False
    is_metric: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that no model can be built from. Raises CheckpointError."""
        heads = (
            ("encoder_heads", self.encoder_heads, self.encoder_width, 4),
            ("decoder_heads", self.decoder_heads, self.decoder_width, 4),
        )
        check_heads(heads)

    def tiny(self) -> Dust3rConfig:
        """The same kind of model, as small as it can sensibly be: for tests and for trying things out."""
        widths: dict[str, Any] = {"image_size": 48, "encoder_width": 32, "decoder_width": 32}
        counts: dict[str, Any] = {"encoder_depth": 1, "decoder_depth": 4}
        heads: dict[str, Any] = {"encoder_heads": 2, "decoder_heads": 2}
        dense: dict[str, Any] = {"dpt_width": 8, "dpt_last": 4, "dpt_layers": (4, 4, 4, 4)}
        return replace(self, **widths, **counts, **heads, **dense)

    @classmethod
    def from_official(cls, values: Mapping[str, Any]) -> Dust3rConfig:
        """Translate constructor arguments under the names that its descendants kept. Only DPT heads are built."""
        refuse_unknown_modes(values, {"output_mode": "pts3d", "head_type": "dpt", "pose_head": False})
        return cls(
            **shared_numbers(values),
            decoder_heads=values.get("dec_num_heads", 12),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """What a pair of images becomes; both pointmaps are in the camera of the first, in units of their own."""

    points_first: Tensor  # (n, H1, W1, 3)
    confidence_first: Tensor  # (n, H1, W1) > 1
    points_second: Tensor  # (n, H2, W2, 3)
    confidence_second: Tensor  # (n, H2, W2) > 1


class Dust3r(GrowingFamily):
    """`forward` takes a pair, as published. Behind a stream, every frame is paired with the stream's first."""

    title: ClassVar[str] = "DUSt3R"
    capabilities: ClassVar[Capabilities] = Capabilities(
        memory="first frame",
        cost="constant time and memory; frames that show nothing of the first one cannot be placed",
        bounded=True,
        batch=False,
    )

    def __init__(self, config: Dust3rConfig) -> None:
        super().__init__()
        c = self.config = config
        self.image_encoder = PatchEncoder(
            3,
            c.encoder_width,
            c.encoder_depth,
            c.encoder_heads,
            rope_base=c.rope_base,
            mlp_ratio=c.mlp_ratio,
            rounded_rope=c.rounded_rope,
        )
        self.memory = PairDecoder(
            c.encoder_width, c.decoder_width, c.decoder_depth, c.decoder_heads, c.rope_base, c.mlp_ratio
        )
        widths = (c.encoder_width, c.decoder_width, c.decoder_width, c.decoder_width)
        self.heads = PairHeads(widths, c.dpt_width, c.dpt_last, c.dpt_layers)

    def forward(self, first: Tensor, second: Tensor) -> Pair:
        """Predict a pair: images (n, 3, H, W) in [-1, 1], sides multiples of 16, each of its own size."""
        a, b = (self.tokenize(Views(image=image)) for image in (first, second))
        own, world = self.memory(a.features, b.features, a.size, b.size)
        heads = self.heads
        return Pair(*heads.maps(heads.own, own, a.size), *heads.maps(heads.world, world, b.size))

    def exchange(self, memory: Memory, tokens: Tokens, keep: Keep, **options: Any) -> PairExchange:
        """Pair the frame with its stream's first one, both ways round."""
        return self.memory.exchange(memory, tokens)

    def detokenize(self, exchange: PairExchange) -> Heads:
        """Both pointmaps of the frame and the pose that lays one over the other; the identity for a first frame."""
        size = exchange.tokens.size
        own = self.heads.maps(self.heads.own, exchange.own, size)
        world = own if exchange.world is None else self.heads.maps(self.heads.world, exchange.world, size)
        return with_pose(*own, *world)

    def commit(self, memory: Memory, exchange: PairExchange, heads: Heads) -> Memory:
        """The stream's first frame. Pure."""
        return self.memory.write(memory, exchange.tokens)
