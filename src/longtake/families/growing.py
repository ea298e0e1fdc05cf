# SPDX-License-Identifier: Apache-2.0
"""What the families with 16-pixel patches and a memory per stream share: everything but the three steps in between."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from longtake.errors import CapabilityError
from longtake.families.contract import Capabilities, refuse
from longtake.frame import PATCH, Flags, Growing, Heads, PixelMap, Tokens, Views
from longtake.memory.keep import Keep
from longtake.nn import grid_positions
from longtake.tokenize.images import prepare
from longtake.tokenize.vit import PatchEncoder

Memory = Mapping[str, Tensor]  # of one stream; empty before its first view


class GrowingFamily(nn.Module):
    """Frames are encoded alone; a stream's memory is read, and written when the frame's own points are known."""

    capabilities: ClassVar[Capabilities]
    title: ClassVar[str]  # in errors
    config: Any
    image_encoder: PatchEncoder
    memory: Any  # has layout(dtype)

    @abstractmethod
    def exchange(self, memory: Memory, tokens: Tokens, keep: Keep, **options: Any) -> Any:
        """The frame and the memory of one stream read each other."""

    @abstractmethod
    def detokenize(self, exchange: Any) -> Heads:
        """What the heads say of the frames read, the newest last."""

    @abstractmethod
    def commit(self, memory: Memory, exchange: Any, heads: Heads) -> Memory:
        """The memory with the frame in it. Pure."""

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, PixelMap]:
        """Resize and crop a picture as the weights were trained for."""
        c = self.config
        return prepare(image, c.image_size, square_ok=c.square_ok, short_side_crop=c.square_crop)

    def writer(self, rule: Any = None, *, revise: bool | None = None, **others: Any) -> Keep:
        """There is nothing to choose. Raises CapabilityError for options that other memories have."""
        rule = None if rule == Keep.name else rule
        refuse(
            self.title, f"its memory is {self.capabilities.memory}; there is nothing to choose.", rule=rule, **others
        )
        return Keep(revise=False)

    def begin(self, n: int, writer: Any = None) -> Growing:
        """The state of n streams before their first view: nothing but the pose chain."""
        weight = next(self.parameters())
        precise = torch.promote_types(weight.dtype, torch.float32)
        chain = torch.eye(4, dtype=precise, device=weight.device).expand(n, 4, 4)
        return Growing(memories=({},) * n, world_from_chunk=chain, layout=self.memory.layout(weight.dtype))

    def tokenize(self, views: Views) -> Tokens:
        """Encode n views of one size. Stateless. Raises CapabilityError without an image."""
        if views.image is None or views.rays is not None:
            raise CapabilityError(f"{self.title} sees images only: views need one, and no ray maps")
        n, (height, width) = views.image.shape[0], views.image.shape[-2:]
        features, _ = self.image_encoder(views.image)
        return Tokens(
            features=features,
            positions=grid_positions(height // PATCH, width // PATCH, features.device),
            size=(height, width),
            has_image=torch.ones(n, dtype=torch.bool, device=features.device),
        )

    def step(
        self, state: Growing, tokens: Tokens, keep: Keep, flags: Flags, *, show: bool = True
    ) -> tuple[Heads | None, Growing]:
        """One view of one stream. Resets act after it."""
        (memory,) = state.memories
        exchange = self.exchange(memory, tokens, keep)
        heads = self.detokenize(exchange)
        if bool(flags.reset.all()):
            memory = {}
        elif bool(flags.update.all()):
            memory = self.commit(memory, exchange, heads)
        return heads if show else None, state.with_(memories=(memory,))
