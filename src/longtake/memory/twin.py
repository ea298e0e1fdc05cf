# SPDX-License-Identifier: Apache-2.0
"""The twin decoder: state tokens and image tokens read each other, layer by layer, in parallel."""

from __future__ import annotations

from torch import Tensor, nn

from longtake.nn import DecoderBlock, Lanes, RopeTable


class TwinLayer(nn.Module):
    """One layer of both decoders; each side reads the other's tokens as they were before the layer.

    lanes: set by an engine, lets the two sides run side by side.
    """

    lanes: Lanes | None = None

    def __init__(self, width: int, state_heads: int, image_heads: int, mlp_ratio: float = 4) -> None:
        super().__init__()
        self.state = DecoderBlock(width, state_heads, mlp_ratio)
        self.image = DecoderBlock(width, image_heads, mlp_ratio)

    def forward(
        self,
        state: Tensor,
        image: Tensor,
        state_tables: tuple[RopeTable, RopeTable],
        image_tables: tuple[RopeTable, RopeTable],
        want_logit: bool = False,
        probe: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """state (n, S, E), image (n, 1 + N, E) -> both updated, and the state's mean logits (n, S) if wanted.

        The two decoders may differ in head width, so each brings (its state's table, its image's table).
        probe: if given, receives the state's rotated cross-attention queries and keys.
        """
        begin = (self.state, state, image, *state_tables, want_logit, probe)
        new_state, logit = begin[0](*begin[1:]) if self.lanes is None else self.lanes.run(0, state.device, *begin)
        new_image, _ = self.image(image, state, image_tables[1], image_tables[0])
        if self.lanes is not None:
            self.lanes.join(state.device, 0)
        return new_state, new_image, logit
