# SPDX-License-Identifier: Apache-2.0
"""Point3R (arXiv 2507.02863): a memory of pointers, features that sit at points of the scene and grow with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn
from torch.nn.functional import avg_pool2d

from longtake.detokenize.heads import PublishedHeads
from longtake.errors import CheckpointError
from longtake.families.contract import Capabilities
from longtake.families.growing import GrowingFamily, Memory
from longtake.families.published import PlainConfig, check_heads, refuse_unknown_modes, shared_numbers
from longtake.frame import PATCH, Exchange, Heads, Tokens
from longtake.memory.keep import Keep
from longtake.memory.pointers import ONE_SIZE, PointerMemory
from longtake.nn.rope3d import BASES
from longtake.tokenize.vit import PatchEncoder

KEEP = Keep(revise=False)


@dataclass(frozen=True, slots=True)
class Point3rConfig(PlainConfig):
    """Every number of a Point3R model. The defaults are the official model's."""

    image_size: int = 512  # longest side of the images it was trained on
    encoder_width: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_width: int = 768
    decoder_depth: int = 12
    image_heads: int = 12
    memory_heads: int = 16
    pose_slots: int = 256
    value_width: int = 1024  # of the encoder of points
    value_depth: int = 6
    value_heads: int = 16
    rope_base: float = 100.0
    rope3d_bases: tuple[float, ...] = BASES
    mlp_ratio: float = 4.0
    dpt_width: int = 256
    dpt_last: int = 128
    dpt_layers: tuple[int, ...] = (96, 192, 384, 768)
    merge_steps: int | None = 20  # cells along the scene's extent; None: every patch becomes a pointer
    rounded_rope: bool = True  # the official half-precision rotation in the image encoder
    square_ok: bool = False  # whether square images stay square (the published loader makes them 4:3)
    square_crop: bool = False
    is_metric: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers that no model can be built from. Raises CheckpointError."""
        heads = (
            ("encoder_heads", self.encoder_heads, self.encoder_width, 4),
            ("value_heads", self.value_heads, self.value_width, 4),
            ("image_heads", self.image_heads, self.decoder_width, 4),  # the world tokens turn with two axes
            ("memory_heads", self.memory_heads, self.decoder_width, 1),
        )
        check_heads(heads)

    def tiny(self) -> Point3rConfig:
        """The same kind of model, as small as it can sensibly be: for tests and for trying things out."""
        widths: dict[str, Any] = {"image_size": 48, "encoder_width": 32, "decoder_width": 32, "value_width": 16}
        counts: dict[str, Any] = {"encoder_depth": 1, "decoder_depth": 2, "value_depth": 1, "pose_slots": 4}
        heads: dict[str, Any] = {"encoder_heads": 2, "image_heads": 2, "memory_heads": 2, "value_heads": 2}
        dense: dict[str, Any] = {"dpt_width": 8, "dpt_last": 4, "dpt_layers": (4, 4, 4, 4)}
        return replace(self, **widths, **counts, **heads, **dense)

    @classmethod
    def from_official(cls, values: Mapping[str, Any]) -> Point3rConfig:
        """Translate the published constructor's arguments. Modes that the published weights never use are refused."""
        refuse_unknown_modes(values, {"head_type": "dpt", "pos_embed_3d": "RoPE3D100"})
        if values.get("value_out_dim", values.get("enc_embed_dim", 1024)) != values.get("enc_embed_dim", 1024):
            raise CheckpointError("value_out_dim must be enc_embed_dim: what points are is added to how they look")
        return cls(
            **shared_numbers(values),
            image_heads=values.get("dec_num_heads", 12),
            memory_heads=values.get("memory_dec_num_heads", 16),
            pose_slots=values.get("local_mem_size", 256),
            value_width=values.get("value_enc_embed_dim", 1024),
            value_depth=values.get("value_enc_depth", 6),
            value_heads=values.get("value_enc_num_heads", 16),
            rope3d_bases=tuple(float(base) for base in values.get("rope3d_bases", BASES)),
            merge_steps=values.get("merge_len_unit", 20),
        )


class Point3r(GrowingFamily):
    """Tokenize, exchange, detokenize, commit. Unlike in a recurrent memory, commit needs what detokenize made."""

    title: ClassVar[str] = "Point3R"
    capabilities: ClassVar[Capabilities] = Capabilities(
        memory="pointers",
        cost="time and memory grow with the scene that was seen, not with the frames",
        bounded=False,
        batch=False,
        one_size=ONE_SIZE,
    )

    def __init__(self, config: Point3rConfig) -> None:
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
        self.memory = PointerMemory(
            c.encoder_width,
            c.decoder_width,
            c.decoder_depth,
            image_heads=c.image_heads,
            memory_heads=c.memory_heads,
            pose_slots=c.pose_slots,
            bases=c.rope3d_bases,
            mlp_ratio=c.mlp_ratio,
        )
        self.heads = PublishedHeads(
            "dpt",
            c.encoder_width,
            c.decoder_width,
            c.image_heads,
            color=False,
            dpt_width=c.dpt_width,
            dpt_last=c.dpt_last,
            dpt_layers=c.dpt_layers,
            rope_base=c.rope_base,
            mlp_ratio=c.mlp_ratio,
        )
        self.point_encoder = PatchEncoder(
            3, c.value_width, c.value_depth, c.value_heads, rope_base=c.rope_base, mlp_ratio=c.mlp_ratio
        )
        self.point_value = nn.Linear(c.value_width, c.encoder_width)

    def exchange(self, memory: Memory, tokens: Tokens, keep: Keep = KEEP, **options: Any) -> Exchange:
        """The frame reads the pointers of one stream."""
        return self.memory.exchange(memory, tokens, **options)

    def detokenize(self, exchange: Exchange) -> Heads:
        """Pointmaps, confidence and pose from one exchange."""
        return self.heads(exchange)

    def commit(self, memory: Memory, exchange: Exchange, heads: Heads) -> Memory:
        """The pointers after the view: its patches added, or merged into near ones. Pure."""
        points = heads.points_world.movedim(-1, 1)  # (1, 3, H, W)
        encoded, _ = self.point_encoder(points.to(self.point_value.weight.dtype))
        features = self.memory.describe(exchange, self.point_value(encoded))
        patches = avg_pool2d(points, PATCH).flatten(2).transpose(1, 2)
        return self.memory.write(memory, exchange, features, patches, self.config.merge_steps)
