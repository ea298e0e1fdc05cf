# SPDX-License-Identifier: Apache-2.0
"""Fast3R (arXiv 2501.13928): all frames attend to all frames; each has points of its own and points in the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from longtake.detokenize.pair import PairHeads, stack_heads
from longtake.errors import CheckpointError
from longtake.families.contract import Capabilities, refuse
from longtake.families.growing import GrowingFamily, Memory
from longtake.families.published import PlainConfig, check_heads, refuse_unknown_modes
from longtake.frame import Heads, Tokens, Views
from longtake.memory.full import ONE_SIZE
from longtake.memory.joint import JointExchange, JointMemory, draw_seed, frame_numbers
from longtake.memory.keep import Keep, at_least_two
from longtake.tokenize.vit import PatchEncoder


@dataclass(frozen=True, slots=True)
class Fast3rConfig(PlainConfig):
    """Every number of a Fast3R model. The defaults are the official model's."""

    image_size: int = 512  # longest side of the images it was trained on
    encoder_width: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_width: int = 1024
    decoder_depth: int = 24
    decoder_heads: int = 16
    rope_base: float = 100.0
    mlp_ratio: float = 4.0
    dpt_width: int = 256
    dpt_last: int = 128
    dpt_layers: tuple[int, ...] = (96, 192, 384, 768)
    random_numbers: bool = True  # frames after the first are known by random numbers, not by 1, 2, 3
    sharpened: bool = False  # a steeper softmax in the decoder; the released configuration has it off
    square_ok: bool = False  # whether square images stay square (the published loader makes them 4:3)
    square_crop: bool = False
    is_metric: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that no model can be built from. Raises CheckpointError."""
        heads = (
            ("encoder_heads", self.encoder_heads, self.encoder_width, 4),
            ("decoder_heads", self.decoder_heads, self.decoder_width, 2),
        )
        check_heads(heads)

    def tiny(self) -> Fast3rConfig:
        """The same kind of model, as small as it can sensibly be: for tests and for trying things out."""
        widths: dict[str, Any] = {"image_size": 48, "encoder_width": 32, "decoder_width": 32}
        counts: dict[str, Any] = {"encoder_depth": 1, "decoder_depth": 4}
        heads: dict[str, Any] = {"encoder_heads": 2, "decoder_heads": 2}
        dense: dict[str, Any] = {"dpt_width": 8, "dpt_last": 4, "dpt_layers": (4, 4, 4, 4)}
        return replace(self, **widths, **counts, **heads, **dense)

    @classmethod
    def from_official(cls, values: Mapping[str, Any]) -> Fast3rConfig:
        """Translate the conformance kit's field names: encoder, decoder and dpt_head hold their own numbers.

        Modes that the published weights never use are refused.
        """
        encoder, decoder, head = (values.get(name, {}) for name in ("encoder", "decoder", "dpt_head"))
        refuse_unknown_modes(values, {"output_mode": "pts3d"})
        depth, width = decoder.get("depth", 24), head.get("feature_dim", 256)
        hooks = [0, depth * 2 // 4, depth * 3 // 4, depth]
        if list(head.get("hooks", hooks)) != hooks:
            raise CheckpointError(f"hooks={head['hooks']}: the heads read layers {hooks} of {depth}")
        return cls(
            image_size=values.get("img_size", 512),
            encoder_width=encoder.get("embed_dim", 1024),
            encoder_depth=encoder.get("depth", 24),
            encoder_heads=encoder.get("num_heads", 16),
            decoder_width=decoder.get("embed_dim", 1024),
            decoder_depth=depth,
            decoder_heads=decoder.get("num_heads", 16),
            rope_base=float(values.get("rope_base", 100.0)),
            mlp_ratio=float(values.get("mlp_ratio", 4)),
            dpt_width=width,
            dpt_last=head.get("last_dim", width // 2),
            dpt_layers=tuple(head.get("layer_dims", (96, 192, 384, 768))),
            random_numbers=decoder.get("random_image_idx_embedding", True),
            sharpened=decoder.get("attn_bias_for_inference_enabled", False),
        )


class Fast3r(GrowingFamily):
    """`forward` is the published program's pass over a set of frames. Behind a stream, each new frame revises all."""

    title: ClassVar[str] = "Fast3R"
    capabilities: ClassVar[Capabilities] = Capabilities(
        memory="full",
        cost="frame t reads all t frames again: time and working memory grow with t, attention with t squared",
        bounded=False,
        batch=False,
        revises=True,
        one_size=ONE_SIZE,
    )

    def __init__(self, config: Fast3rConfig) -> None:
        super().__init__()
        c = self.config = config
        self.image_encoder = PatchEncoder(
            3, c.encoder_width, c.encoder_depth, c.encoder_heads, rope_base=c.rope_base, mlp_ratio=c.mlp_ratio
        )
        self.memory = JointMemory(
            c.encoder_width,
            c.decoder_width,
            c.decoder_depth,
            c.decoder_heads,
            random_numbers=c.random_numbers,
            sharpened=c.sharpened,
            mlp_ratio=c.mlp_ratio,
        )
        widths = (c.encoder_width, c.decoder_width, c.decoder_width, c.decoder_width)
        self.heads = PairHeads(widths, c.dpt_width, c.dpt_last, c.dpt_layers)

    def forward(self, images: Sequence[Tensor], numbers: Tensor | None = None) -> tuple[Heads, ...]:
        """Predict V views at once: images (n, 3, H_v, W_v) in [-1, 1], of any sizes.

        numbers (n, V): what the views are known by; by default drawn from torch's global generator, as published.
        """
        tokens = [self.tokenize(Views(image=image)) for image in images]
        if numbers is None:
            seed = draw_seed() if self.config.random_numbers else None
            numbers = frame_numbers(images[0].shape[0], len(images), seed, images[0].device)
        layers = self.memory.read(tokens, numbers)
        return tuple(self.heads(each, each, own.size) for each, own in zip(layers, tokens, strict=True))

    # --- behind a stream ---

    def writer(self, rule: Any = None, *, window: int | None = None, revise: bool | None = None, **others: Any) -> Keep:
        """All frames are read, or with a window the first and the last window - 1. Raises CapabilityError."""
        rule = None if rule == Keep.name else rule
        refuse("full attention", "its memory is every frame; window= bounds it.", rule=rule, **others)
        at_least_two("window", window)
        return Keep(window=window, revise=revise is not False)

    def exchange(self, memory: Memory, tokens: Tokens, keep: Keep, **options: Any) -> JointExchange:
        """All frames kept of one stream and the new one read each other."""
        return self.memory.exchange(memory, tokens, keep, **options)

    def detokenize(self, exchange: JointExchange) -> Heads:
        """Both pointmaps of each of T frames (T, ...), the newest last, and the pose that lays one over the other."""
        heads = [self.heads(each, each, own.size) for each, own in zip(exchange.layers, exchange.tokens, strict=True)]
        return heads[0] if len(heads) == 1 else stack_heads(heads)

    def commit(self, memory: Memory, exchange: JointExchange, heads: Heads) -> Memory:
        """The frames that stay for the next one. Pure."""
        return exchange.memory
