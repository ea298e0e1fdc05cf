# SPDX-License-Identifier: Apache-2.0
"""StreamVGGT (arXiv 2507.11539): VGGT with causal attention, so that earlier frames never change.

`forward` is the batched pass with a mask. Behind a stream, keys and values of all frames are kept; the dense outputs
are then those of the batched pass. The poses are not: in the stream, the camera head's rounds of all earlier frames
stay in its cache, too, as in the published program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from longtake.errors import CheckpointError
from longtake.families.contract import Capabilities, refuse
from longtake.families.vggt import Reading, Vggt
from longtake.families.vggt_config import VggtConfig
from longtake.frame import Growing, Tokens
from longtake.memory.cache import bounded, cache_layout, caches_of, named, recent
from longtake.memory.keep import Keep, at_least_two


class StreamVggt(Vggt):
    """The same weights' shapes, the same heads, a cache instead of all frames."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        memory="cache",
        cost="frame t reads the keys and values of all t frames: time and memory grow with t",
        bounded=False,
        batch=False,
        tracks=True,
    )

    def __init__(self, config: VggtConfig) -> None:
        if not config.causal:
            raise CheckpointError("StreamVGGT needs a configuration with causal=True")
        super().__init__(config)

    def writer(self, rule: Any = None, *, budget: int | None = None, revise: bool | None = None, **others: Any) -> Keep:
        """All keys and values are kept, or those of as many as `budget` frames have. Raises CapabilityError."""
        rule = None if rule == Keep.name else rule
        refuse("causal attention", "its memory is a cache; budget= bounds it.", rule=rule, **others)
        at_least_two("budget", budget)
        return Keep(budget=budget, revise=False)  # nothing is revised, whatever was asked for

    def layout(self, dtype: torch.dtype) -> Mapping[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Names, types and shapes of what is kept of one stream; -1 is any length."""
        c = self.config
        layers = cache_layout("layers", c.depth, c.heads, c.width // c.heads, dtype)
        camera = cache_layout("camera", c.camera_depth, c.camera_heads, 2 * c.width // c.camera_heads, dtype)
        return layers | camera | {"first": (torch.int64, (1,))}

    def exchange(self, state: Growing, tokens: Tokens, keep: Keep) -> Reading:
        """The new frame reads the cache and itself. One stream."""
        (memory,) = state.memories
        entered = self.memory.enter(tokens.features[:, None], first=not memory)
        newest = entered.shape[2]
        layers, caches = self.memory.step(entered, self.grid(tokens.size), self.wanted, caches_of("layers", memory))
        camera = layers[self.config.depth - 1][:, :, 0]
        pose_rounds, rounds = self.camera_head.step(camera, caches_of("camera", memory))
        first = memory["first"] if memory else torch.tensor([newest], device=entered.device)
        caches = bounded(caches, int(first), newest, keep.budget) if keep.budget else caches
        kept = named("layers", caches) | named("camera", recent(rounds, self.config.camera_rounds, keep.budget))
        return Reading(layers, pose_rounds, kept | {"first": first}, tokens.size)
